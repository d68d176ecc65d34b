"""The diagnosis of layers: each cause found where it was put, gone after its remedy, and nothing found in health."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.diagnosis import CAUSES, diagnose
from gradjax.diagnosis.corpus import FAULTS, HEALTHY
from gradjax.networks import deep, mlp

LAYER_FAULTS = ("relu weights too large", "dead ReLU")
SLOW_FAULTS = tuple(kind for kind in FAULTS if kind not in LAYER_FAULTS)
QUICK_HEALTHY = ("relu zero head",)


def square(y):
    return jnp.mean(y**2)


def examine_and_treat(kind, seed=1000):
    patient = FAULTS[kind](np.random.default_rng(seed))
    found = patient.examined()
    assert patient.is_right(found), (found.cause, found.evidence)
    assert found.cause in CAUSES and found.evidence and found.remedy.text
    treated = patient.treated(found)
    if treated is not None:
        after = treated.examined()
        assert not after, after.verdict()


@pytest.mark.parametrize("kind", LAYER_FAULTS)
def test_a_fault_is_found_and_its_remedy_removes_it(kind):
    examine_and_treat(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW_FAULTS)
def test_every_other_fault_is_found_and_its_remedy_removes_it(kind):
    examine_and_treat(kind)


@pytest.mark.parametrize("kind", QUICK_HEALTHY)
def test_what_only_looks_ill_raises_no_alarm(kind):
    found = HEALTHY[kind](np.random.default_rng(1000)).examined()
    assert not found, found.verdict()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in HEALTHY if kind not in QUICK_HEALTHY])
def test_no_healthy_network_raises_an_alarm(kind):
    found = HEALTHY[kind](np.random.default_rng(1000)).examined()
    assert not found, found.verdict()


def test_the_remedy_of_a_relu_network_is_the_square_root_of_two_times_its_width_deviation():
    layers = mlp(0, [48] * 22, "relu", "lecun_normal")  # sigma_w = 1, where He's sqrt(2) is critical
    found = diagnose(layers, jax.random.normal(jax.random.key(1), (8, 48)), square, batch_axis=0, singular_values=False)
    # 21 kernels of 48² entries: their deviation is known to 1 / sqrt(2 · 2304) each
    assert found.remedy.number == pytest.approx(2**0.5, rel=0.05)
    assert found.cause == "weight scale" and found.findings[0].numbers["log_growth"] < -6


def test_the_table_holds_closed_forms_for_a_diagonal_network():
    scales = [jnp.array([4.0, 2.0, 1.0]), jnp.array([1.0, 1.0, 8.0])]
    layers = [jax.tree_util.Partial(jnp.multiply, scale) for scale in scales]
    found = diagnose(layers, jnp.ones(3), jnp.sum, names=["first", "second"], optimizer=optax.sgd(0.5))
    measures = {name: np.exp(values) for name, values in found.measures.items() if name.startswith("log")}
    np.testing.assert_allclose(measures["log_largest"], [4, 8], rtol=1e-6)
    np.testing.assert_allclose(measures["log_median"], [2, 1], rtol=1e-6)
    np.testing.assert_allclose(measures["log_smallest"], [1, 1], rtol=1e-6)
    np.testing.assert_allclose(measures["log_signal"], [66**0.5, 3**0.5], rtol=1e-6)  # |(1, 1, 8)|, |(1, 1, 1)|
    np.testing.assert_allclose(measures["log_gradient"], [66**0.5, 21**0.5], rtol=1e-6)
    np.testing.assert_allclose(measures["log_update"], measures["log_gradient"] / 2, rtol=1e-6)
    np.testing.assert_allclose(measures["log_activation"], [7**0.5, (84 / 3) ** 0.5], rtol=1e-6)
    assert found.table().splitlines()[1].startswith("first ") and "nothing" in found.evidence


def test_a_nan_names_layer_and_example():
    layers = mlp(0, [4] * 4, "tanh")
    x = jnp.ones((5, 4)).at[3, 1].set(jnp.nan)
    found = diagnose(layers, x, square, batch_axis=0, singular_values=False)
    assert (found.cause, found.example, found.first_bad_forward) == ("non-finite input", 3, 0)
    assert found.remedy.apply(x).shape == (4, 4)


def test_an_activation_that_breaks_names_primitive_layer_and_example():
    layers = [lambda h: h * 2, lambda h: 1 / h + 0 * h, lambda h: jnp.tanh(h) / 2]
    x = jnp.ones((4, 3)).at[2, 0].set(0.0)
    found = diagnose(layers, x, square, batch_axis=0, singular_values=False)
    assert (found.cause, found.findings[0].where, found.example) == ("non-finite activation", 1, 2)
    assert "`div`" in found.evidence and "div" in found.remedy.text


def test_a_shallow_network_off_the_critical_line_is_no_fault():
    # 3 layers at chi = 1/2 lose ln 8 = 2.1 of the squared norm: less than 6
    layers = mlp(0, [32, 32, 32, 32, 1], "relu", "lecun_normal")
    x = jax.random.normal(jax.random.key(1), (8, 32))
    assert not diagnose(layers, x, square, batch_axis=0, singular_values=False)


def test_plot_draws_what_the_table_says():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    found = diagnose(mlp(0, [4] * 4, "tanh"), jnp.ones(4), square)
    lines = {line.get_label(): line.get_ydata() for line in found.plot(ax).lines}
    np.testing.assert_array_equal(lines["ln signal"], found.measures["log_signal"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": []}, "layers is empty"),
        ({"loss": 3}, "loss is 3"),
        ({"loss": lambda y: y}, "one real scalar"),
        ({"names": ["a"]}, "names has 1 entries, expected 2"),
        ({"x": jnp.ones(5)}, "layers\\[0\\]"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    base = {"layers": mlp(0, [3, 3, 2], "tanh"), "x": jnp.ones(3), "loss": square}
    with pytest.raises(ValueError, match=said):
        diagnose(**{**base, **arguments})


@pytest.mark.slow
def test_a_batch_norm_network_explodes_at_the_rate_of_theory():
    from gradjax.theory.normalization import batchnorm_gradient_rate

    layers = deep(0, (64, 128, 4), 40, "batch_norm", "relu")
    x = jax.random.normal(jax.random.key(2), (16, 64))
    found = diagnose(layers, x, square, batch_axis=0, singular_values=False)
    assert found.cause == "normalization"
    # the log of 38 layers' product varies by sqrt(5 / (128) · 38) = 1.2
    expected = 38 * np.log(batchnorm_gradient_rate("relu", 16))
    assert found.findings[0].numbers["log_growth"] == pytest.approx(expected, abs=4 * 1.2)


@pytest.mark.slow
def test_a_hundred_layers_of_width_256_take_less_than_five_seconds_of_work_after_compilation():
    import time

    layers, x = mlp(0, [256] * 101, "tanh"), jax.random.normal(jax.random.key(0), (16, 256))
    diagnose(layers, x, square, batch_axis=0)
    start = time.process_time()
    found = diagnose(layers, x, square, batch_axis=0)
    assert time.process_time() - start < 5  # of the processor: 0.7 s where it was measured
    assert not found and np.isfinite(found.measures["log_largest"]).all()
