"""`diagnose_step`: what is said of any training step."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from gradjax.diagnosis.causes import judged
from gradjax.diagnosis.report import Diagnosis
from gradjax.diagnosis.step import StepCase, log_norms, step_case
from gradjax.diagnosis.stepping import OF_STEP, bad_rows
from gradjax.numerics import is_inexact


def diagnose_step(
    loss_fn: Callable,
    params,
    batch,
    *,
    optimizer=None,
    opt_state=None,
    key=None,
    names: Sequence[str] | None = None,
) -> Diagnosis:
    """Why this training step diverges or is NaN: a `Diagnosis` whose rows are the leaves of the parameters.

    Args:
        loss_fn: `(params, batch) -> scalar`, or `(params, batch, key)` where a key is given; a tuple's first counts.
        params, batch: any pytrees (token ids, masks, dictionaries); both may hold NaN.
        optimizer, opt_state: an optax optimizer and its state; without them learning rate, second moment and update
            sizes are not assessed; without the state a fresh one is made.
        key: for dropout and the like.
        names: one for each floating leaf of the parameters.

    Raises:
        ValueError: a loss that is no real scalar; no floating parameter; names of another number.

    >>> import jax.numpy as jnp
    >>> found = diagnose_step(lambda w, x: jnp.sum(jnp.where(x > 0, jnp.log(x * w), 0.0)), 2.0, jnp.array([0.0, 1.0]))
    >>> print(found.cause)
    untaken where branch
    """
    case = step_case(loss_fn, params, batch, optimizer, opt_state, key, names)
    findings, missing = judged(OF_STEP, case, "hand its layers to `diagnose`")
    gradient = log_norms(case.gradient)
    measures = {"log_activation": case.seen.log_activation, "log_gradient": gradient}
    measures |= {"log_parameter": log_norms(case.params), "dead": case.seen.dead, "saturated": case.seen.saturated}
    if optimizer is not None:
        measures["log_update"] = log_norms(case.update[0])
        with np.errstate(invalid="ignore"):
            measures["log_ratio"] = measures["log_update"] - measures["log_parameter"]
    ahead = np.flatnonzero(case.seen.finite == 0)
    behind = np.flatnonzero(np.isnan(gradient) | np.isposinf(gradient))
    first, last = (int(found[0]) if found.size else None for found in (ahead, behind[::-1]))
    return Diagnosis(case.names, measures, findings, missing, first, last, _example(case))


def _example(case: StepCase) -> int | None:
    rows = bad_rows([leaf for leaf in jax.tree.leaves(case.batch) if is_inexact(leaf)], case.examples)
    return rows[0] if rows else case.seen.example
