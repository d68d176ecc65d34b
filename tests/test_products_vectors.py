"""Singular vectors of deep products, where the plain product has no digit left: against arbitrary precision."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from gradjax.products import log_singular_values, naive_log_singular_values, singular_vectors

DEPTH, WIDTH, MEMBERS = 80, 4, 2
pytestmark = pytest.mark.slow  # compiling the vectors of a batch takes longer than all the rest


@pytest.fixture(scope="module")
def chains():
    """Gaussian layers, whose product spans about 80 nats: rounding is 36 below the largest."""
    return np.random.default_rng(0).normal(size=(MEMBERS, DEPTH, WIDTH, WIDTH))


@pytest.fixture(scope="module")
def found(chains):
    return singular_vectors(chains)


def exactly(chain):
    """ln sigma, U and V^T of the product in 200 digits."""
    with mpmath.workdps(200):
        product = mpmath.eye(WIDTH)
        for layer in chain:
            product = mpmath.matrix(layer.tolist()) * product
        left, values, right = mpmath.svd_r(product)
        logs = [float(mpmath.log(value)) for value in values]
        return np.array(logs), *(np.array(m.tolist(), dtype=float) for m in (left, right))


def off(one, other):
    """The largest distance of a unit column from the other's, up to its sign."""
    signs = np.sign(np.sum(one * other, axis=0))
    return np.abs(one * signs - other).max()


def test_every_pair_is_that_of_the_exact_product(chains, found):
    """Vectors of values 10 nats apart are set by a few layers at either end, to their condition times rounding."""
    for chain, logs, left, right in zip(chains, *found, strict=True):
        expected, left_exact, right_exact = exactly(chain)
        assert np.ptp(expected) > 60
        assert np.abs(naive_log_singular_values(chain) - expected).max() > 10
        np.testing.assert_allclose(logs, expected, rtol=0, atol=1e-9)
        assert off(left, left_exact) < 1e-9
        assert off(right.T, right_exact.T) < 1e-9


def test_pairs_share_their_signs(chains, found):
    """P v_1 = sigma_1 u_1, and so on: the sign of det P is that of det U times det V^T."""
    _, left, right = found
    signs = np.linalg.slogdet(chains)[0].prod(axis=1)
    np.testing.assert_allclose(np.linalg.det(left) * np.linalg.det(right), signs, rtol=1e-12)


def test_compiled_and_mapped_they_are_the_same(x64, chains, found):
    mapped = jax.jit(jax.vmap(singular_vectors))(jnp.asarray(chains))
    for plain, other in zip(found, mapped, strict=True):
        assert other.shape == plain.shape
        np.testing.assert_allclose(other, plain, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[0], log_singular_values(chains), rtol=0, atol=2e-9)
