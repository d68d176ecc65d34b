"""Programs read equation by equation: which one makes the first NaN, which has no derivative, and replacing it.

`jax.make_jaxpr` turns any function into a list of primitive equations. Evaluating them one at a time with a rule in
hand shows what a whole hides: where finite numbers become a NaN, and where a primitive stands at a point (√0, log 0)
at which its derivative is infinite, be its value chosen by a `where` or not.
"""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal
from jax.extend.source_info_util import summarize

from gradjax.numerics import is_inexact

Rule = Callable[[Any, list], list | None]


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
            outputs = enter(eqn, inputs, rule, eager)
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]


def enter(eqn, inputs: list, rule: Rule, eager: bool) -> list:
    """An equation evaluated: calls and loops are entered with the rule, the rest is bound."""
    name, inner = eqn.primitive.name, inner_of(eqn)
    if inner is not None and len(inner.jaxpr.invars) == len(inputs):
        return evaluate(inner, inputs, rule, eager)
    if name == "scan":
        return (steps if eager else _scanned)(eqn, inputs, rule)
    if eager and name == "cond":
        return evaluate(eqn.params["branches"][int(inputs[0])], inputs[1:], rule, eager)
    return bound(eqn, inputs)


def bound(eqn, inputs: list) -> list:
    """An equation by its own primitive."""
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def inner_of(eqn) -> ClosedJaxpr | None:
    """The program that a call stands for: jit, custom derivatives, rematerialization."""
    if eqn.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(name)
        if found is not None:
            return found if isinstance(found, ClosedJaxpr) else ClosedJaxpr(found, ())
    return None


def steps(eqn, inputs: list, rule: Rule, taken: Callable = operator.getitem, joined: Callable = jnp.stack) -> list:
    """A scan, step by step: `taken(array, step)` is what a step gets of one, `joined(list)` what they give together."""
    params, (body,) = eqn.params, programs_of(eqn)
    fixed, carried = _kept(eqn, body)
    constants, carry, along = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    order = range(params["length"])
    made: list = [None] * params["length"]
    for step in reversed(order) if params["reverse"] else order:
        out = evaluate(body, [*constants, *carry, *(taken(a, step) for a in along)], rule, True)
        carry, made[step] = out[:carried], out[carried:]
    return [*carry, *(joined(column) for column in zip(*made, strict=True))]


def _scanned(eqn, inputs: list, rule: Rule) -> list:
    """A scan as a scan, its body under the rule."""
    params, (program,) = eqn.params, programs_of(eqn)
    fixed, carried = _kept(eqn, program)

    def body(carry, along):
        out = evaluate(program, [*inputs[:fixed], *carry, *along], rule)
        return tuple(out[:carried]), tuple(out[carried:])

    start, along = tuple(inputs[fixed : fixed + carried]), tuple(inputs[fixed + carried :])
    carry, made = jax.lax.scan(body, start, along, length=params["length"], reverse=params["reverse"])
    return [*carry, *made]


def _kept(eqn, body: ClosedJaxpr) -> tuple[int, int]:
    """How many operands of a scan are constants, and how many are carried.

    Both have as many axes within the body as outside; jax does not say their numbers under one name in all versions.
    """

    def same(outer, inner) -> int:
        return sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(outer, inner, strict=True))

    carried = same(eqn.outvars, body.jaxpr.outvars)
    return same(eqn.invars, body.jaxpr.invars) - carried, carried


def equations(closed: ClosedJaxpr):
    """Every equation of a program, those inside calls, loops and branches too."""
    for eqn in closed.jaxpr.eqns:
        yield eqn
        for inner in programs_of(eqn):
            yield from equations(inner)


def programs_of(eqn) -> list[ClosedJaxpr]:
    """The programs among an equation's parameters."""
    values: list = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda value: hasattr(value, "eqns"))
    found = [value for value in values if hasattr(value, "eqns")]
    return [value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ()) for value in found]


def place(eqn) -> str:
    """The primitive's name and the user's line."""
    line = summarize(eqn.source_info).rsplit("/", 1)[-1]
    return f"`{eqn.primitive.name}`" + (f" at {line}" if line else "")


def first_nonfinite(function: Callable, *arguments) -> tuple[str, str] | None:
    """The first equation with finite operands and a result that is not: its primitive, and where it stands."""
    found: list = []

    def rule(eqn, inputs):
        if found or is_call(eqn):
            return None
        outputs = enter(eqn, inputs, rule, False)
        if is_finite(inputs) and not is_finite(outputs):
            found.append((eqn.primitive.name, place(eqn)))
        return outputs

    _walk(function, arguments, rule)
    return found[0] if found else None


def _walk(function: Callable, arguments: tuple, rule: Rule) -> None:
    closed = jax.make_jaxpr(function)(*arguments)
    evaluate(closed, jax.tree.leaves(arguments), rule, eager=True)


def is_call(eqn) -> bool:
    """Whether an equation stands for a program of its own."""
    return inner_of(eqn) is not None or eqn.primitive.name in ("scan", "cond")


def is_finite(values: list) -> bool:
    """Whether no value among them is a NaN or an infinity."""
    return all(bool(jnp.all(jnp.isfinite(v))) for v in values if is_inexact(v) or isinstance(v, float))
