"""Clipping: optax's clippers and guards beside the forms they lack, each with what it promises.

Stock clipping returns zeros exactly where gradients explode: the square of the norm overflows. Here a norm is taken
after an exact scaling by a power of two, and every transformation declares its bound, so that one test holds it.
"""

from gradjax.clipping.advice import ThresholdAdvice, suggest_threshold
from gradjax.clipping.choice import by_layer, one_of
from gradjax.clipping.following import autoclip, clip_by_percentile, zclip
from gradjax.clipping.global_norm import ClipState, Rule, clip_by_global_norm, clip_by_rule, log_global_norm
from gradjax.clipping.observed import ObservedState, cosine, observe
from gradjax.clipping.responses import CASES, response, responses
from gradjax.clipping.table import CLIPPERS, Clipper, resolve

__all__ = [
    "CASES",
    "CLIPPERS",
    "ClipState",
    "Clipper",
    "ObservedState",
    "Rule",
    "ThresholdAdvice",
    "autoclip",
    "by_layer",
    "clip_by_global_norm",
    "clip_by_percentile",
    "clip_by_rule",
    "cosine",
    "log_global_norm",
    "observe",
    "one_of",
    "resolve",
    "response",
    "responses",
    "suggest_threshold",
    "zclip",
]
