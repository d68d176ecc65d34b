"""Programs read equation by equation: which one makes the first NaN, which has no derivative, and replacing it.

`jax.make_jaxpr` turns any function into a list of primitive equations. Evaluating them one at a time with a rule in
hand shows what a whole hides: where finite numbers become a NaN, and where a primitive stands at a point (√0, log 0)
at which its derivative is infinite, be its value chosen by a `where` or not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.source_info_util import summarize

from gradjax.numerics import is_inexact

Rule = Callable[[Any, list], list | None]
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


def evaluate(closed: ClosedJaxpr, arguments: list, rule: Rule, eager: bool = False) -> list:
    """Evaluate a program one equation after the other: `rule(eqn, inputs)` may give the outputs in its stead.

    Args:
        closed: what `jax.make_jaxpr` returns.
        arguments: its flat arguments.
        rule: returns a list of outputs, or None for the primitive's own.
        eager: whether loops over time are walked step by step, so that the rule sees concrete numbers.
    """
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(closed.jaxpr.invars, arguments, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in closed.jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        outputs = rule(eqn, inputs)
        if outputs is None:
            outputs = _enter(eqn, inputs, rule, eager)
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]


def _enter(eqn, inputs: list, rule: Rule, eager: bool) -> list:
    name, inner = eqn.primitive.name, _inner(eqn)
    if inner is not None and len(inner.jaxpr.invars) == len(inputs):
        return evaluate(inner, inputs, rule, eager)
    if name == "scan":
        return (_steps if eager else _scanned)(eqn, inputs, rule)
    if eager and name == "cond":
        return evaluate(eqn.params["branches"][int(inputs[0])], inputs[1:], rule, eager)
    return _bound(eqn, inputs)


def _bound(eqn, inputs: list) -> list:
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def _inner(eqn) -> ClosedJaxpr | None:
    """The program that a call stands for: jit, custom derivatives, rematerialization."""
    if eqn.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(name)
        if found is not None:
            return found if isinstance(found, ClosedJaxpr) else ClosedJaxpr(found, ())
    return None


def _steps(eqn, inputs: list, rule: Rule) -> list:
    """A scan, step by step."""
    params = eqn.params
    fixed, carried = params["num_consts"], params["num_carry"]
    constants, carry, along = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    order = range(params["length"])
    made: list = [None] * params["length"]
    for step in reversed(order) if params["reverse"] else order:
        out = evaluate(params["jaxpr"], [*constants, *carry, *(a[step] for a in along)], rule, True)
        carry, made[step] = out[:carried], out[carried:]
    return [*carry, *(jnp.stack(column) for column in zip(*made, strict=True))]


def _scanned(eqn, inputs: list, rule: Rule) -> list:
    """A scan as a scan, its body under the rule."""
    params = eqn.params
    fixed, carried = params["num_consts"], params["num_carry"]

    def body(carry, along):
        out = evaluate(params["jaxpr"], [*inputs[:fixed], *carry, *along], rule)
        return tuple(out[:carried]), tuple(out[carried:])

    start, along = tuple(inputs[fixed : fixed + carried]), tuple(inputs[fixed + carried :])
    carry, made = jax.lax.scan(body, start, along, length=params["length"], reverse=params["reverse"])
    return [*carry, *made]


def equations(closed: ClosedJaxpr):
    """Every equation of a program, those inside calls, loops and branches too."""
    for eqn in closed.jaxpr.eqns:
        yield eqn
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = value if isinstance(value, ClosedJaxpr) else None
            if inner is None and hasattr(value, "eqns"):
                inner = ClosedJaxpr(value, ())
            if inner is not None:
                yield from equations(inner)


def place(eqn) -> str:
    """The primitive's name and the user's line."""
    line = summarize(eqn.source_info).rsplit("/", 1)[-1]
    return f"`{eqn.primitive.name}`" + (f" at {line}" if line else "")


def first_nonfinite(function: Callable, *arguments) -> tuple[str, str] | None:
    """The first equation with finite operands and a result that is not: its primitive, and where it stands."""
    found: list = []

    def rule(eqn, inputs):
        if found or _is_call(eqn):
            return None
        outputs = _enter(eqn, inputs, rule, False)
        if _finite(inputs) and not _finite(outputs):
            found.append((eqn.primitive.name, place(eqn)))
        return outputs

    _walk(function, arguments, rule)
    return found[0] if found else None


def singular(function: Callable, *arguments) -> list[tuple[str, str, bool]]:
    """The equations that stand at a singular point: primitive, place, and whether a `where` leaves the value out.

    Those are the ones whose derivative is NaN or infinite at finite operands.
    """
    found: dict[str, tuple[str, str, bool]] = {}

    def rule(eqn, inputs):
        if eqn.primitive.name not in SAFE or not _finite(inputs):
            return None
        outputs = _enter(eqn, inputs, rule, False)
        slopes = _slopes(eqn, inputs)
        if not (_finite(outputs) and _finite(slopes)):
            left_out = not _finite(outputs) or id(eqn) in chosen
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
            inner = [e.primitive.name for e in equations(_inner(eqn))] if _inner(eqn) is not None else []
            if eqn.primitive.name == "select_n" or (inner and inner[-1] == "select_n"):
                meets |= {v for v in eqn.invars[1:] if not isinstance(v, Literal)}
            elif any(v in meets for v in eqn.outvars):
                found.add(id(eqn))
                if all(jnp.shape(v.aval) == jnp.shape(eqn.outvars[0].aval) for v in eqn.invars):
                    meets |= {v for v in eqn.invars if not isinstance(v, Literal)}
        programs += [
            value.jaxpr if isinstance(value, ClosedJaxpr) else value
            for eqn in jaxpr.eqns
            for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
            if hasattr(value, "eqns")
        ]
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
            return _enter(eqn, inputs, rule, False)
        if name == "stop_gradient":
            return list(inputs)
        (out,) = _enter(eqn, inputs, rule, False)
        return [inputs[0] + jax.lax.stop_gradient(out - inputs[0])]

    return lambda *arguments: _through(function, arguments, rule, primitives)


def _through(function, arguments, rule, primitives):
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    entered = {id(eqn) for eqn in closed.jaxpr.eqns if _holds(eqn, primitives)}

    def only_where_needed(eqn, inputs):
        # a call that holds nothing to replace keeps its own derivative
        if id(eqn) not in entered and _is_call(eqn) and not _holds(eqn, primitives):
            return _bound(eqn, inputs)
        return rule(eqn, inputs)

    flat = evaluate(closed, jax.tree.leaves(arguments), only_where_needed)
    return jax.tree.unflatten(jax.tree.structure(shape), flat)


def _holds(eqn, primitives) -> bool:
    inner = _inner(eqn)
    return inner is not None and any(e.primitive.name in primitives for e in equations(inner))


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


def _walk(function: Callable, arguments: tuple, rule: Rule) -> None:
    closed = jax.make_jaxpr(function)(*arguments)
    evaluate(closed, jax.tree.leaves(arguments), rule, eager=True)


def _is_call(eqn) -> bool:
    return _inner(eqn) is not None or eqn.primitive.name in ("scan", "cond")


def _finite(values: list) -> bool:
    return all(bool(jnp.all(jnp.isfinite(v))) for v in values if is_inexact(v) or isinstance(v, float))
