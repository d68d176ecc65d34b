"""Singular points: which primitive stands at one (√0, log 0), and keeping it off; and primitives that cut."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from gradjax.diagnosis.program import (
    bound,
    enter,
    equations,
    evaluate,
    inner_of,
    is_call,
    is_finite,
    place,
    programs_of,
)

SMALL = 1e-6  # what a number is kept away from a singular point by: small beside 1, and its square is no subnormal

SMALLEST = {"float16": 1e-3, "bfloat16": 1e-6}

SAFE: dict[str, Callable[[list, float], list]] = {  # operands moved off a primitive's singular points
    "sqrt": lambda v, e: [jnp.maximum(v[0], e)],
    "rsqrt": lambda v, e: [jnp.maximum(v[0], e)],
    "cbrt": lambda v, e: [jnp.maximum(v[0], e)],
    "log": lambda v, e: [jnp.maximum(v[0], e)],
    "log1p": lambda v, e: [jnp.maximum(v[0], e - 1)],
    "pow": lambda v, e: [jnp.maximum(v[0], e), *v[1:]],
    "div": lambda v, e: [v[0], jnp.where(jnp.abs(v[1]) < e, jnp.full_like(v[1], e), v[1])],
    "exp": lambda v, e: [jnp.minimum(v[0], float(np.log(float(jnp.finfo(v[0].dtype).max))) / 4)],
    "exp2": lambda v, e: [jnp.minimum(v[0], float(np.log2(float(jnp.finfo(v[0].dtype).max))) / 4)],
    "expm1": lambda v, e: [jnp.minimum(v[0], float(np.log(float(jnp.finfo(v[0].dtype).max))) / 4)],
    "acos": lambda v, e: [jnp.clip(v[0], e - 1, 1 - e)],
    "asin": lambda v, e: [jnp.clip(v[0], e - 1, 1 - e)],
    "atanh": lambda v, e: [jnp.clip(v[0], e - 1, 1 - e)],
}

CUTTING = ("stop_gradient", "round", "sign", "floor", "ceil", "argmax", "argmin", "convert_element_type")


def singular(function: Callable, *arguments) -> list[tuple[str, str, bool]]:
    """The equations that stand at a singular point: primitive, place, and whether a `where` leaves the value out.

    Those are the ones whose derivative is NaN or infinite at finite operands.
    """
    found: dict[str, tuple[str, str, bool]] = {}

    def rule(eqn, inputs):
        if eqn.primitive.name not in SAFE or not is_finite(inputs):
            return None
        outputs = enter(eqn, inputs, rule, False)
        slopes = _slopes(eqn, inputs)
        if not (is_finite(outputs) and is_finite(slopes)):
            left_out = not is_finite(outputs) or id(eqn) in chosen
            found.setdefault(place(eqn), (eqn.primitive.name, place(eqn), left_out))
        return outputs

    closed = jax.make_jaxpr(function)(*arguments)
    chosen = _chosen_between(closed)
    evaluate(closed, jax.tree.leaves(arguments), rule, eager=True)
    return list(found.values())


def _chosen_between(closed: ClosedJaxpr) -> set[int]:
    """The equations whose result, or a number made of it alone, a `where` of the same program chooses or leaves out."""
    found: set[int] = set()
    programs = [closed.jaxpr]
    while programs:
        jaxpr = programs.pop()
        meets: set = set()  # variables that a where takes
        for eqn in reversed(jaxpr.eqns):
            call = inner_of(eqn)
            inner = [e.primitive.name for e in equations(call)] if call is not None else []
            if eqn.primitive.name == "select_n" or (inner and inner[-1] == "select_n"):
                meets |= {v for v in eqn.invars[1:] if not isinstance(v, Literal)}
            elif any(v in meets for v in eqn.outvars):
                found.add(id(eqn))
                if all(jnp.shape(v.aval) == jnp.shape(eqn.outvars[0].aval) for v in eqn.invars):
                    meets |= {v for v in eqn.invars if not isinstance(v, Literal)}
        programs += [inner.jaxpr for eqn in jaxpr.eqns for inner in programs_of(eqn)]
    return found


def _slopes(eqn, inputs: list) -> list:
    moving = [value for value in inputs if jnp.issubdtype(jnp.asarray(value).dtype, jnp.inexact)]

    def call(*moved):
        source = iter(moved)
        chosen = [next(source) if jnp.issubdtype(jnp.asarray(v).dtype, jnp.inexact) else v for v in inputs]
        return eqn.primitive.bind(*chosen, **eqn.params)

    moving = [jnp.asarray(value) for value in moving]
    return [jax.jvp(call, tuple(moving), tuple(jnp.ones_like(value) for value in moving))[1]]


def made_safe(function: Callable, primitives: tuple[str, ...]) -> Callable:
    """The function with these primitives' operands kept off their singular points, and cuts opened.

    A primitive of `SAFE` gets its operands moved; a cut (`stop_gradient`, `round`, …) passes its operand's derivative.
    """

    def rule(eqn, inputs):
        name = eqn.primitive.name
        if name not in primitives:
            return None
        if name in SAFE:
            dtype = str(jnp.asarray(inputs[0]).dtype)
            inputs = SAFE[name]([jnp.asarray(value) for value in inputs], SMALLEST.get(dtype, SMALL))
            return enter(eqn, inputs, rule, False)
        if name == "stop_gradient":
            return list(inputs)
        (out,) = enter(eqn, inputs, rule, False)
        return [inputs[0] + jax.lax.stop_gradient(out - inputs[0])]

    return lambda *arguments: _through(function, arguments, rule, primitives)


def _through(function, arguments, rule, primitives):
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)

    def only_where_needed(eqn, inputs):
        # a call that holds nothing to replace keeps its own derivative
        if is_call(eqn) and not _holds(eqn, primitives):
            return bound(eqn, inputs)
        return rule(eqn, inputs)

    flat = evaluate(closed, jax.tree.leaves(arguments), only_where_needed)
    return jax.tree.unflatten(jax.tree.structure(shape), flat)


def _holds(eqn, primitives) -> bool:
    return any(e.primitive.name in primitives for inner in programs_of(eqn) for e in equations(inner))


@dataclass(frozen=True)
class Safe:
    """The pure function (layer, h) ↦ layer(h), with `primitives` kept off their singular points (see `made_safe`)."""

    primitives: tuple[str, ...]

    def __call__(self, layer, h):
        return made_safe(lambda layer, h: layer(h), self.primitives)(layer, h)


def cuts(function: Callable, *arguments) -> list[str]:
    """Names of the primitives in the function's program that pass no derivative."""
    closed = jax.make_jaxpr(function)(*arguments)
    names = []
    for eqn in equations(closed):
        name = eqn.primitive.name
        to_integer = name == "convert_element_type" and not jnp.issubdtype(eqn.params["new_dtype"], jnp.inexact)
        if name in CUTTING and (name != "convert_element_type" or to_integer):
            names.append(name)
    return list(dict.fromkeys(names))
