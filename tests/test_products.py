"""Log singular values of long products: identities that no route may break, and what bad input is told."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from gradjax.products import (
    Runs,
    log_singular_values,
    log_singular_values_with_error,
    naive_log_singular_values,
    prefix_log_singular_values,
    singular_vectors,
)

DEPTH, WIDTH = 40, 6


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) / shape[-1] ** 0.5


@pytest.fixture
def factors():
    return gaussian(DEPTH, WIDTH, WIDTH)


def agree(left, right, nats=2e-9):
    np.testing.assert_allclose(left, right, rtol=0, atol=nats)


def test_scaling_one_factor_shifts_every_value(factors):
    scaled = factors.copy()
    scaled[DEPTH // 2] *= -1e150
    agree(log_singular_values(scaled), log_singular_values(factors) + np.log(1e150))


def test_the_transposed_product_has_the_same_values(factors):
    agree(log_singular_values(np.swapaxes(factors, 1, 2)[::-1]), log_singular_values(factors))


def test_orthogonal_factors_at_either_end_change_nothing(factors):
    first, last = np.linalg.qr(gaussian(2, WIDTH, WIDTH, seed=1))[0]
    agree(log_singular_values([first, *factors, last]), log_singular_values(factors))


def test_the_values_add_up_to_the_determinants(factors):
    _, log_determinants = np.linalg.slogdet(factors)
    agree(log_singular_values(factors).sum(), log_determinants.sum(), nats=1e-8)


def test_the_largest_values_make_the_frobenius_norm(factors):
    product = np.linalg.multi_dot(factors[::-1])
    agree(np.logaddexp.reduce(2 * log_singular_values(factors)), 2 * np.log(np.linalg.norm(product)))


@pytest.mark.slow
def test_leaving_out_an_output_interlaces(factors):
    whole, cut = log_singular_values(factors), log_singular_values([*factors[:-1], factors[-1][1:]])
    assert len(cut) == WIDTH - 1
    assert (cut <= whole[:-1] + 2e-9).all()
    assert (cut >= whole[1:] - 2e-9).all()


def test_the_naive_route_fails_where_the_identities_hold(factors):
    _, log_determinants = np.linalg.slogdet(factors)
    assert abs(naive_log_singular_values(factors).sum() - log_determinants.sum()) > 1
    agree(naive_log_singular_values(factors)[0], log_singular_values(factors)[0])


@pytest.mark.slow
def test_every_prefix_equals_its_own_product(factors):
    depths = [DEPTH, 1, 7, 8]
    values, errors = prefix_log_singular_values(factors, depths)
    for row, bound, depth in zip(values, errors, depths, strict=True):
        agree(row, log_singular_values(factors[:depth]))
        assert (bound > 0).all()


def test_every_prefix_is_taken_in_one_pass():
    def loops(depths):
        program = jax.make_jaxpr(lambda matrices: prefix_log_singular_values(matrices, depths))
        text = str(program(jax.ShapeDtypeStruct((DEPTH, 3, 3), float)))
        return text.count("scan["), text.count("while[")

    assert min(loops([DEPTH])) > 0
    assert loops([DEPTH]) == loops(range(1, DEPTH + 1))


def test_prefixes_of_changing_widths_end_in_nan():
    matrices = [gaussian(m, n) for n, m in ((4, 5), (5, 2), (2, 4))]
    values, errors = prefix_log_singular_values(matrices, [1, 2, 3])
    assert np.isnan(values).tolist() == np.isnan(errors).tolist()
    assert np.isnan(values).sum(axis=1).tolist() == [0, 2, 0]
    assert np.isneginf(values[2]).tolist() == [False, False, True, True]
    assert errors[2, 2:].tolist() == [0.0, 0.0]


def test_runs_matrices_and_a_stack_are_one_thing(factors):
    whole = log_singular_values(factors)
    agree(log_singular_values(list(factors)), whole)
    agree(log_singular_values(Runs((factors[:9], factors[9:]))), whole)


@pytest.mark.slow
def test_wide_segments_of_different_sizes():
    sizes = (300, 140, 140, 60, 60, 100)
    matrices = [gaussian(m, n) for n, m in itertools.pairwise(sizes)]
    product = np.linalg.svd(np.linalg.multi_dot(matrices[::-1]), compute_uv=False)
    values = log_singular_values(matrices)
    agree(values[:60], np.log(product[:60]), nats=1e-8)
    assert np.isneginf(values[60:]).all()


@pytest.mark.slow
def test_a_batch_is_its_members():
    batch = gaussian(2, 3, DEPTH, 4, 4)
    values = log_singular_values(batch)
    assert values.shape == (2, 3, 4)
    agree(values[1, 2], log_singular_values(batch[1, 2]))


@pytest.mark.slow
def test_a_member_that_is_not_finite_is_alone_nan():
    batch = gaussian(3, 5, 4, 4)
    batch[1, 2, 0, 0] = np.inf
    values, errors = log_singular_values_with_error(batch)
    assert np.isnan(values).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(errors).all(axis=1).tolist() == [False, True, False]
    agree(values[2], log_singular_values(batch[2]))


def test_numpy_stays_numpy_and_double_whatever_the_flag(factors):
    assert not jax.config.read("jax_enable_x64")
    values, errors = log_singular_values_with_error(factors)
    assert isinstance(values, np.ndarray)
    assert values.dtype == errors.dtype == np.float64
    single = log_singular_values(factors.astype(np.float32))
    assert isinstance(single, np.ndarray)
    assert single.dtype == np.float32


def test_jit_and_vmap_agree_with_the_plain_call(x64, factors):
    plain = log_singular_values(jnp.asarray(factors))
    agree(jax.jit(log_singular_values)(factors), plain)
    agree(jax.vmap(log_singular_values)(jnp.stack([factors, 2 * factors]))[1], plain + DEPTH * np.log(2.0))


@pytest.mark.slow
def test_traced_dead_units_are_proven_zeros(x64):
    masked = gaussian(6, 5, 5)
    masked[1, 2] = 0.0
    masked[3, :, [0, 4]] = 0.0
    values, errors = jax.jit(log_singular_values_with_error)(masked)
    assert np.isneginf(values).sum() == 2
    assert (np.asarray(errors)[-2:] == 0).all()
    agree(values[:3], log_singular_values(masked)[:3])


def test_an_exact_cancellation_is_not_claimed():
    values, errors = log_singular_values_with_error(np.array([[[1.0, 1.0], [1.0, 1.0]]]))
    agree(values[0], np.log(2.0))
    assert np.isfinite(errors[0])
    assert np.isfinite(values[1])
    assert np.isinf(errors[1])


def test_a_zero_product_is_minus_infinity_without_error():
    values, errors = log_singular_values_with_error(np.zeros((3, 2, 2)))
    assert np.isneginf(values).all()
    assert (errors == 0).all()


def test_vectors_diagonalize_the_product():
    matrices = [gaussian(m, n) for n, m in ((5, 6), (6, 6), (6, 4))]
    logs, left, right = singular_vectors(matrices)
    product = np.linalg.multi_dot(matrices[::-1])
    np.testing.assert_allclose(left @ np.diag(np.exp(logs)) @ right, product, rtol=0, atol=1e-13)
    np.testing.assert_allclose(left.T @ left, np.eye(4), rtol=0, atol=1e-13)
    np.testing.assert_allclose(right @ right.T, np.eye(4), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_vectors_of_a_bottleneck_are_completed():
    logs, left, right = singular_vectors([gaussian(1, 3), gaussian(4, 1)])
    assert np.isneginf(logs).tolist() == [False, True, True]
    np.testing.assert_allclose(left.T @ left, np.eye(3), rtol=0, atol=1e-14)
    np.testing.assert_allclose(right @ right.T, np.eye(3), rtol=0, atol=1e-14)


def test_the_program_is_as_long_at_any_depth():
    def length(depth):
        shape = jax.ShapeDtypeStruct((depth, 3, 3), jnp.float32)
        return str(jax.make_jaxpr(log_singular_values)(shape)).count(" = ")

    assert length(10) == length(100_000)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_it_lowers_for_every_platform(platform):
    shape = jax.ShapeDtypeStruct((8, 4, 4), jnp.float32)
    exported = export.export(jax.jit(log_singular_values_with_error), platforms=[platform])(shape)
    assert [aval.shape for aval in exported.out_avals] == [(4,), (4,)]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "empty"),
        (np.zeros((0, 2, 2)), "shape"),
        (np.eye(2), "wrap a single matrix"),
        (np.ones((2, 3, 4)), "square"),
        (np.ones((2, 2, 2), int), "int64"),
        ([np.ones((3, 2)), np.ones((2, 2))], r"factors\[1\].*2 columns; expected 3"),
        ([np.ones((2, 2)), np.ones(2)], r"factors\[1\].*expected a matrix"),
        ([np.ones((2, 2)), np.ones((2, 2), np.float32)], r"factors\[1\].*float32"),
        ([np.eye(2), np.full((2, 2), np.nan)], r"factors\[1\].*NaN"),
    ],
)
def test_bad_factors_are_named(bad, words):
    with pytest.raises(ValueError, match=words):
        log_singular_values(bad)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, "small", np.ones(2)])
def test_a_bad_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        log_singular_values([np.eye(2)], tolerance=tolerance)


@pytest.mark.parametrize("depths", [[], [0], [3]])
def test_bad_depths_are_refused(depths):
    with pytest.raises(ValueError, match="depths"):
        prefix_log_singular_values([np.eye(2), np.eye(2)], depths)
