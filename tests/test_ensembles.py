"""An ensemble's networks against the same networks built and differentiated one by one."""

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.ensembles import Members, gradient_norms_by_depth
from gradjax.initializers import mean_field, stacked
from gradjax.layers import dense
from gradjax.theory.meanfield import gradient_gain_spread

DEPTHS, WIDTH = (1, 3, 4), 6
FUNCTIONS = (jnp.tanh, jax.nn.relu)


def ensemble(x, labels):
    members = Members(*map(jnp.asarray, ([0, 1, 1], [1.0, 2.0, 1.0], [0.5, 0.3, 0.0], [False, False, True])))
    members = members._replace(weight_std=members.weight_std.astype(x.dtype), bias_std=members.bias_std.astype(x.dtype))
    keys = jax.random.split(jax.random.key(1), len(x))
    return np.asarray(gradient_norms_by_depth(FUNCTIONS, DEPTHS, WIDTH, members, keys, x, labels))


def test_layers_beyond_the_depth_have_no_gradient_and_the_others_have_one(x64):
    logs = ensemble(jax.random.normal(jax.random.key(0), (2, 5)), jnp.array([3, 9]))
    assert logs.shape == (2, 3, len(DEPTHS), max(DEPTHS))
    kept = np.arange(max(DEPTHS)) < np.array(DEPTHS)[:, None]
    assert (np.isfinite(logs) == kept).all()


def test_the_last_layer_s_gradient_is_that_of_the_network_alone(x64):
    """Depth 1, by hand: the projection, one layer and the readout are drawn from the same keys."""
    x, label = jax.random.normal(jax.random.key(0), (1, 5)), 3
    keys = jax.random.split(jax.random.split(jax.random.key(1), 1)[0], 5)
    kernel = stacked(mean_field(1.0))(keys[0], (4, WIDTH, WIDTH), float)[0]
    bias = 0.5 * jax.random.normal(keys[2], (4, WIDTH))[0]
    h, readout = mean_field(1.0)(keys[3], (5, WIDTH), float).T @ x[0], dense(keys[4], WIDTH, 10, dtype=float)

    def loss(kernel, bias):
        return readout(jnp.tanh(h @ kernel + bias))[label]

    by_hand = jnp.concatenate([jnp.ravel(g) for g in jax.grad(loss, (0, 1))(kernel, bias)])
    measured = ensemble(x, jnp.array([label]))[0, 0, 0, 0]
    np.testing.assert_allclose(measured, np.log(np.linalg.norm(by_hand)), rtol=1e-12)


def test_the_spread_of_a_gain_is_what_sampling_gives():
    """The variance of |J u|² of one wide Gaussian layer, times its width; five standard errors of 4000 draws."""
    n, draws, rng = 100, 4000, np.random.default_rng(0)
    for name, slope in (("relu", lambda z: z > 0), ("linear", np.ones_like)):
        z, w = rng.standard_normal((2, draws, n))
        gains = (slope(z) * w**2).mean(axis=1)
        measured = n * gains.var() / gains.mean() ** 2
        expected = gradient_gain_spread(name, 1.0, 0.0)
        assert abs(measured - expected) < 5 * expected * np.sqrt(2 / draws) * 1.2
