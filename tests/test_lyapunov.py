"""Running-QR exponents: exact cases, Newman's law, cells through time, derivatives, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Stack, unroll
from gradjax.lyapunov import log_growths, lyapunov_exponents
from gradjax.networks import mlp
from gradjax.theory.finite_width import gaussian_product_exponents


def test_a_diagonal_chain_has_its_own_exponents_in_order(precision):
    rates = jnp.array([-1.0, 0.5, 0.0])
    chain = Stack(Partial(jnp.multiply, jnp.broadcast_to(jnp.exp(rates), (400, 3))))
    found = lyapunov_exponents([chain], jnp.ones(3), transient=100)
    np.testing.assert_allclose(found.values, [0.5, 0.0, -1.0], atol=1e-5 if precision == "float32" else 1e-12)
    assert found.values.dtype == precision


def test_the_sum_is_the_log_of_the_determinant(x64):
    layers = mlp(jax.random.key(0), [6] * 31, "linear", "mean_field", dtype=jnp.float64)
    (matrices,) = [leaf for leaf in jax.tree.leaves(layers) if leaf.ndim == 3]
    expected = jnp.linalg.slogdet(matrices)[1]
    np.testing.assert_allclose(log_growths(layers, jnp.ones(6)).sum(axis=1), expected, atol=1e-12)


def test_gaussian_products_follow_newman(x64):
    """Each exponent within five standard errors, which come from the run itself, at width 4 over 4000 layers."""
    layers = mlp(jax.random.key(1), [4] * 4001, "linear", "mean_field", dtype=jnp.float64)
    found = lyapunov_exponents(layers, jnp.ones(4), transient=50)
    assert (found.errors < 0.02).all()
    assert (abs(found.values - gaussian_product_exponents(4, 1.0)) < 5 * found.errors).all()


def test_widths_may_change_and_a_dead_direction_is_minus_infinity():
    wide = [jnp.ones((3, 2)), jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])]
    growths = log_growths([Partial(jnp.matmul, jnp.array([[1.0, 0], [0, 2], [0, 0]])), *map(_times, wide[1:])],
                          jnp.ones(2))  # fmt: skip
    assert growths.shape == (2, 2)
    np.testing.assert_allclose(growths[0].sum(), jnp.log(2.0), atol=1e-6)
    assert growths[1, 1] < -10  # zero to rounding


def _times(matrix):
    return Partial(jnp.matmul, matrix)


def test_a_cell_through_time_whose_state_is_a_pair():
    def cell(state, u):
        h, c = state
        return 0.5 * c + u, 2.0 * h

    found = log_growths([unroll(cell, jnp.zeros((40, 1)))], (jnp.ones(1), jnp.ones(1)))
    # two steps multiply each part by 1 exactly
    np.testing.assert_allclose(found[::2].sum() + found[1::2].sum(), 0.0, atol=1e-4)


def test_jit_vmap_and_a_derivative_against_finite_differences(x64):
    layers = mlp(jax.random.key(2), [5] * 9, "tanh", "mean_field", dtype=jnp.float64)
    points = jax.random.normal(jax.random.key(3), (3, 5))

    def mean(x):
        return log_growths(layers, x, 2).mean(axis=0)

    batch = jax.jit(jax.vmap(mean))(points)
    np.testing.assert_allclose(batch, [mean(x) for x in points], rtol=1e-10)
    direction = jax.random.normal(jax.random.key(4), (5,))
    derivative = jax.grad(lambda x: mean(x)[1])(points[0]) @ direction
    step = 1e-5
    difference = (mean(points[0] + step * direction)[1] - mean(points[0] - step * direction)[1]) / (2 * step)
    np.testing.assert_allclose(derivative, difference, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((jnp.ones(3), 4), {}, "count is 4, expected 1 <= count <= 3"),
        ((jnp.ones(3), 0), {}, "count is 0"),
        ((jnp.ones(3, jnp.int32),), {}, "x holds integers"),
        ((jnp.ones(3),), {"transient": 5}, "at least 16 left"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        lyapunov_exponents([lambda h: h.astype(float)] * 20, *arguments, **options)
