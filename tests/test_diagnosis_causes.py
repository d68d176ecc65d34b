"""Causes seen in the smallest program that has them, by each of the three doors, and gone after their remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.clipping import clip_by_global_norm
from gradjax.diagnosis import diagnose, diagnose_record, diagnose_step
from gradjax.recorder import record


@pytest.mark.slow
def test_a_singular_derivative_names_the_first_layer_that_the_signal_meets():
    layers = [lambda h: h + 1, lambda h: h + jnp.sqrt(h - h), lambda h: 3 * h]
    found = diagnose(layers, jnp.ones(3), jnp.sum, names=["in", "root", "out"], singular_values=False)
    assert (found.cause, found.first_bad_forward, found.first_bad_backward) == ("singular derivative", None, 1)
    assert found.flags == ["", "singular derivative", ""] and "first bad backward: root" in found.verdict()
    assert not diagnose(found.remedy.apply(layers), jnp.ones(3), jnp.sum, singular_values=False)


def huge(h):
    """Its derivative, 1e60, is no float32, though the value at 1e-35, 1e25, is."""
    return jnp.tanh(h * 1e30) * 1e30


@pytest.mark.slow
def test_a_gradient_that_overflows_where_no_primitive_is_singular():
    found = diagnose([huge, lambda h: h / 2], jnp.full(3, 1e-35), jnp.sum, singular_values=False)
    assert "non-finite gradient" in [finding.cause for finding in found.findings] and found.first_bad_backward == 0
    step = diagnose_step(lambda w, x: jnp.sum(huge(w) * x), jnp.full(2, 1e-35), jnp.ones(2))
    assert step.cause == "non-finite gradient" and step.findings[0].where == 0
    assert "float32" not in step.not_assessed  # it is no matter of sixteen bits


def hidden(params, batch):
    return jnp.mean((jax.nn.relu(batch @ params["w"] + params["b"][None]) @ params["out"]) ** 2)


def test_dead_units_of_a_step_are_those_of_its_relu():
    generator = np.random.default_rng(0)
    draw = {"w": (4, 64), "b": (64,), "out": (64, 1)}
    params = {name: jnp.asarray(generator.standard_normal(shape), jnp.float32) for name, shape in draw.items()}
    batch = jnp.asarray(generator.standard_normal((16, 4)), jnp.float32)
    assert not diagnose_step(hidden, params, batch)
    found = diagnose_step(hidden, params | {"b": params["b"] - 30}, batch)
    assert found.cause == "dead units" and found.names[found.findings[0].where] == "['w']"
    assert found.measures["dead"][found.names.index("['w']")] > 0.95


def attending(params, batch):
    q, k = batch @ params["q"], batch @ params["k"]
    return jnp.mean((jax.nn.softmax(q @ k.T / 4, axis=-1) @ batch) ** 2)


@pytest.mark.slow
def test_attention_logits_of_a_step_freeze_and_are_cooled():
    generator = np.random.default_rng(0)
    params = {name: jnp.asarray(generator.standard_normal((16, 16)) / 4, jnp.float32) for name in "qk"}
    batch = jnp.asarray(generator.standard_normal((12, 16)), jnp.float32)
    assert not diagnose_step(attending, params, batch)
    found = diagnose_step(attending, {name: 12 * leaf for name, leaf in params.items()}, batch)
    # logits of deviation near 144 where sqrt(2 ln 12) = 2.2 freezes them
    assert found.cause == "attention logits" and 0.5 < found.findings[0].numbers["deviation"] / 144 < 2
    cooled = found.remedy.apply(attending)
    assert not diagnose_step(cooled, {name: 12 * leaf for name, leaf in params.items()}, batch)


def test_a_key_a_tuple_and_names_are_taken():
    def loss(params, batch, key):
        kept = jax.random.bernoulli(key, 0.5, batch.shape).astype(batch.dtype)
        return jnp.sum(params["a"] * kept * batch) ** 2, {"kept": kept}

    found = diagnose_step(loss, {"a": jnp.ones(8)}, jnp.ones(8), key=jax.random.key(0), names=["weights"])
    assert not found and found.names == ("weights",)
    with pytest.raises(ValueError, match="names has 2 entries, expected 1"):
        diagnose_step(loss, {"a": jnp.ones(8)}, jnp.ones(8), key=jax.random.key(0), names=["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("place", ["input", "parameter"])
def test_a_model_that_is_nan_already_is_told_by_both_doors_and_mended(place):
    weights, x = jnp.array([1.0, 2.0, 3.0]), jnp.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    weights = weights.at[1].set(jnp.inf) if place == "parameter" else weights
    x = x.at[1, 2].set(jnp.nan) if place == "input" else x
    layers = [jax.tree_util.Partial(jnp.multiply, weights), jnp.tanh]
    found = diagnose(layers, x, jnp.sum, batch_axis=0, singular_values=False)
    step = diagnose_step(lambda w, x: jnp.sum(jnp.tanh(w[None] * x)), weights, x)
    assert found.cause == step.cause == f"non-finite {place}"
    subjects = {"layers": layers, "x": x, found.remedy.target: None}
    subjects[found.remedy.target] = found.remedy.apply(layers if found.remedy.target == "layers" else x)
    assert not diagnose(subjects["layers"], subjects["x"], jnp.sum, batch_axis=0, singular_values=False)


def flown(optimizer, sizes):
    optimizer, params = optax.chain(optimizer, record(optax.sgd(1.0))), {"w": jnp.ones(4)}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for size in sizes:
        _, state = update({"w": jnp.full(4, size)}, state, params)
    return state


@pytest.mark.slow
def test_a_record_of_an_explosion_is_healthy_behind_the_clip_that_it_advises():
    sizes = [*np.exp(0.1 * np.random.default_rng(0).standard_normal(60)) / 100, 1e4, 1e4]
    found = diagnose_record(flown(optax.identity(), sizes))
    assert found.cause == "exploding gradient"
    assert not diagnose_record(flown(clip_by_global_norm(found.remedy.number), sizes))


def test_a_record_whose_updates_are_as_long_as_the_weights_asks_for_shorter_ones():
    found = diagnose_record(flown(optax.identity(), [3.0] * 6))
    assert found.cause == "learning rate" and found.findings[0].numbers["ratio"] == pytest.approx(3.0, rel=1e-5)
    after = found.remedy.apply(optax.identity())
    assert not diagnose_record(flown(after, [3.0] * 6))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_record_names_the_step_of_the_first_nan(broken):
    found = diagnose_record(flown(optax.identity(), [0.1, 0.1, 0.1, 0.1, broken]))
    assert found.cause == "non-finite gradient" and found.findings[0].numbers["step"] == 4
    assert found.names[found.first_bad_backward] == "['w']"
