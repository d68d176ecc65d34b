"""The reading side: a recorder's state as plain NumPy arrays in the order of time, and as one picture."""

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradjax.arguments import choice, said
from gradjax.files import write_whole
from gradjax.numerics import is_concrete
from gradjax.recorder.ring import BREAKS, KINDS, RecorderState, nodes_of


class NonFinite(NamedTuple):
    """Where a NaN or an infinity was met first: its step, what it was in, and that leaf's name ('' for the loss)."""

    step: int
    kind: str
    name: str


@dataclass(frozen=True)
class Record:
    """The last steps of a training in NumPy arrays; time is the leading axis, rows are leaves or layers of a leaf.

    Args:
        names: of the rows.
        steps: (time,), each step's number from the start of the training.
        log_gradients, log_updates, log_parameters: (time, rows), ln of the norm: of the gradient as it came, of the
            update as the optimizer made it, of the parameters before the step. −inf is an exact zero.
        log_global_norm: (time,), ln of the whole gradient's norm before any clip.
        loss: (time,), NaN where the training loop did not hand it over as `value=`.
        clipped: (time,), whether a clip acted.
        first_nonfinite: the first NaN or infinity, the last step of the record then; None where there was none.
        seen: the steps of the whole training, with those after the record's end.
    """

    names: tuple[str, ...]
    steps: np.ndarray
    log_gradients: np.ndarray
    log_updates: np.ndarray
    log_parameters: np.ndarray
    log_global_norm: np.ndarray
    loss: np.ndarray
    clipped: np.ndarray
    first_nonfinite: NonFinite | None
    seen: int

    @property
    def log_ratios(self) -> np.ndarray:
        """ln of update over parameter norm, (time, rows): near −7 (a thousandth) in a healthy training; NaN for 0/0."""
        with np.errstate(invalid="ignore"):
            return self.log_updates - self.log_parameters

    @property
    def fraction_clipped(self) -> float:
        """The part of the recorded steps in which a clip acted."""
        return float(self.clipped.mean())

    def save(self, path: str | Path) -> None:
        """Writes every field as a plain array of one .npz file, whole or not at all; `np.load(path)` has them again.

        `first_nonfinite` is its step, kind and name as words, and empty where there was none.

        Raises:
            OSError: as the system says it; a file that was there stays as it was.
        """
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["first_nonfinite"] = np.array([str(word) for word in self.first_nonfinite or ()], np.str_)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{name: np.asarray(value) for name, value in plain.items()})  # pyright: ignore[reportArgumentType]
        write_whole(Path(path), buffer.getvalue())


def read(opt_state) -> Record:
    """The record that an optimizer's state holds, in the order of time.

    Args:
        opt_state: the state of `record(...)`, or any state that contains one.

    Raises:
        ValueError: no recorder in it, more than one, or a state with an axis of members (from `vmap`: take one out by
            `jax.tree.map(lambda a: a[i], opt_state)`), or within a trace.
    """
    found = nodes_of(opt_state, RecorderState)
    if len(found) != 1:
        raise ValueError(f"opt_state holds {len(found)} recorders, expected one: wrap the optimizer in record(...)")
    state = found[0]
    if not is_concrete(state) or np.ndim(state.written):
        raise ValueError("opt_state is traced or that of many members, expected one: index its leaves first")
    length, written = len(state.loss), int(state.written)
    if not written:
        raise ValueError("the recorder has recorded no step, expected at least one update")
    steps = np.arange(max(0, written - length), written)
    log_norms, loss, clipped = (np.asarray(a)[steps % length] for a in (state.log_norms, state.loss, state.clipped))
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.logaddexp.reduce(2 * log_norms[:, 0].astype(np.float64), axis=-1) / 2
    first = _named(state, log_norms[-1], int(steps[-1])) if int(state.stopped) else None
    gradient, update, parameter = log_norms.swapaxes(0, 1)
    return Record(state.names, steps, gradient, update, parameter, whole, loss, clipped, first, int(state.seen))


def plot(record: Record, axes, kind: str = "gradient"):
    """Steps × layers as one picture, with the loss beneath: draws into two axes that share their x.

    Args:
        record: what `read` returns.
        axes: two matplotlib axes, for the picture and for the loss.
        kind: 'gradient', 'update' or 'parameter': whose norm is shown, as a power of ten.

    Returns:
        The picture's mesh, for a colour bar.
    """
    if not isinstance(record, Record):
        raise ValueError(f"record is {said(record)}, expected what gradjax.recorder.read returns")
    kind = choice("kind", kind, KINDS)
    logs = {"gradient": record.log_gradients, "update": record.log_updates, "parameter": record.log_parameters}[kind]
    rows = np.arange(len(record.names))
    shown = np.ma.masked_invalid(logs.T / np.log(10))
    mesh = axes[0].pcolormesh(record.steps, rows, shown, shading="nearest")
    axes[0].set(yticks=rows, yticklabels=record.names, title=f"log10 of the {kind} norm")
    axes[1].plot(record.steps, record.loss, label="loss")
    axes[1].set(xlabel="step", ylabel="loss")
    if record.first_nonfinite is not None:
        step, where, name = record.first_nonfinite
        for ax in axes:
            ax.axvline(step, color="red", label=f"first NaN or infinity: {where} {name}".rstrip())
        axes[1].legend()
    return mesh


def _named(state: RecorderState, log_norms: np.ndarray, step: int) -> NonFinite:
    kind = BREAKS[int(state.stopped)]
    if kind == "loss":
        return NonFinite(step, kind, "")
    rows = log_norms[KINDS.index(kind)]
    return NonFinite(step, kind, state.names[int(np.argmax(np.isnan(rows) | (rows == np.inf)))])
