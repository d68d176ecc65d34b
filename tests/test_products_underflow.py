"""A block whose entries fall out of the range of floats on the way is no block: its loss must be seen, not flushed."""

import math
from fractions import Fraction

import numpy as np
import pytest
from product_cases import CASES

from gradjax.products import log_singular_values_with_error


def log_determinant(matrix):
    """Exactly, from the floats as fractions: a denormal on the way changes nothing."""
    (a, b), (c, d) = [[Fraction(float(entry)) for entry in row] for row in matrix]
    value = abs(a * d - b * c)
    return math.log(value.numerator) - math.log(value.denominator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_layers_whose_product_leaves_the_range_of_floats(dtype, size):
    """24 layers of 1e-30 end near 1e-300 in float64, 1 in float32: a product there has lost digits without a sign."""
    factors = CASES["mixed_layers"](2, 1000, np.float32, 1)[:60]
    scale = np.where(np.arange(60) % 12 < 11, size, 1 / size)[:, None, None]
    factors = (factors / np.abs(factors).max(axis=(1, 2), keepdims=True) * scale).astype(dtype)
    expected = math.fsum(log_determinant(factor) for factor in factors)
    values, bounds = log_singular_values_with_error(factors)
    error = abs(math.fsum(values.astype(float)) - expected)
    assert error <= bounds.sum() + np.finfo(dtype).eps * abs(expected)
    assert error <= (1e-9 if dtype == np.float64 else 1e-3 * 60)


@pytest.mark.slow
def test_a_random_walk_of_scales_to_the_edge_and_back():
    """Where it was found: the largest entry of a running product falls to 1e-302, and its smallest ones below tiny."""
    factors = CASES["mixed_layers"](2, 1000, np.float32, 1).astype(np.float64)
    expected = math.fsum(log_determinant(factor) for factor in factors)
    values, _ = log_singular_values_with_error(factors)
    np.testing.assert_allclose(values.sum(), expected, rtol=0, atol=1e-9)
