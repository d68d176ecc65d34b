"""Convolutions against XLA's own, and their Jacobian against the Fourier symbol of the kernel."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.initializers import mean_field
from gradjax.jacobians import input_output_jacobian
from gradjax.layers import convolution, pool

KEY = jax.random.key(8)
SHAPES = {"line": ((7,), (3,)), "even line": ((6,), (4,)), "plane": ((4, 5), (3, 2))}  # positions, taps
shapes = pytest.mark.parametrize("shape", SHAPES)


def activation(positions, channels, dtype):
    return jax.random.normal(KEY, (*positions, channels), dtype)


@shapes
@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_it_is_the_convolution_of_xla(shape, padding, precision):
    positions, taps = SHAPES[shape]
    dtype = jnp.dtype(precision)
    layer = convolution(KEY, 3, 4, "tanh", bias_init="normal", dtype=dtype, taps=taps, padding=padding)
    h = activation(positions, 3, dtype)
    widths = [((k - 1) // 2, k // 2) for k in taps]
    wide = jnp.pad(h, [*widths, (0, 0)], mode="wrap" if padding == "circular" else "constant")
    names = ("NWC", "WIO", "NWC") if len(taps) == 1 else ("NHWC", "HWIO", "NHWC")
    kernel, bias = layer.args[0]["kernel"], layer.args[0]["bias"]
    theirs = jax.lax.conv_general_dilated(wide[None], kernel, (1,) * len(taps), "VALID", dimension_numbers=names)[0]
    expected = jnp.tanh(theirs + jnp.broadcast_to(bias, theirs.shape))
    np.testing.assert_allclose(layer(h), expected, rtol=0, atol=50 * float(jnp.finfo(dtype).eps))


@shapes
def test_singular_values_of_a_circular_convolution_are_those_of_its_symbol(shape, x64):
    """Block-circulant: the Fourier transform turns it into one matrix Σ_t W_t e^(i ω t) for every frequency ω."""
    positions, taps = SHAPES[shape]
    layer = convolution(KEY, 3, 3, taps=taps, dtype=jnp.float64)
    measured = np.linalg.svd(input_output_jacobian([layer], activation(positions, 3, jnp.float64)), compute_uv=False)
    symbols = []
    for frequency in itertools.product(*map(range, positions)):
        symbol = np.zeros((3, 3), complex)
        for tap in itertools.product(*map(range, taps)):
            turn = sum(k * t / n for k, t, n in zip(frequency, tap, positions, strict=True))
            symbol += np.asarray(layer.args[0]["kernel"])[tap] * np.exp(2j * np.pi * turn)
        symbols.append(np.linalg.svd(symbol, compute_uv=False))
    expected = np.sort(np.concatenate(symbols))[::-1]
    np.testing.assert_allclose(measured, expected, rtol=0, atol=100 * np.finfo(float).eps)


@shapes
@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_delta_orthogonal_is_an_isometry(shape, padding, x64):
    positions, taps = SHAPES[shape]
    layer = convolution(KEY, 3, 3, kernel_init="delta_orthogonal", dtype=jnp.float64, taps=taps, padding=padding)
    jacobian = input_output_jacobian([layer], activation(positions, 3, jnp.float64))
    np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), 1, atol=1e-13)


def test_the_gaussian_beside_it_has_the_same_mean_square_and_no_isometry(x64):
    """tr JᵀJ / n = σ² in the mean: each entry of W counts once at every position, variance σ² / (taps · channels)."""
    layer = convolution(KEY, 48, 48, kernel_init=mean_field(1.5), dtype=jnp.float64)
    values = np.linalg.svd(input_output_jacobian([layer], jnp.ones((4, 48), jnp.float64)), compute_uv=False)
    entries = 3 * 48 * 48
    np.testing.assert_allclose(np.mean(values**2), 1.5**2, rtol=5 * np.sqrt(2 / entries))
    assert values[0] / values[-1] > 10


def test_pooling_is_the_mean_over_positions():
    h = activation((4, 5), 3, jnp.float32)
    np.testing.assert_allclose(pool(h), np.asarray(h).reshape(-1, 3).mean(axis=0), atol=1e-6)


REFUSED = {
    "padding is 'same', expected one of circular, zero": lambda: convolution(KEY, 1, 1, padding="same"),
    "taps is 0, expected a whole number": lambda: convolution(KEY, 1, 1, taps=0),
    "expected one or two extents": lambda: convolution(KEY, 1, 1, taps=(3, 3, 3)),
    "outputs is 0": lambda: convolution(KEY, 1, 0),
    "expected 1 axes of positions and 2": lambda: convolution(KEY, 2, 2)(jnp.ones((4, 3))),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_convolution_is_refused(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        REFUSED[words]()
