"""How many lengths a network can settle at: one, none, several, all of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.activations import Activation
from gradjax.theory.meanfield import (
    critical_weight_std,
    gradient_gain,
    length_fixed_point,
    length_fixed_points,
    length_map,
)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_gelu_and_silu_hold_short_signals_and_lose_long_ones(name):
    points = length_fixed_points(name, 1.6, 0.05)
    assert points.stable.tolist() == [True, False]
    assert points.escapes
    stable, unstable = points.values
    assert length_fixed_point(name, 1.6, 0.05) == stable
    for start, settles in ((0.9 * unstable, True), (1.1 * unstable, False)):
        q = start
        for _ in range(150):
            q = float(length_map(name, 1.6, 0.05, q))
        assert (abs(q / stable - 1) < 1e-6) == settles
    with pytest.raises(ValueError, match="no stable length, lengths grow without bound"):
        length_fixed_point(name, 2.2, 0.1)


def test_several_stable_lengths_are_all_named():
    """A staircase: phi^2 jumps from 0.1 to 3, so short signals stay short and long ones long."""
    steps = Activation(lambda x: 0.1 + 1.6 * (1 + jnp.tanh(20 * (jnp.abs(x) - 2.5))) / 2)
    points = length_fixed_points(steps, 4.0, 0.1)
    assert points.stable.tolist() == [True, False, True]
    np.testing.assert_allclose(length_map(steps, 4.0, 0.1, points.values), points.values, rtol=1e-12)
    with pytest.raises(ValueError, match="2 stable lengths"):
        length_fixed_point(steps, 4.0, 0.1)


def test_lengths_that_oscillate_are_not_stable():
    """phi = exp(-x^2) b falls so steeply that dq'/dq < -1 at the only fixed point."""
    pulse = Activation(lambda x: jnp.where(jnp.abs(x) < 0.3, 1.0, 0.0))
    points = length_fixed_points(pulse, 6.0, 0.01)
    q = float(points.values[0])
    slope = (length_map(pulse, 6.0, 0.01, q * 1.0001) - length_map(pulse, 6.0, 0.01, q * 0.9999)) / (2e-4 * q)
    assert (slope > -1) == points.stable[0]


def test_no_fixed_point_and_every_fixed_point():
    with pytest.raises(ValueError, match=r"no stable length.*grow without bound; fixed points: \[\]"):
        length_fixed_point("relu", 2.0, 0.1)
    with pytest.raises(ValueError, match="every length is a fixed point"):
        length_fixed_point("relu", 2**0.5, 0.0)
    assert length_fixed_points("relu", 2.0, 0.0).stable.tolist() == [False]
    np.testing.assert_allclose(length_fixed_point("relu", 1.9999**0.5, 1.0), 1 / (1 - 1.9999 / 2), rtol=1e-10)
    np.testing.assert_allclose(gradient_gain("relu", 2.0, 0.1), 2.0, rtol=1e-13)  # needs no fixed point
    with pytest.raises(ValueError, match="no critical weights at bias_std"):
        critical_weight_std("relu", 0.1)
    with pytest.raises(ValueError, match="0 critical weight_std"):
        critical_weight_std("softplus", 0.1)


def test_tanh_below_the_transition_forgets_its_length():
    assert length_fixed_point("tanh", 0.8, 0.0) == 0
    assert length_fixed_points("tanh", 1.0, 0.0).stable.tolist() == [True]
    points = length_fixed_points("tanh", 1.2, 0.0)
    assert points.stable.tolist() == [False, True]
    np.testing.assert_allclose(gradient_gain("tanh", 0.8, 0.0), 0.64, rtol=1e-12)


def test_dropout_divides_the_weight_variance_of_length_and_gradient():
    for keep in (0.5, 0.9):
        with_dropout = length_fixed_point("tanh", 1.2, 0.3, keep_probability=keep)
        np.testing.assert_allclose(with_dropout, length_fixed_point("tanh", 1.2 / keep**0.5, 0.3), rtol=1e-12)
        gains = gradient_gain("tanh", 1.2, 0.3, keep_probability=keep), gradient_gain("tanh", 1.2 / keep**0.5, 0.3)
        np.testing.assert_allclose(*gains, rtol=1e-12)
