"""The documented list of causes, root causes first: a line here is a new one.

A judge takes the case and returns a `Finding`, None where the cause is not there, or in words what it lacks to tell.
"""

from collections.abc import Callable

from gradjax.diagnosis import nonfinite, scales, structure
from gradjax.diagnosis.report import Finding

CAUSES: dict[str, str] = {
    "non-finite input": "NaN or infinity in x or in the batch",
    "non-finite parameter": "NaN or infinity in a parameter",
    "precision": "true in float32, lost in float16 or bfloat16",
    "untaken where branch": "0 · ∞ from a branch that a `where` leaves out",
    "singular derivative": "√0 and its kin: finite value, infinite derivative",
    "exploding gradient": "the gradient's norm grows until training breaks",
    "cut graph": "parameters that no gradient reaches",
    "input scale": "inputs far from size one",
    "saturation": "units that their biases hold where φ is flat",
    "dead units": "units that answer no example",
    "weight scale": "weights off the critical line",
    "layer imbalance": "one layer's weights unlike the others'",
    "missing 1/sqrt(L)": "residual branches that add up",
    "normalization": "normalization that explodes",
    "attention logits": "attention frozen on one key",
    "learning rate": "above the stability limit of the preconditioned Hessian",
    "stale second moment": "Adam's second moment far behind the gradients",
    "non-finite activation": "a NaN or an infinity made of finite numbers",
    "non-finite gradient": "the same on the way back",
}

OF_LAYERS: dict[str, Callable] = {
    "non-finite input": nonfinite.input_,
    "non-finite parameter": nonfinite.parameter,
    "precision": nonfinite.precision,
    "untaken where branch": nonfinite.untaken_branch,
    "singular derivative": nonfinite.singular_derivative,
    "cut graph": structure.cut_graph,
    "input scale": scales.input_scale,
    "saturation": scales.saturation,
    "dead units": scales.dead_units,
    "weight scale": scales.weight_scale,
    "layer imbalance": scales.layer_imbalance,
    "missing 1/sqrt(L)": structure.branch_scale,
    "normalization": structure.normalization,
    "attention logits": structure.attention_logits,
    "non-finite activation": nonfinite.activation,
    "non-finite gradient": nonfinite.gradient,
}


def judged(judges: dict[str, Callable], case, missing: str) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """What the judges find, in the order of `CAUSES`, and what could not be assessed, with the reason."""
    findings, not_assessed = [], {}
    for cause in CAUSES:
        found = judges[cause](case) if cause in judges else missing
        if isinstance(found, str):
            not_assessed[cause] = found
        elif found is not None:
            findings.append(found)
    return tuple(findings), not_assessed
