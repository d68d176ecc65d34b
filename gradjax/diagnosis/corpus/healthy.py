"""Healthy networks, those among them that look ill: zero heads, Fixup and ReZero at step 0, Pre-LN at std 0.02."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from gradjax.chain import run
from gradjax.diagnosis.corpus import steps
from gradjax.diagnosis.corpus.patients import (
    DEPTH,
    INPUTS,
    OUTPUTS,
    WIDTH,
    Patient,
    inputs,
    plain,
    seed_of,
    subject,
    through_time,
)
from gradjax.diagnosis.step import updated
from gradjax.initializers import normal
from gradjax.networks import convnet, deep, mlp, transformer

SHALLOW = 6


def _plain(activation: str, init: str, rng) -> Patient:
    return Patient(f"{activation} {init}", "", None, subject(rng, plain(rng, activation, init)))


def _zero_head(activation: str, init: str, rng) -> Patient:
    layers = plain(rng, activation, init)
    layers[-1] = jax.tree.map(jnp.zeros_like, layers[-1])
    return Patient(f"{activation}, zero head", "", None, subject(rng, layers))


def _deep(kind: str, activation: str, init: str, rng) -> Patient:
    layers = deep(seed_of(rng), (INPUTS, WIDTH, OUTPUTS), DEPTH + 2, kind, activation, init)
    return Patient(f"{kind} {activation}", "", None, subject(rng, layers))


def _convnet(activation: str, init: str, rng) -> Patient:
    layers = convnet(seed_of(rng), (3, WIDTH, OUTPUTS), DEPTH + 2, "plain", activation, init)
    return Patient("convolutions", "", None, subject(rng, layers, inputs(rng, (4, 8, 3))))


def _cell(rng) -> Patient:
    """A vanilla cell near the edge of chaos: g of 1.4 to 1.7 at a drive of 0.5, where 1.55 is critical."""
    return Patient("cell", "", None, through_time(rng, float(rng.uniform(1.4, 1.7))))


def _gates(kind: str, rng) -> Patient:
    """An LSTM with a forget bias of 0 to 3, or a GRU, as they start: they forget, and that is their business."""
    return Patient(kind, "", None, through_time(rng, float(rng.uniform(0.5, 1.5)), kind, float(rng.uniform(0, 3))))


def _transformer(norm: str, rng) -> Patient:
    """Pre-LN as GPT-2 starts: every kernel and table of deviation 0.02."""
    init = normal(0.02) if norm == "pre" else "glorot_uniform"
    layers = transformer(
        seed_of(rng),
        depth=6,
        width=32,
        heads=2,
        tokens=16,
        vocabulary=40,
        norm=norm,
        kernel_init=init,
        causal=True,
    )
    ids = jnp.asarray(rng.integers(40, size=(4, 16)))
    return Patient(f"transformer, {norm}", "", None, subject(rng, layers, ids))


def _trained(activation: str, rng) -> Patient:
    """A network of six layers, fitted to random targets by Adam until the loss is small."""
    layers, x = mlp(seed_of(rng), [INPUTS, *[WIDTH] * SHALLOW, 1], activation, "he_normal"), inputs(rng)
    target = inputs(rng, (len(x), 1))
    fitted = _fit(layers, x, target)
    return Patient(f"trained {activation}", "", None, {"layers": fitted, "x": x, "loss": Partial(_error, target)})


def _error(target, outputs):
    return jnp.mean((outputs - target) ** 2)


@jax.jit
def _fit(layers, x, target):
    optimizer = optax.adam(1e-3)

    def loss(layers):
        return _error(target, jax.vmap(lambda one: run(layers, one))(x))

    def one(carry, _):
        layers, state = carry
        updates, state = updated(optimizer, jax.grad(loss)(layers), state, layers)
        return (optax.apply_updates(layers, updates), state), None

    return jax.lax.scan(one, (layers, optimizer.init(layers)), None, length=400)[0][0]


def _descent(rng) -> Patient:
    return steps.patient("gentle descent", "", rng, optimizer=optax.sgd(0.02))


def _adam(rng) -> Patient:
    optimizer, params = optax.adam(1e-3), steps.parameters(rng)
    state = steps.warmed(rng, optimizer, params)
    return steps.patient("warm Adam", "", rng, params=params, optimizer=optimizer, opt_state=state)


def _deep_step(activation: str, rng) -> Patient:
    return steps.deep_step("deep step", "", rng, activation, 1.0)


HEALTHY: dict[str, Callable[[np.random.Generator], Patient]] = {
    "relu he": partial(_plain, "relu", "he_normal"),
    "tanh lecun": partial(_plain, "tanh", "lecun_normal"),
    "tanh orthogonal": partial(_plain, "tanh", "orthogonal"),
    "relu zero head": partial(_zero_head, "relu", "he_normal"),
    "tanh zero head": partial(_zero_head, "tanh", "lecun_normal"),
    "residual 1/sqrt(L)": partial(_deep, "sqrt_depth", "relu", "he_normal"),
    "fixup": partial(_deep, "fixup", "relu", "he_normal"),
    "rezero": partial(_deep, "rezero", "relu", "he_normal"),
    "skip_init": partial(_deep, "skip_init", "relu", "he_normal"),
    "pre_norm": partial(_deep, "pre_norm", "relu", "he_normal"),
    "pre_batch_norm": partial(_deep, "pre_batch_norm", "relu", "he_normal"),
    "layer_norm": partial(_deep, "layer_norm", "relu", "he_normal"),
    "gated": partial(_deep, "gated", "tanh", "lecun_normal"),
    "convolutions he": partial(_convnet, "relu", "he_normal"),
    "convolutions, delta-orthogonal": partial(_convnet, "tanh", "delta_orthogonal"),
    "vanilla cell": _cell,
    "LSTM": partial(_gates, "lstm"),
    "GRU": partial(_gates, "gru"),
    "transformer pre": partial(_transformer, "pre"),
    "transformer post": partial(_transformer, "post"),
    "transformer deep": partial(_transformer, "deep"),
    "trained relu": partial(_trained, "relu"),
    "trained tanh": partial(_trained, "tanh"),
    "relu step": partial(_deep_step, "relu"),
    "tanh step": partial(_deep_step, "tanh"),
    "gentle descent": _descent,
    "warm Adam": _adam,
}
