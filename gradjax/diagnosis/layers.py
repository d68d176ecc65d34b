"""A sequence of layers on the table: what is measured, judged, and said of it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import listed
from gradjax.chain import admit, depth_of, layer_of
from gradjax.chain.forward import as_activation, forward
from gradjax.diagnosis.case import Case, build
from gradjax.diagnosis.causes import OF_LAYERS, judged
from gradjax.diagnosis.report import COLUMNS, Diagnosis
from gradjax.diagnosis.rewriting import with_parameters
from gradjax.diagnosis.step import updated
from gradjax.gradients.by_layer import admit_loss
from gradjax.jacobians import SingularValueSummary
from gradjax.numerics import is_inexact


def diagnose(
    layers,
    x,
    loss: Callable,
    names: Sequence[str] | None = None,
    *,
    batch_axis: int | None = None,
    optimizer=None,
    model: Callable | None = None,
    singular_values: bool = True,
) -> Diagnosis:
    """Why the gradient of these layers explodes, vanishes or is NaN: a `Diagnosis`, false where nothing is wrong.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation, or with `batch_axis=0` a batch; it may hold NaN, and so may the parameters.
        loss: a function of the whole output that returns a real scalar.
        names: one for each layer, those inside a Stack counted; by default index and type.
        batch_axis: None or 0. Units that are dead, and the example of a NaN, are known of a batch alone.
        optimizer: an optax optimizer: the sizes of its first update are then measured, too.
        model: the whole model: refused where the layers compose to something else.
        singular_values: whether to take the largest, the median and the least singular value of one example's
            Jacobian of each layer: formed up to 512 units in and out, beyond that estimated, which the table marks
            by ~, with errors among the measures. No cause rests on them.

    Returns:
        The first bad layer of the forward and of the backward pass, the example of the batch, the causes (see
        `gradjax.diagnosis.CAUSES`), each with evidence and a remedy that can be applied, and the numbers by layer.

    Raises:
        ValueError: layers or x that do not fit together (see `gradjax.chain.admit`); names of another number.

    >>> from gradjax.networks import mlp
    >>> layers = mlp(0, [64] * 31, "relu", "lecun_normal")  # variance 1/n, where ReLU needs 2/n
    >>> found = diagnose(layers, jnp.ones(64), jnp.sum, singular_values=False)
    >>> print(found.cause, round(found.remedy.number, 1))
    weight scale 1.4
    >>> bool(diagnose(found.remedy.apply(layers), jnp.ones(64), jnp.sum, singular_values=False))
    False
    """
    case = admitted(layers, x, loss, batch_axis, model, singular_values)
    names = _names(case, names)
    findings, missing = judged(OF_LAYERS, case, "it needs `diagnose_step` or a flight record")
    forward_row, backward_row = _first_bad(case, findings)
    measures = {name: case.of(name) for name in COLUMNS if name in case.measures.by_layer}
    measures |= _singular_values(case) | _updates(case, optimizer)
    return Diagnosis(names, measures, findings, missing, forward_row, backward_row, _example(case, forward_row))


def admitted(layers, x, loss: Callable, batch_axis, model: Callable | None = None, form: bool = True) -> Case:
    """The measured case, x and parameters taken as they are: `admit` itself refuses a NaN in x."""
    x = as_activation(x, finite=False)
    clean = jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, jnp.zeros_like(a)) if is_inexact(a) else a, x)
    entries, _ = admit(layers, clean, batch_axis, model=model)
    loss = admit_loss(loss, entries, x)
    coupled = any(layer_of(entry).coupled for entry in entries)
    examples = len(jax.tree.leaves(x)[0]) if batch_axis == 0 or coupled else None
    return build(entries, x, loss, examples, form=form)


def _names(case: Case, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(f"{row} {_kind(case.entries[e])}" for row, (e, _) in enumerate(case.places))
    names = listed("names", names)
    if len(names) != len(case.places):
        raise ValueError(f"names has {len(names)} entries, expected {len(case.places)}, one for each layer")
    return tuple(str(name) for name in names)


def _kind(entry) -> str:
    layer = layer_of(entry).rebuild()
    layer = getattr(layer, "layer", layer)
    layer = getattr(layer, "func", layer)
    name = getattr(layer, "__name__", type(layer).__name__)
    return name.strip("_")


def _first_bad(case: Case, findings) -> tuple[int | None, int | None]:
    """The first row that breaks on each way; where none is a NaN, the first that has left what is harmless."""
    broken = np.flatnonzero(case.of("finite") == 0)
    back = np.flatnonzero((case.of("finite_gradient") == 0) | np.isposinf(case.of("log_signal")))
    if broken.size or back.size:
        return (int(broken[0]) if broken.size else None), (int(back[-1]) if back.size else None)
    if not findings:
        return None, None
    rows = np.arange(len(case.places))
    sizes = case.of("log_activation")
    signal = case.of("log_signal")
    with np.errstate(invalid="ignore"):  # where a signal is exactly zero
        drift, back_drift = 2 * np.abs(sizes - sizes[0]), 2 * np.abs(signal - signal[-1])
    ahead = [row for row in rows[1:] if drift[row] > case.limit(rows[: row + 1])]
    behind = [row for row in rows[:-1][::-1] if back_drift[row] > case.limit(rows[row:])]
    own = [f.where for f in findings if f.where is not None]
    return (ahead[0] if ahead else None), (behind[0] if behind else (own[0] if own else None))


def _example(case: Case, row: int | None) -> int | None:
    finite = case.measures.finite_examples
    if finite is None:
        return None
    inputs = [
        ~np.isfinite(np.asarray(leaf)).reshape(len(leaf), -1).all(1)
        for leaf in jax.tree.leaves(case.x)
        if is_inexact(leaf)
    ]
    if inputs and np.any(inputs):
        return int(np.argmax(np.any(inputs, axis=0)))
    bad = np.flatnonzero(finite[row] == 0) if row is not None else np.zeros(0, int)
    return int(bad[0]) if bad.size and bad.size < finite.shape[1] else None


def _singular_values(case: Case) -> dict[str, np.ndarray]:
    """What `gradjax.jacobians.SingularValueSummary` holds, by row; NaN from the first that breaks on."""
    names = [name for name in SingularValueSummary._fields if name in case.measures.by_layer]
    return {name: np.where(case.whole, case.of(name), np.nan) for name in names}


def _updates(case: Case, optimizer) -> dict[str, np.ndarray]:
    """ln of the size of the optimizer's first update by layer, and over the parameters' own."""
    if optimizer is None:
        return {}
    parameters = [layer_of(entry).parameters for entry in case.entries]

    def value(parameters):
        pairs = zip(case.entries, parameters, strict=True)
        return case.loss(forward([with_parameters(entry, own) for entry, own in pairs], case.x))

    gradient = jax.jit(jax.grad(value))(parameters)
    updates, _ = updated(optimizer, gradient, optimizer.init(parameters), parameters)
    squares = [np.zeros(depth_of(entry)) for entry in case.entries]
    for own, total in zip(updates, squares, strict=True):
        for leaf in own:
            wide = np.asarray(leaf, np.float64)
            total += np.sum(wide.reshape(len(total), -1) ** 2, axis=1)
    with np.errstate(divide="ignore"):
        logs = np.log(np.concatenate(squares)) / 2
    return {"log_update": logs, "log_ratio": logs - case.of("log_parameter")}
