"""The judges of weights, biases and inputs on measures written down here; remedies give back what was spoilt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from test_judges import case, growing, same

from gradjax.activations import ACTIVATIONS
from gradjax.diagnosis import scales
from gradjax.diagnosis.units import Unit

SIZE = 40


def layer(activation, weight, bias=0.0):
    """φ(h W + b), W of the deviation that gives σ_w = weight exactly."""
    kernel = jax.random.normal(jax.random.key(0), (SIZE, SIZE))
    kernel = kernel * (weight / jnp.sqrt(jnp.sum(kernel**2) / SIZE))

    def call(parameters, h):
        return ACTIVATIONS[activation](
            h @ parameters["kernel"] + jnp.reshape(parameters["bias"], (1,) * (h.ndim - 1) + (-1,))
        )

    return Partial(call, {"bias": jnp.full(SIZE, bias), "kernel": kernel})


def dense(activation):
    return Unit(1, 0, "dense", SIZE, ACTIVATIONS[activation])


def parameters_of(layers, row):
    bias, kernel = jax.tree.leaves(layers[row])
    return bias, kernel


def test_one_layer_forty_times_the_others_is_given_their_size_again():
    weights = [2**0.5, 40 * 2**0.5, 2**0.5]
    layers, units = [*(layer("relu", w) for w in weights), same], [*3 * [dense("relu")], None]
    judged = scales.layer_imbalance(case(layers, jnp.ones(SIZE), units=units, log_gain=0.0))
    assert (judged.cause, judged.where) == ("layer imbalance", 1)
    assert judged.numbers["factor"] == pytest.approx(40, rel=1e-5)
    mended = judged.remedy.apply(layers)
    np.testing.assert_allclose(parameters_of(mended, 1)[1], parameters_of(layers, 0)[1], rtol=1e-5)
    np.testing.assert_array_equal(parameters_of(mended, 2)[1], parameters_of(layers, 2)[1])
    layers[1] = layer("relu", 20 * 2**0.5)  # below e^3
    assert scales.layer_imbalance(case(layers, jnp.ones(SIZE), units=units, log_gain=0.0)) is None
    assert scales.layer_imbalance(case(layers[:2], jnp.ones(SIZE), log_gain=0.0)) == scales.NO_DENSE


def test_biases_that_hold_units_flat_are_made_as_small_as_branches_are():
    layers, units = [*2 * [layer("tanh", 1.0, 10.0)], same], [*2 * [dense("tanh")], None]
    measured = {"units": units, "saturated": [1.0, 1.0, 0.0], "log_gain": [-8.0, -9.0, 0.0]}
    judged = scales.saturation(case(layers, jnp.ones(SIZE), **measured))
    assert (judged.cause, judged.where) == ("saturation", 1) and "e^-17.0 is lost" in judged.evidence
    assert judged.remedy.number == pytest.approx(2**-0.5 / 10)
    np.testing.assert_allclose(parameters_of(judged.remedy.apply(layers), 0)[0], 2**-0.5, rtol=1e-6)
    # a unit that is flat on one side alone is dead, not saturated; and small biases hold nothing
    one_sided = {**measured, "units": [*2 * [dense("relu")], None]}
    assert scales.saturation(case(layers, jnp.ones(SIZE), **one_sided)) is None
    small = [*2 * [layer("tanh", 1.0, 0.5)], same]
    assert scales.saturation(case(small, jnp.ones(SIZE), **measured)) is None
    assert scales.saturation(case([same, same], jnp.ones(SIZE), log_gain=0.0)) == scales.NO_DENSE


def test_dead_units_are_woken_by_the_mean_of_their_biases():
    layers, units = [layer("relu", 1.0, -3.0), same], [dense("relu"), None]
    x = jnp.ones((4, SIZE))
    judged = scales.dead_units(case(layers, x, units=units, log_gain=0.0, dead=[1.0, 0.0]))
    assert (judged.cause, judged.where, judged.numbers) == ("dead units", 0, {"dead": 1.0})
    np.testing.assert_allclose(parameters_of(judged.remedy.apply(layers), 0)[0], 0, atol=1e-6)
    # half of the units, and five deviations of a binomial number at 40 units, are nothing
    allowed = 0.5 + 5 / (2 * SIZE**0.5)
    assert scales.dead_units(case(layers, x, units=units, log_gain=0.0, dead=allowed)) is None
    assert scales.dead_units(case([same], x, dead=1.0)).remedy.change is None  # no biases to change
    assert "one example" in scales.dead_units(case([same], jnp.ones(SIZE), dead=1.0))


def test_an_input_far_from_one_is_brought_there():
    x = {"a": jnp.full(3, 1e3), "ids": jnp.arange(3)}
    judged = scales.input_scale(case([same], x, log_parameter=0.0, trace=1.0, log_radial=0.0))
    assert judged.cause == "input scale" and judged.numbers["size"] == pytest.approx(1e3)
    mended = judged.remedy.apply(x)
    np.testing.assert_allclose(mended["a"], 1, rtol=1e-6)
    assert mended["ids"].tolist() == [0, 1, 2]
    # a normalization at the door takes the size out; e^3 does little harm
    assert scales.input_scale(case([same], x, log_parameter=0.0, log_radial=-20.0)) is None
    assert scales.input_scale(case([same], jnp.full(3, 20.0), log_parameter=0.0, log_radial=0.0)) is None
    assert scales.input_scale(case([same], jnp.arange(3))) == "the input is no real array"


def test_weights_off_the_critical_line_are_brought_back_to_it():
    depth, layers = 5, [*5 * [layer("relu", 4 * 2**0.5)], same]
    units, gain = [*depth * [dense("relu")], None], 2 * np.log(4)
    measured = {"units": units, "log_gain": gain, **growing((depth + 1) * gain, depth + 1)}
    judged = scales.weight_scale(case(layers, jnp.ones(SIZE), **measured))
    assert (judged.cause, judged.where) == ("weight scale", 0)
    assert judged.numbers["log_growth"] == pytest.approx(depth * gain)
    kernel = parameters_of(judged.remedy.apply(layers), 3)[1]
    assert np.sqrt(SIZE * np.mean(np.asarray(kernel) ** 2)) == pytest.approx(2**0.5, rel=1e-5)
    still = {**measured, **growing(0.0, depth + 1)}
    assert scales.weight_scale(case(layers, jnp.ones(SIZE), **still)) is None
    assert scales.weight_scale(case([same], jnp.ones(SIZE), log_gain=0.0)) == scales.NO_DENSE
