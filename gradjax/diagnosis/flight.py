"""A flight record on the table: what a recorder kept of the steps that led to the end."""

import math
from collections.abc import Callable

import numpy as np
import optax

from gradjax.clipping import clip_by_global_norm, suggest_threshold
from gradjax.clipping.advice import HEAVY_TAIL
from gradjax.diagnosis.causes import judged
from gradjax.diagnosis.report import Diagnosis, Finding, Remedy
from gradjax.recorder import Record, read

TOUCHED = 95.0  # the clip advised touches 5 % of the steps
KINDS = {"parameter": "non-finite parameter", "loss": "non-finite activation"}
KINDS |= {"gradient": "non-finite gradient", "update": "non-finite gradient"}


def diagnose_record(record) -> Diagnosis:
    """Why a recorded training broke: a `Diagnosis` whose rows are the record's, their sizes those of the last step.

    Args:
        record: a `gradjax.recorder.Record`, or an optimizer's state that holds a recorder.

    Raises:
        ValueError: see `gradjax.recorder.read`.

    >>> import jax.numpy as jnp
    >>> from gradjax.recorder import record
    >>> optimizer, w = record(optax.sgd(0.5)), {"w": jnp.ones(2)}
    >>> state = optimizer.init(w)
    >>> for size in (1.0, 1.0, 1.0, 1e30, jnp.nan):
    ...     _, state = optimizer.update({"w": jnp.full(2, size)}, state, w)
    >>> print(diagnose_record(state).cause)
    exploding gradient
    """
    record = record if isinstance(record, Record) else read(record)
    findings, missing = judged(OF_RECORD, record, "a record holds sizes alone: hand the step to `diagnose_step`")
    measures = {"log_gradient": record.log_gradients[-1], "log_parameter": record.log_parameters[-1]}
    measures |= {"log_update": record.log_updates[-1], "log_ratio": record.log_ratios[-1]}
    measures = {name: np.asarray(values, np.float64) for name, values in measures.items()}
    first = record.first_nonfinite
    row = record.names.index(first.name) if first and first.name in record.names else None
    forward = row if first and first.kind == "parameter" else None
    return Diagnosis(record.names, measures, findings, missing, forward, None if forward is not None else row)


def _exploding(record: Record) -> Finding | str | None:
    """Single steps, or the last ones, far above the run's P95: the case that a clip is for."""
    logs = np.asarray(record.log_global_norm, np.float64)
    usual = logs[np.isfinite(logs)]
    if len(usual) < 4:
        return "fewer than four steps with a finite gradient"
    before = min(len(usual) - 1, math.ceil(len(usual) * TOUCHED / 100))  # behind them are those that it may touch
    advice = suggest_threshold(usual[:before], percentile=TOUCHED)
    apart = float(usual.max() - np.median(usual))
    grown = float(usual[before:].max() - advice.log_threshold)
    broke = record.first_nonfinite is not None
    if apart <= HEAVY_TAIL or (grown <= HEAVY_TAIL and not broke):
        return None
    step = int(record.steps[np.isfinite(logs)][np.argmax(usual)])
    evidence = f"the gradient's norm reached e^{usual.max():.1f} at step {step}, e^{apart:.1f} times its median"
    number = float(np.exp(advice.log_threshold))
    text = f"clip by global norm at {number:.3g}, which touches {100 - TOUCHED:.0f} % of the steps before"
    remedy = Remedy(text, number, "optimizer", lambda optimizer: optax.chain(clip_by_global_norm(number), optimizer))
    row = int(np.argmax(np.where(np.isfinite(record.log_gradients[-1]), record.log_gradients[-1], -np.inf)))
    return Finding("exploding gradient", row, evidence, {"log_times_median": apart, "threshold": number}, remedy)


def _learning_rate(record: Record) -> Finding | None:
    """Updates as long as the parameters themselves, in the middle of the run: no fixed weights are left to learn."""
    sizes = [_whole(part) for part in (record.log_updates, record.log_parameters)]
    with np.errstate(invalid="ignore"):
        ratios = sizes[0] - sizes[1]
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size or np.median(ratios) <= 0:
        return None
    number = float(np.exp(-7 - np.median(ratios)))
    evidence = f"the update is {np.exp(np.median(ratios)):.3g} times the parameters in the median step"
    remedy = Remedy(f"multiply the learning rate by {number:.3g}, for an update of a thousandth", number, "optimizer",
                    lambda optimizer: optax.chain(optimizer, optax.scale(number)))  # fmt: skip
    return Finding("learning rate", None, evidence, {"ratio": float(np.exp(np.median(ratios)))}, remedy)


def _cut(record: Record) -> Finding | None:
    """A row whose gradient was exactly zero at every step, while others were not."""
    silent = np.all(np.isneginf(record.log_gradients), axis=0)
    if not silent.any() or silent.all():
        return None
    evidence = (
        f"{int(silent.sum())} of {len(silent)} rows had a gradient of exactly zero at all {len(record.steps)} steps"
    )
    return Finding("cut graph", int(np.argmax(silent)), evidence, {}, Remedy("use these parameters, or leave them out"))


def _broken(cause: str) -> Callable:
    def judge(record: Record) -> Finding | None:
        first = record.first_nonfinite
        if first is None or KINDS[first.kind] != cause:
            return None
        row = record.names.index(first.name) if first.name in record.names else None
        evidence = f"step {first.step} met the first NaN or infinity, in the {first.kind} {first.name}".rstrip()
        return Finding(cause, row, evidence, {"step": first.step}, Remedy("hand the step to `diagnose_step`"))

    return judge


def _whole(logs) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.logaddexp.reduce(2 * np.asarray(logs, np.float64), axis=1) / 2


OF_RECORD: dict[str, Callable] = {
    "exploding gradient": _exploding,
    "learning rate": _learning_rate,
    "cut graph": _cut,
    **{cause: _broken(cause) for cause in dict.fromkeys(KINDS.values())},
}
