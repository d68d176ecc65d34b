"""Symmetric functions of coinciding singular values, whose gradients exist, against finite differences in arbitrary
precision: a spectrum can be a training loss also where two values meet.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from test_products_derivatives import STEP, exact_logs

from gradjax.products import log_singular_values

SHAPE = (3, 4, 4)  # one shape and one direction of differentiation, so that one program serves all functions
SYMMETRIC = {  # of the logs a ≥ b of a pair, in jax's words and in mpmath's
    "sum": (lambda a, b: a + b, lambda a, b: a + b),
    "sum of squares of logs": (lambda a, b: a**2 + b**2, lambda a, b: a**2 + b**2),
    "sum of values": (lambda a, b: jnp.exp(a) + jnp.exp(b), lambda a, b: mpmath.exp(a) + mpmath.exp(b)),
    "sum of inverses": (lambda a, b: jnp.exp(-a) + jnp.exp(-b), lambda a, b: mpmath.exp(-a) + mpmath.exp(-b)),
    "squared difference": (lambda a, b: (a - b) ** 2, lambda a, b: (a - b) ** 2),
}


def with_values(values):
    """Three layers whose product has these singular values, the frames of neighbours agreeing."""
    frames = np.linalg.qr(np.random.default_rng(4).normal(size=(4, 4, 4)))[0]
    roots = np.asarray(values) ** (1 / 3)
    return np.stack([frames[i + 1] @ np.diag(roots) @ frames[i].T for i in range(3)])


@pytest.fixture(scope="module")
def pullback():
    return jax.jit(lambda stack, weights: jax.vjp(log_singular_values, stack)[1](weights)[0])


def gradient(function, stack, pullback):
    logs = log_singular_values(stack)
    return pullback(stack, jax.grad(lambda logs: function(logs[1], logs[2]))(logs))


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("apart", [0.0, 1e-13, 0.2], ids=["met", "nearly met", "apart"])
def test_a_symmetric_function_of_a_pair_differentiates_to_its_finite_difference(x64, name, apart, pullback):
    """To the default tolerance, 1e-9, also where they meet, and vectors settle last; nearly met they share a mean,
    which the second derivative times their distance moves by less than 1e-12.
    """
    ours, exact = SYMMETRIC[name]
    factors = with_values([3.0, 2.0 * (1 + apart), 2.0, 0.5])
    moves = np.random.default_rng(5).normal(size=SHAPE)
    with mpmath.workdps(120):
        ahead, behind = (exact_logs(factors, moves, sign * STEP) for sign in (1, -1))
        expected = float((exact(*ahead[1:3]) - exact(*behind[1:3])) / (2 * STEP))
    found = float(jnp.sum(gradient(ours, jnp.asarray(factors), pullback) * moves))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * max(1.0, abs(expected)))


def test_a_function_that_is_not_symmetric_has_no_derivative_there(x64, pullback):
    """Why the pair shares: one value alone goes up by the half-gap along either sign of a direction."""
    factors = with_values([3.0, 2.0, 2.0, 0.5])
    moves = np.random.default_rng(5).normal(size=SHAPE)
    with mpmath.workdps(120):
        middle = exact_logs(factors, moves, 0)
        ahead, behind = (exact_logs(factors, moves, sign * mpmath.mpf(2) ** -40) for sign in (1, -1))
        slopes = [float((a[1] - middle[1]) / mpmath.mpf(2) ** -40) for a in (ahead, behind)]
        shares = [float((a[1] + a[2] - middle[1] - middle[2]) / 2 / mpmath.mpf(2) ** -40) for a in (ahead, behind)]
    assert abs(slopes[0] + slopes[1]) > 0.1 > 1e-3 > abs(shares[0] + shares[1])
    alone = float(jnp.sum(gradient(lambda a, b: a + 0 * b, jnp.asarray(factors), pullback) * moves))
    np.testing.assert_allclose(alone, shares[0], rtol=0, atol=1e-9)
