"""Softmaxes inside any layer's program: how open they are, and cooling them, without knowing who wrote the layer."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal
from jax.tree_util import Partial

from gradjax.chain import as_layers, depth_of
from gradjax.diagnosis.program import equations, evaluate, programs_of
from gradjax.diagnosis.rewriting import starts, wrapped


def softmaxes(closed: ClosedJaxpr) -> dict[int, tuple[int, ...]]:
    """id of each `exp` that a sum and a division follow -> the axes of the sum; log-sum-exp is none of them."""
    found: dict[int, tuple[int, ...]] = {}
    programs = [closed, *(value for eqn in equations(closed) for value in programs_of(eqn))]
    for jaxpr in (program.jaxpr for program in programs):
        named = [
            (eqn.primitive.name, eqn) for eqn in jaxpr.eqns if eqn.invars and not isinstance(eqn.invars[0], Literal)
        ]
        divided = {eqn.invars[0] for name, eqn in named if name == "div"}
        sums = {eqn.invars[0]: tuple(eqn.params["axes"]) for name, eqn in named if name == "reduce_sum"}
        for eqn in jaxpr.eqns:
            is_exp = eqn.primitive.name == "exp" and eqn.outvars[0].aval.ndim > 1
            if is_exp and eqn.outvars[0] in divided & sums.keys():
                found[id(eqn)] = sums[eqn.outvars[0]]
    return found


def openness(function: Callable, *arguments) -> Array | None:
    """(3,): the least mean of 1 − Σ p² among the function's softmaxes, that one's logits' deviation, and its keys.

    Rows with one key left (the first token of a causal attention) do not count. None where there is no softmax.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    places, seen = softmaxes(closed), []
    if not places:
        return None

    def rule(eqn, inputs):
        if id(eqn) in places:
            seen.append(opening_of(inputs[0], places[id(eqn)]))
        return

    evaluate(closed, jax.tree.leaves(arguments), rule)
    if not seen:  # it stands inside a loop, whose numbers cannot be taken out
        return None
    table = jnp.stack(seen)
    return table[jnp.argmin(table[:, 0])]


def opening_of(logits: Array, axes: tuple[int, ...]) -> Array:
    """(3,): the mean of 1 − Σ p² over the rows of one softmax, its logits' deviation, its keys."""
    s = logits.astype(jnp.float32)
    usable = jnp.isfinite(s)
    keys = jnp.sum(usable.astype(s.dtype), axis=axes)
    p = jax.nn.softmax(s, axis=axes)
    counted = keys > 1
    rows = jnp.maximum(jnp.sum(counted.astype(s.dtype)), 1)
    opening = jnp.sum(jnp.where(counted, 1 - jnp.sum(p * p, axis=axes), 0)) / rows
    variance = jnp.var(jnp.where(usable, s, 0), axis=axes, where=usable)
    spread = jnp.sqrt(jnp.sum(jnp.where(counted, variance, 0)) / rows)
    return jnp.stack([opening, spread, jnp.sum(jnp.where(counted, keys, 0)) / rows])


@dataclass(frozen=True)
class Cooled:
    """The pure function (layer, h) ↦ layer(h) with the logits of its softmaxes multiplied by `factor`."""

    factor: float

    def __call__(self, layer, h):
        return cooled_function(lambda layer, h: layer(h), self.factor)(layer, h)


def cooled_function(function: Callable, factor: float) -> Callable:
    """The function with the logits of its softmaxes multiplied by `factor`."""

    def call(*arguments):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        places = softmaxes(closed)

        def rule(eqn, inputs):
            return [jnp.exp(factor * inputs[0])] if id(eqn) in places else None

        flat = evaluate(closed, jax.tree.leaves(arguments), rule)
        return jax.tree.unflatten(jax.tree.structure(shape), flat)

    return call


def cooled(layers, rows: list[int], factor: float) -> list:
    """The layers with the softmaxes at these rows cooled; a Stack is cooled as a whole."""
    entries, result = as_layers(layers), []
    for entry, start in zip(entries, starts(entries), strict=True):
        meets = set(rows) & set(range(start, start + depth_of(entry)))
        result.append(wrapped(entry, lambda layer: Partial(Cooled(factor), layer)) if meets else entry)
    return result
