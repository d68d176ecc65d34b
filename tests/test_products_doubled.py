"""The doubled route: products without error, chains whose zeros are kept, and which chains take it."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from product_cases import CASES

from gradjax.products import doubled, log_singular_values, log_singular_values_with_error
from gradjax.products.pattern import keeps_zeros


@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_product_is_right_to_far_more_than_the_digits_of_a_float(x64, width, compiled):
    """Against exact fractions: 5 slices hold at least 100 bits of the largest row times column, a float holds 53."""
    rng = np.random.default_rng(width)
    a = rng.standard_normal((width, width)) * np.exp(rng.standard_normal((width, width)))
    b = rng.standard_normal((width, width)) * 2.0 ** rng.integers(-300, 300, size=(1, width))
    multiply = jax.jit(doubled.multiply) if compiled else doubled.multiply
    high, low = (np.asarray(part) for part in multiply(jnp.asarray(a), jnp.asarray(b)))
    for i, j in np.ndindex(width, width):
        exact = sum(Fraction(a[i, k]) * Fraction(b[k, j]) for k in range(width))
        error = abs(float((exact - Fraction(high[i, j]) - Fraction(low[i, j])) / Fraction(np.abs(b[:, j]).max())))
        assert error <= width * np.abs(a[i]).max() * 2.0**-100


def test_two_sum_keeps_what_an_addition_loses_when_compiled(x64):
    total, lost = jax.jit(doubled.two_sum)(1.0, 2.0**-80)
    assert (total, lost) == (1.0, 2.0**-80)


@pytest.mark.parametrize(
    ("name", "kept"), [("gaussian", False), ("triangular", True), ("ascending_diagonal", True), ("row_mask", False)]
)
def test_the_route_is_taken_where_the_product_keeps_zeros(name, kept):
    assert keeps_zeros([CASES[name](7, 10) != 0], (10,)) == kept


def test_zeros_that_fill_up_with_depth_are_not_kept():
    cycle = np.eye(5) + np.roll(np.eye(5), 1, axis=0)
    chain = [np.stack([cycle] * 8) != 0]
    assert keeps_zeros(chain, (3,))
    assert not keeps_zeros(chain, (8,))


def test_a_triangular_chain_keeps_digits_that_filling_its_zeros_would_lose(x64):
    """Against the determinant and the norm, which are known exactly.

    [[1, c], [0, e]] times itself is [[1, c (1 + e)], [0, e²]], and so on: determinant e^depth, corner c / (1 - e).
    """
    c, e, depth = 1.0, 2.0**-10, 200
    layer = np.array([[1.0, c], [0.0, e]])
    values, bounds = log_singular_values_with_error(np.stack([layer] * depth))
    corner = float(Fraction(c) * sum(Fraction(e) ** k for k in range(depth)))
    largest = 0.5 * np.log1p(corner**2)
    np.testing.assert_allclose(values, [largest, depth * np.log(e) - largest], rtol=1e-15, atol=1e-12)
    assert np.all(bounds < 1e-9)


@pytest.mark.slow
def test_inside_a_trace_the_values_agree_with_the_doubled_ones(x64):
    factors = CASES["triangular"](4, 20)
    traced = jax.jit(log_singular_values)(jnp.asarray(factors))
    np.testing.assert_allclose(traced, log_singular_values(factors), atol=1e-9)
