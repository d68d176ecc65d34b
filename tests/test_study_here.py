"""Layers find their place on the phase diagram, in either convention of kernels, alone and in a Stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from matplotlib.figure import Figure

from gradjax.initializers import mean_field, normal
from gradjax.networks import mlp
from gradjax.study.here import draw_here, layer_stds
from gradjax.theory.meanfield import critical_weight_std


def test_drawn_scales_are_found_again():
    layers = mlp(jax.random.key(0), [200, 300, 300, 300, 10], "tanh", mean_field(1.7), normal(0.4))
    weight, bias = layer_stds(layers)
    assert weight.shape == bias.shape == (4,)
    np.testing.assert_allclose(weight, 1.7, rtol=4 / np.sqrt(2 * 200 * 10))  # four standard errors of the smallest
    np.testing.assert_allclose(bias[:-1], 0.4, rtol=4 / np.sqrt(2 * 300))


def test_either_convention_and_convolutions():
    kernel, bias = np.full((3, 5), 2.0, np.float32), np.full(5, 0.5, np.float32)
    both = [
        Partial(lambda p, x: x @ p[0] + p[1], (kernel, bias)),
        Partial(lambda p, x: p[0] @ x + p[1], (kernel.T, bias)),
    ]
    np.testing.assert_allclose(layer_stds(both[:1])[0], 2 * np.sqrt(3))
    np.testing.assert_allclose(layer_stds(both[1:]), [[2 * np.sqrt(3)], [0.5]])
    convolution = Partial(lambda p, x: x, jnp.full((3, 3, 4, 8), 0.1))
    np.testing.assert_allclose(layer_stds([convolution])[0], 0.1 * 6, rtol=1e-6)


def test_layers_without_a_kernel_are_left_out_and_none_is_refused():
    layers = [jnp.tanh, *mlp(0, [4, 4], "linear"), jnp.tanh]
    assert layer_stds(layers)[0].shape == (1,)
    with pytest.raises(ValueError, match="no layer has a kernel"):
        layer_stds([jnp.tanh])


def test_the_line_of_the_drawing_is_the_critical_one():
    ax = Figure().subplots()
    layers = mlp(0, [64] * 4, "tanh", mean_field(1.3), normal(0.3))
    places = draw_here(ax, "tanh", layers)
    np.testing.assert_array_equal(places, layer_stds(layers))
    (line,) = [c for c in ax.collections if type(c).__name__ == "QuadContourSet"]
    corners = np.concatenate([path.vertices for path in line.get_paths()])
    middle = corners[(corners[:, 1] > 0.1) & (corners[:, 1] < 0.6)]
    assert len(middle) > 5
    expected = [critical_weight_std("tanh", b) for b in middle[::4, 1]]
    np.testing.assert_allclose(middle[::4, 0], expected, atol=0.03)  # the grid's spacing is 0.04
