"""Layers factored in exact arithmetic: an entry that is drowned and comes back, short chains of no certain rank."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from gradjax.products import (
    exact,
    log_singular_values,
    log_singular_values_with_error,
    prefix_log_singular_values,
    scales,
)
from gradjax.products.factors import check_factors


def drowning(small):
    """Eliminating the two eights adds 1 and −1 to the last entry, which is all that the determinant 64 · small has."""
    return np.array([[8.0, 0.0, 4.0], [0.0, 8.0, -4.0], [2.0, 2.0, small]])


@pytest.mark.parametrize("power", [-60, -100, -900])
def test_an_entry_that_is_drowned_and_comes_back(power):
    values, errors = log_singular_values_with_error([drowning(2.0**power)])
    np.testing.assert_allclose(values.sum(), (6 + power) * np.log(2), rtol=1e-15)
    assert errors.max() < 1e-11


@pytest.mark.slow
def test_ordinary_digits_drown_it(x64):
    """Inside a trace there is no host to ask; nothing is guessed there."""
    traced = jax.jit(log_singular_values_with_error)(jnp.asarray([drowning(2.0**-100)]))
    assert np.isinf(traced[1]).all()


@pytest.mark.slow
def test_prefixes_are_counted_in_the_caller_s_factors():
    dense = 3 * np.eye(3) - 2.0  # three times a reflection
    factors = [2 * np.eye(3), drowning(2.0**-100), dense, drowning(2.0**-200), np.eye(3)]
    values, errors = prefix_log_singular_values(factors, [5, 1, 2, 3])
    two, three = np.log(2), np.log(3)
    expected = [(3 + 6 - 100 + 6 - 200) * two + 3 * three, 3 * two, (3 - 94) * two, (3 - 94) * two + 3 * three]
    np.testing.assert_allclose(values.sum(axis=1), expected, rtol=1e-14)
    assert errors.max() < 1e-10


def mixed_chains():
    """Three sparse layers that mix scales: one factored after the other, two values are wrong with a small bound."""
    rng = np.random.default_rng(0)
    sparse = rng.standard_normal((40, 3, 6, 6)) * (rng.random((40, 3, 6, 6)) < 0.45)
    return (sparse * np.where(rng.random((40, 3, 6, 6)) < 0.4, 2.0**-80, 1.0))[[28, 36, 0]]


@pytest.mark.slow
def test_layers_that_mix_scales_with_nothing_dense_between_are_taken_together(monkeypatch):
    chains = mixed_chains()
    values, errors = log_singular_values_with_error(chains)  # short: all three at once
    assert np.isfinite(errors).all()
    monkeypatch.setattr(exact, "SHORT_CHAIN", 0)
    for most, share in ((16, 0.5), (2, 0.0)):  # where two are too many, what ordinary digits cannot hold is given up
        monkeypatch.setattr(exact, "MOST_TOGETHER", most)
        again, bounds = log_singular_values_with_error(chains)
        known = np.isfinite(bounds) & (bounds > 0)
        assert known.mean() >= share
        assert (np.abs(again[known] - values[known]) <= (bounds + errors)[known]).all()


@pytest.mark.slow
def test_a_wanted_depth_between_them_gives_up_those_after_it():
    errors = prefix_log_singular_values([drowning(2.0**-100), np.eye(3), drowning(2.0**-100)], [1, 2, 3])[1]
    assert np.isfinite(errors).all(axis=1).tolist() == [True, False, False]


def test_one_member_of_a_batch_may_need_it():
    stack = np.stack([np.stack([drowning(2.0**-100), np.eye(3)]), np.stack([np.diag([3.0, 2.0, 1.0])] * 2)])
    np.testing.assert_allclose(log_singular_values(stack).sum(axis=-1), [-94 * np.log(2), 2 * np.log(6.0)], rtol=1e-14)


def test_a_wide_layer_and_pivots_outside_the_range_of_a_float():
    layer = np.array([[1e300, 1.0, 1e-300], [1.0, 1e-300, 1e-300]])
    with mpmath.workdps(1300):
        exactly = mpmath.matrix([[mpmath.mpf(v) for v in row] for row in layer.tolist()])
        gram = exactly * exactly.T
        total = mpmath.log(gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2) / 2
    np.testing.assert_allclose(log_singular_values([layer]).sum(), float(total), rtol=0, atol=1e-12)


def test_the_three_factors_of_a_short_chain_are_its_product():
    layers = list(np.triu(np.random.default_rng(0).standard_normal((4, 7, 7)), 1))
    (right, middle, left), certain = exact._three_factors(layers, ())
    assert certain
    product = np.eye(7).astype(object) * Fraction(1)
    for layer in layers:
        product = np.vectorize(Fraction, otypes=[object])(layer).dot(product)
    expected = product.astype(float)
    np.testing.assert_allclose(left @ middle @ right, expected, rtol=0, atol=2.0**-50 * np.abs(expected).max())
    assert np.count_nonzero(np.diagonal(middle)) == 3  # seven less one for each layer: the zeros are exact
    assert np.abs(left).max() <= 1
    assert np.abs(right).max() <= 1


def test_layers_scaled_by_row_and_column_are_left_to_ordinary_digits():
    rng = np.random.default_rng(1)
    scaled = (
        rng.standard_normal((5, 6, 6))
        * 10.0 ** rng.integers(-99, 99, (5, 6, 1))
        * 10.0 ** rng.integers(-99, 99, (5, 1, 6))
    )
    assert exact.stretches(check_factors(scaled), (5,)) == exact.Found([], cut=5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_span_of_a_layer_is_that_of_its_orders(dtype):
    """Taken from the two ends, with zeros, an empty layer, NaN and infinity among the entries."""
    rng = np.random.default_rng(0)
    run = np.ldexp(rng.standard_normal((2, 6, 3, 4)), rng.integers(-40, 40, (2, 6, 3, 4))).astype(dtype)
    run[0, 1], run[0, 2, 0], run[1, 3, 1, 1], run[1, 4, 2, 0], run[1, 5] = 0, 0, np.nan, np.inf, 1e-30
    expected = [
        np.ptp(np.log2(sizes[(sizes > 0) & (sizes < np.inf)])) if sizes.any() else -np.inf
        for sizes in np.abs(run.astype(np.float64)).reshape(-1, 12)
    ]
    np.testing.assert_allclose(scales._spans(run).ravel(), expected, rtol=1e-14)
    np.testing.assert_allclose(scales._spans(run[1, :3]), np.reshape(expected, (2, 6))[1, :3], rtol=1e-14)
