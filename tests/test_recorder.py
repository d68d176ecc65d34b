"""The recorder: its numbers against NumPy, the optimizer unchanged, the ring whole at the first NaN, and its cost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

from gradjax.clipping import clip_by_global_norm
from gradjax.networks import mlp
from gradjax.recorder import Record, plot, read, record
from gradjax.training import cross_entropy, train

PARAMS = {"a": jnp.array([3.0, 4.0]), "b": {"w": jnp.array([[1.0, 2.0], [2.0, 4.0]]), "n": jnp.array(3)}}
FACTORS = [1.0, 2.0, 0.5, 4.0, 1e30, 1e-30, 3.0]


def gradient(factor):
    return {"a": PARAMS["a"] * factor, "b": {"w": PARAMS["b"]["w"] * factor, "n": None}}


def is_stack(name, leaf):
    return "w" in name


def fly(optimizer, gradients, values=None, params=None):
    """The updates and the last state, the parameters held still."""
    params = gradient(1.0) if params is None else params
    state, results = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for i, g in enumerate(gradients):
        result, state = update(g, state, params, **({} if values is None else {"value": values[i]}))
        results.append(result)
    return results, state


def norms(factor, stacked):
    rows = [5.0, *([np.sqrt(5), np.sqrt(20)] if stacked else [5.0])]
    return np.log(rows) + np.log(factor)


@pytest.mark.parametrize("stacked", [False, True])
def test_every_number_is_that_of_numpy(stacked, precision):
    options = {"stacked": is_stack} if stacked else {}
    params = jax.tree.map(lambda leaf: leaf.astype(precision), gradient(1.0))
    gradients = [jax.tree.map(lambda leaf, f=f: leaf * f, params) for f in FACTORS]
    _, state = fly(record(optax.sgd(0.25), steps=10, **options), gradients, 2.0 * np.arange(7.0), params)
    flight = read(state)
    assert flight.names == (("['a']", "['b']['w'][0]", "['b']['w'][1]") if stacked else ("['a']", "['b']['w']"))
    expected = np.array([norms(factor, stacked) for factor in FACTORS])
    tolerance = {"rtol": 0, "atol": 200 * np.finfo(precision).eps}
    np.testing.assert_allclose(flight.log_gradients, expected, **tolerance)
    np.testing.assert_allclose(flight.log_updates, expected + np.log(0.25), **tolerance)
    np.testing.assert_allclose(flight.log_parameters, np.tile(norms(1.0, stacked), (7, 1)), **tolerance)
    np.testing.assert_allclose(flight.log_ratios, np.log(0.25 * np.array(FACTORS))[:, None] + 0 * expected, **tolerance)
    np.testing.assert_allclose(flight.log_global_norm, np.log(np.sqrt(50)) + np.log(FACTORS), **tolerance)
    np.testing.assert_array_equal(flight.loss, 2 * np.arange(7))
    assert flight.steps.tolist() == list(range(7))
    assert (flight.first_nonfinite, flight.seen, flight.fraction_clipped) == (None, 7, 0)


def test_the_updates_are_those_of_the_optimizer_alone():
    with jax.numpy_dtype_promotion("standard"):  # optax's adam adds unlike dtypes
        for optimizer in (optax.adam(0.1), optax.chain(optax.clip(0.5), optax.sgd(0.1, momentum=0.9))):
            gradients = [gradient(f) for f in (1.0, -2.0, 0.3)]
            plain, recorded = fly(optimizer, gradients)[0], fly(record(optimizer, steps=2), gradients)[0]
            assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), plain, recorded))


def test_the_ring_keeps_the_last_steps_in_their_order():
    flight = read(fly(record(optax.sgd(1.0), steps=3), [gradient(f) for f in (1.0, 2.0, 3.0, 4.0, 5.0)])[1])
    assert flight.steps.tolist() == [2, 3, 4]
    np.testing.assert_allclose(flight.log_gradients[:, 0], np.log([15, 20, 25]), rtol=1e-6)
    assert flight.seen == 5
    assert np.isnan(flight.loss).all()


def broken(kind):
    """Five steps of which the fourth breaks in the given place; the rest of a run after it is NaN."""
    bad = {**gradient(1.0), "b": {"w": PARAMS["b"]["w"].at[1, 0].set(jnp.inf), "n": None}}
    gradients = [gradient(1.0)] * 3 + [bad if kind == "gradient" else gradient(2.0)] + [gradient(jnp.nan)] * 2
    values = jnp.array([1.0, 1.0, 1.0, jnp.inf if kind == "loss" else 7.0, jnp.nan, jnp.nan])
    overflowing = optax.stateless(lambda g, _: jax.tree.map(lambda a: jnp.where(a[..., :1] > 5, a * 1e38, a), g))
    return gradients, values, overflowing if kind == "update" else optax.sgd(1.0)


@pytest.mark.parametrize(
    ("kind", "name"), [("gradient", "['b']['w'][1]"), ("loss", ""), ("update", "['a']"), ("parameter", "['a']")]
)
def test_the_record_stops_whole_at_the_first_nan_and_names_it(kind, name):
    gradients, values, optimizer = broken(kind)
    params = gradient(jnp.nan) if kind == "parameter" else None
    flight = read(fly(record(optimizer, steps=3, stacked=is_stack), gradients, values, params)[1])
    step = 0 if kind == "parameter" else 3
    assert flight.first_nonfinite == (step, kind, name)
    assert flight.steps.tolist() == list(range(max(0, step - 2), step + 1))
    assert flight.seen == 6
    if kind != "parameter":
        assert np.isfinite(flight.log_gradients[:-1]).all()
        np.testing.assert_allclose(flight.loss, values[1:4])


@pytest.mark.parametrize("kind", ["gradient", None])
def test_a_saved_record_is_plain_arrays_again(tmp_path, kind):
    gradients, values, optimizer = broken("gradient")
    length = 6 if kind else 3
    flight = read(fly(record(optimizer, stacked=is_stack), gradients[:length], values[:length])[1])
    flight.save(tmp_path / "flight.npz")
    with np.load(tmp_path / "flight.npz", allow_pickle=False) as again:
        assert set(again.files) == {field.name for field in dataclasses.fields(Record)}
        for name in set(again.files) - {"first_nonfinite"}:
            np.testing.assert_array_equal(again[name], getattr(flight, name))
        assert again["first_nonfinite"].tolist() == (["3", "gradient", "['b']['w'][1]"] if kind else [])
    with pytest.raises(OSError):
        flight.save(tmp_path / "no" / "flight.npz")


def test_a_clip_is_noticed_in_front_or_inside():
    gradients = [gradient(f) for f in (0.01, 1.0, 0.02, jnp.nan)]
    for optimizer in (
        record(optax.sgd(1.0), clip=optax.clip_by_global_norm(1.0)),
        record(optax.sgd(1.0), clip=optax.clip(1.0)),
        record(optax.chain(clip_by_global_norm(1.0), optax.sgd(1.0))),
    ):
        flight = read(fly(optimizer, gradients)[1])
        assert flight.clipped.tolist() == [False, True, False, False]
        assert flight.fraction_clipped == 0.25
        np.testing.assert_allclose(flight.log_global_norm[1], np.log(np.sqrt(50)), rtol=1e-6)


def a_training(optimizer, steps=6, width=8, examples=16):
    x = jax.random.normal(jax.random.key(1), (examples, 5))
    layers = mlp(0, [5, *[width] * 4, 3], "tanh")
    labels = jnp.arange(examples) % 3
    return train(layers, cross_entropy, optimizer, (x, labels), steps=steps)


@pytest.mark.slow
def test_within_a_training_it_agrees_with_the_trace():
    result = a_training(record(optax.sgd(0.1), stacked=lambda name, leaf: leaf.ndim == 3 or name.startswith("[1]")))
    flight = read(result.opt_state)
    np.testing.assert_allclose(flight.loss, result.trace.loss, rtol=1e-6)
    np.testing.assert_allclose(flight.log_global_norm, result.trace.log_global_norm, rtol=0, atol=1e-5)
    assert len(flight.names) == 2 * 5
    members = jax.vmap(lambda rate: a_training(record(optax.sgd(rate))).opt_state)(jnp.array([0.1, 1.0]))
    with pytest.raises(ValueError, match="many members"):
        read(members)
    one = read(jax.tree.map(lambda leaf: leaf[0], members))
    np.testing.assert_allclose(one.loss, flight.loss, rtol=1e-5)


@pytest.mark.slow
def test_it_costs_less_than_a_twentieth_of_a_step():
    """Operations of one step, batch 256, depth 20: both ways to a norm are counted, though one of them runs."""
    layers = mlp(0, [64, *[64] * 19, 10], "tanh")
    params = [layer.layer.args[0] if hasattr(layer, "layer") else layer.args[0] for layer in layers]
    x, y = jnp.zeros((256, 64)), jnp.zeros(256, jnp.int32)

    def loss(params):
        h = x
        for i in range(len(params[0]["bias"])):  # no scan: the count takes its body once
            h = jnp.tanh(jnp.dot(h, params[0]["kernel"][i]) + params[0]["bias"][i][None])
        return cross_entropy(jnp.dot(h, params[1]["kernel"]) + params[1]["bias"][None], y)

    def flops(optimizer):
        def step(params, state):
            value, gradient = jax.value_and_grad(loss)(params)
            update, state = optax.with_extra_args_support(optimizer).update(gradient, state, params, value=value)
            return optax.apply_updates(params, update), state

        compiled = jax.jit(step).lower(params, optimizer.init(params)).compile()
        return compiled.cost_analysis()["flops"]

    plain = flops(optax.sgd(0.1))
    assert plain < flops(record(optax.sgd(0.1), stacked=lambda name, leaf: name.startswith("[0]"))) < 1.05 * plain


def test_the_picture_shows_the_record():
    gradients, values, optimizer = broken("gradient")
    flight = read(fly(record(optimizer), gradients, values)[1])
    axes = Figure().subplots(2, 1)
    for kind in ("gradient", "update", "parameter"):
        mesh = plot(flight, axes, kind)
        logs = getattr(flight, f"log_{kind}s").T / np.log(10)
        np.testing.assert_allclose(mesh.get_array().filled(np.inf), np.where(np.isfinite(logs), logs, np.inf))
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), flight.loss)
    assert "first NaN or infinity: gradient ['b']['w']" in [t.get_text() for t in axes[1].get_legend().get_texts()]
    with pytest.raises(ValueError, match="kind is 'weights'"):
        plot(flight, axes, "weights")


def test_bad_use_is_refused():
    with pytest.raises(ValueError, match="steps is 0"):
        record(optax.sgd(0.1), steps=0)
    with pytest.raises(ValueError, match="params holds no inexact array"):
        record(optax.sgd(0.1)).init({"n": jnp.array(1)})
    with pytest.raises(ValueError, match="holds 0 recorders"):
        read(optax.sgd(0.1).init(PARAMS["a"]))
    recorder = record(optax.identity())
    with pytest.raises(ValueError, match="holds 2 recorders"):
        read((recorder.init(PARAMS["a"]), recorder.init(PARAMS["a"])))
    with pytest.raises(ValueError, match="has recorded no step"):
        read(recorder.init(PARAMS["a"]))
    with pytest.raises(ValueError, match="is traced"):
        jax.jit(read)(recorder.init(PARAMS["a"]))
    assert isinstance(read(fly(recorder, [gradient(1.0)])[1]), Record)
