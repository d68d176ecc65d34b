"""Derivatives of log singular values with respect to the factors, against finite differences in arbitrary precision."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from gradjax.products import log_singular_values, prefix_log_singular_values

STEP = mpmath.mpf(2) ** -80


def exact_logs(factors, moves, step):
    """ln sigma of the product of factors + step · moves, in arbitrary precision."""
    product = None
    for factor, move in zip(factors, moves, strict=True):
        matrix = mpmath.matrix(factor.tolist()) + step * mpmath.matrix(move.tolist())
        product = matrix if product is None else matrix * product
    return [mpmath.log(value) for value in sorted(mpmath.svd_r(product, compute_uv=False), reverse=True)]


def exact_change(factors, moves):
    with mpmath.workdps(120):
        ahead, behind = (exact_logs(factors, moves, sign * STEP) for sign in (1, -1))
        return np.array([float((a - b) / (2 * STEP)) for a, b in zip(ahead, behind, strict=True)])


def random(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def forward(factors, moves):
    stack, tangent = (([jnp.asarray(m) for m in matrices],) for matrices in (factors, moves))
    return jax.jvp(log_singular_values, stack, tangent)[1]


CASES = {
    "one factor": random((4, 4)),
    "a long chain": random(*[(3, 3)] * 30),
    "widths that change": random((5, 3), (4, 5), (6, 4)),
    "graded rows": [f * 10.0 ** -np.arange(0, 12, 3)[:, None] for f in random(*[(4, 4)] * 4)],
}


@pytest.mark.parametrize("name", [n if n == "a long chain" else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_forward_mode_equals_a_finite_difference(x64, name):
    factors = CASES[name]
    moves = [f * m for f, m in zip(factors, random(*[f.shape for f in factors], seed=1), strict=True)]
    expected = exact_change(factors, moves)
    scale = len(factors) * np.abs(expected).max()
    decades = max(np.ptp(np.log10(np.abs(f).max(axis=1))) for f in factors)  # rows lose what spans them
    np.testing.assert_allclose(forward(factors, moves), expected, rtol=0, atol=scale * 1e-14 * 10 ** max(decades, 3))


@pytest.mark.slow
def test_reverse_mode_is_the_transpose_of_forward_mode(x64):
    factors, moves = CASES["widths that change"], random(*[f.shape for f in CASES["widths that change"]], seed=2)
    weights = jnp.asarray([0.3, -1.0, 2.0])
    gradient = jax.grad(lambda f: jnp.dot(weights, log_singular_values(f)))([jnp.asarray(f) for f in factors])
    paired = sum(float(jnp.sum(g * m)) for g, m in zip(gradient, moves, strict=True))
    np.testing.assert_allclose(paired, weights @ forward(factors, moves), rtol=1e-12)


@pytest.mark.slow
def test_the_sum_differentiates_to_the_inverses(x64):
    """Σ ln sigma = Σ ln |det J_l|, whose gradient is J_l^-T, at a depth where the product has no digits left."""
    stack = jnp.asarray(np.random.default_rng(3).normal(size=(200, 4, 4)))
    gradient = jax.grad(lambda f: jnp.sum(log_singular_values(f)))(stack)
    expected = jnp.swapaxes(jnp.linalg.inv(stack), 1, 2)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * float(jnp.abs(expected).max()))


def test_a_repeated_pair_shares_the_mean_of_its_derivatives(x64):
    """Symmetric functions of a pair are smooth where the two meet; each alone is not."""
    first, second = np.linalg.qr(np.random.default_rng(4).normal(size=(2, 4, 4)))[0]
    factors = [first * np.array([3.0, 2.0, 2.0, 1.0]), second]
    moves = random((4, 4), (4, 4), seed=5)
    change, expected = np.asarray(forward(factors, moves)), exact_change(factors, moves)
    np.testing.assert_allclose(change[[0, 3]], expected[[0, 3]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(change[1:3], expected[1:3].mean(), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_all_equal_values_share_one_derivative(x64):
    factors = list(np.linalg.qr(np.random.default_rng(6).normal(size=(50, 5, 5)))[0])
    moves = random(*[(5, 5)] * 50, seed=7)
    mean = sum(np.trace(np.linalg.solve(f, m)) for f, m in zip(factors, moves, strict=True)) / 5
    np.testing.assert_allclose(forward(factors, moves), mean, rtol=0, atol=1e-11)


@pytest.mark.slow
def test_values_that_are_zero_have_derivative_zero_and_the_others_their_own(x64):
    factors = random((4, 4), (2, 4), (4, 2), seed=8)
    moves = random((4, 4), (2, 4), (4, 2), seed=9)
    change = forward(factors, moves)
    assert change[2:].tolist() == [0.0, 0.0]
    pair = exact_change([factors[0], factors[1]], [moves[0], moves[1]])
    assert np.abs(pair - np.asarray(change[:2])).max() > 1e-3  # the third factor matters
    with mpmath.workdps(120):
        turned = [np.swapaxes(f, 0, 1) for f in (factors[2], factors[1], factors[0])]
        moved = [np.swapaxes(m, 0, 1) for m in (moves[2], moves[1], moves[0])]
    np.testing.assert_allclose(change, forward(turned, moved), rtol=0, atol=1e-11)
    pulled = jax.vjp(log_singular_values, [jnp.asarray(f) for f in factors])[1]
    of_zeros, of_others = (pulled(jnp.asarray(weights))[0] for weights in ([0.0, 0, 1, 1], [1.0, 1, 0, 0]))
    assert not any(np.any(gradient) for gradient in of_zeros)
    paired = sum(float(jnp.sum(gradient * move)) for gradient, move in zip(of_others, moves, strict=True))
    np.testing.assert_allclose(paired, change[:2].sum(), rtol=1e-11)


@pytest.mark.slow
def test_a_dead_unit_never_makes_a_nan(x64):
    stack = np.random.default_rng(10).normal(size=(6, 4, 4))
    stack[1, 2] = 0.0
    stack[4] = 0.0
    gradient = jax.grad(lambda f: jnp.sum(jnp.exp(log_singular_values(f))))(jnp.asarray(stack))
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_prefixes_differentiate_row_by_row(x64):
    stack = jnp.asarray(np.random.default_rng(11).normal(size=(5, 3, 3)))
    whole = jax.jacfwd(lambda f: prefix_log_singular_values(f, [2, 5])[0])(stack)
    alone = jax.jacfwd(log_singular_values)(stack[:2])
    np.testing.assert_allclose(whole[0, :, :2], alone, rtol=0, atol=1e-11)
    assert (np.asarray(whole[0, :, 2:]) == 0).all()


@pytest.mark.slow
def test_a_spectrum_can_be_a_training_loss():
    """Gradient descent on the squared log singular values makes a product isometric, in float32."""
    stack = jnp.asarray(np.random.default_rng(12).normal(size=(6, 3, 3)), jnp.float32)
    loss = jax.jit(jax.value_and_grad(lambda f: jnp.mean(log_singular_values(f) ** 2)))
    first, _ = loss(stack)
    for _ in range(200):
        value, gradient = loss(stack)
        stack = stack - 0.02 * gradient
    assert first > 1.0
    assert value < 1e-3 * first
