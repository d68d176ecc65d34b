"""Singular values of Jacobians that no memory holds, from both ends of the spectrum, by jvp and vjp alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs
from jax.tree_util import Partial

from gradjax.chain import Stack
from gradjax.leading import leading_log_singular_values, trailing_log_singular_values

DEPTH, K = 3, 2
BOTH_ENDS = pytest.mark.parametrize("ends", [leading_log_singular_values, trailing_log_singular_values])


def multiplied(gains):
    return [Stack(Partial(lambda w, h: w * h, gains))]


def largest_array(jaxpr):
    """How many numbers the largest array of a program has, inside its loops too."""
    here = [var.aval.size for equation in jaxpr.eqns for var in equation.outvars]
    return max([*here, *(largest_array(inner) for inner in subjaxprs(jaxpr))], default=0)


@BOTH_ENDS
def test_no_array_is_larger_than_the_block(ends):
    """(k + 8) columns of the width: a million here, where the Jacobian would take 4 TB."""
    width = 1_000_000
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((DEPTH, width), (width,))]
    program = jax.make_jaxpr(lambda gains, x: ends(multiplied(gains), x, K, passes=2))(*shapes)
    assert largest_array(program.jaxpr) == (K + 8) * width


@pytest.mark.slow
def test_both_ends_of_a_jacobian_of_10_gb():
    width = 50_000
    gains = jnp.ones((DEPTH, width)).at[:, jnp.array([7, 100, 40_000, 49_999])].set(jnp.array([8.0, 4.0, 0.25, 0.125]))
    ends = [
        end(multiplied(gains), jnp.ones(width), K)
        for end in (leading_log_singular_values, trailing_log_singular_values)
    ]
    np.testing.assert_allclose(jnp.stack(ends) / np.log(2.0), [[9.0, 6.0], [-6.0, -9.0]], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_depth_10000_where_a_jvp_underflows(precision):
    gains = jnp.array([0.5, 0.8, 0.7, 0.9, 0.6])
    layers = [Stack(Partial(lambda w, h: w * (h - 1) + 1, jnp.tile(gains, (10_000, 1))))]
    assert not jax.jvp(layers[0], (jnp.ones(5),), (jnp.ones(5),))[1].any()
    values = leading_log_singular_values(layers, jnp.ones(5), K)
    expected = 10_000 * np.log(np.array(gains[np.array([3, 1])], np.float64))
    np.testing.assert_allclose(values, expected, rtol=10_000**0.5 * np.finfo(precision).eps)
