"""Whether a sequence of layers is the model that it was taken from, and where the two part.

Frameworks hand out layers that are not the whole model: Equinox's `MLP.layers` leaves the activations out. The outputs
tell that the layers are another network. Where they part is told by the values inside the model: its program is run
operation by operation, and the layers' outputs are looked for among them.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from gradjax.numerics import is_concrete

CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")


def check_whole(model: Callable, x, ours, outputs: Callable[[], Iterable], describe: Callable) -> None:
    """Refuse layers whose composition is another network than the model.

    Args:
        model: the whole model, as it is to be called with x.
        x: the activation.
        ours: what the layers make of it.
        outputs: gives the output of every layer in turn, if asked.
        describe: shapes and dtypes in words.

    Raises:
        ValueError: other shapes; values that differ by more than 1000 roundings; each with the first layer whose output
            is no value inside the model, where that can be told.
    """
    try:
        theirs = model(x)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model does not accept {describe(x)}: {error}") from error
    if describe(theirs) != describe(ours):
        raise ValueError(
            f"model gives {describe(theirs)}, the layers give {describe(ours)}: another composition"
            + _parting(model, x, outputs)
        )
    if not is_concrete((theirs, ours)):
        return
    for a, b in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
        if not _same(a, b):
            apart, size = np.max(np.abs(np.asarray(a) - np.asarray(b))), np.max(np.abs(np.asarray(a)))
            raise ValueError(
                f"model and layers differ by {apart:.3g} at x (outputs up to {size:.3g}): the layers are another "
                f"network{_parting(model, x, outputs)}; list the activations and whatever else the model does between "
                "them"
            )


def _parting(model: Callable, x, outputs: Callable[[], Iterable]) -> str:
    """The first layer whose output, like those of all behind it, is no value inside the model; empty if unknown."""
    mine = [[np.asarray(leaf) for leaf in jax.tree.leaves(out)] for out in outputs()]
    try:
        values = _values(jax.make_jaxpr(model)(x), jax.tree.leaves(x))
    except Exception:  # a tracer, or an operation that cannot run alone: the outputs have spoken already
        return ""
    seen = [all(any(_same(value, leaf) for value in values) for leaf in leaves) for leaves in mine]
    first = len(seen) - seen[::-1].index(True) if True in seen else 0
    if first == len(seen):
        return f": the model goes on behind layers[{first - 1}], the last"
    behind = f", unlike that of layers[{first - 1}]" if first else ""
    return f": they part at layers[{first}], whose output is no value inside the model{behind}"


def _values(program: ClosedJaxpr, arguments: list) -> list[np.ndarray]:
    """Every real value that a program computes on its way, those within functions that it calls too."""
    variables = [v for equation in program.jaxpr.eqns for v in equation.outvars]
    found = jaxpr_as_fun(_giving(program, variables))(*arguments)
    known = dict(zip([*program.jaxpr.constvars, *program.jaxpr.invars], [*program.consts, *arguments], strict=True))
    known |= dict(zip(variables, found, strict=True))
    values = [np.asarray(value) for value in found if jnp.issubdtype(value.dtype, jnp.inexact)]
    for equation in program.jaxpr.eqns:
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if equation.primitive.name in CALLS and inner is not None:
            inputs = [v.val if isinstance(v, Literal) else known[v] for v in equation.invars]
            values += _values(inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, []), inputs)
    return values


def _giving(program: ClosedJaxpr, variables: list) -> ClosedJaxpr:
    """The program with other outputs."""
    debug_info = program.jaxpr.debug_info._replace(result_paths=None)
    return ClosedJaxpr(program.jaxpr.replace(outvars=variables, debug_info=debug_info), program.consts)


def _same(a, b) -> bool:
    """Equal to a thousand roundings of the largest entry, up to the shape's axes of length one."""
    a, b = np.asarray(a), np.asarray(b)
    if a.size != b.size or a.dtype != b.dtype:
        return False
    size = np.max(np.abs(a))
    return bool(np.max(np.abs(a.ravel() - b.ravel())) <= 1e3 * float(jnp.finfo(a.dtype).eps) * max(size, 1e-30))
