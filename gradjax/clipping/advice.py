"""Which threshold to choose: advice from the norms of a run, with its evidence."""

from dataclasses import dataclass

import numpy as np

from gradjax.arguments import real, reals

PERCENTILES = (50, 90, 99)
HEAVY_TAIL = float(np.log(10))  # P99 ten times the median: single steps dominate


@dataclass(frozen=True)
class ThresholdAdvice:
    """A clipping threshold and what it rests on; printed, it is a sentence.

    Args:
        threshold: for the global norm; it may be 0 or inf where `log_threshold` is beyond the floats.
        log_threshold: its natural log.
        log_percentiles: percentile -> ln of the norm, over the finite, nonzero norms.
        fraction_clipped: of the finite norms, the part above the threshold.
        steps, nonfinite, zeros: how many norms came, held a NaN or an infinity, were exactly zero.
        heavy_tailed: whether P99 is more than ten times the median: the case that a clip is for.
    """

    threshold: float
    log_threshold: float
    log_percentiles: dict[int, float]
    fraction_clipped: float
    steps: int
    nonfinite: int
    zeros: int
    heavy_tailed: bool

    def __str__(self) -> str:
        shown = ", ".join(f"P{p} {_power_of_ten(log)}" for p, log in self.log_percentiles.items())
        need = (
            "single steps dominate, a clip is called for"
            if self.heavy_tailed
            else "no heavy tail, a clip changes little"
        )
        return (
            f"threshold {_power_of_ten(self.log_threshold)} clips {self.fraction_clipped:.1%} of the finite steps "
            f"({shown}; {self.steps} steps, {self.nonfinite} non-finite, {self.zeros} zero): {need}"
        )


def suggest_threshold(log_norms, *, percentile: float = 90.0) -> ThresholdAdvice:
    """Advice on the threshold of a clip by global norm, from a run's norms: their percentile, by default P90.

    A clip at P90 leaves nine steps of ten untouched and bounds the rest. Non-finite norms are counted apart: as large
    numbers they would move every percentile, dropped in silence they would hide that the run broke.

    Args:
        log_norms: ln of the global gradient norm at each step, any shape; see `log_global_norm`.
        percentile: in (0, 100).

    Raises:
        ValueError: no finite, nonzero norm; a percentile outside (0, 100).

    Reference: Pascanu, Mikolov, Bengio (2013, arXiv:1211.5063) take 0.5 to 10 times the average norm.

    >>> advice = suggest_threshold(np.log([1.0, 1.0, 1.0, 1.0, 100.0, np.inf]), percentile=75)
    >>> advice.threshold, advice.fraction_clipped, advice.nonfinite
    (1.0, 0.2, 1)
    """
    percentile = real("percentile", percentile, "(0, 100)")
    logs = reals("log_norms", log_norms, None).ravel()
    zero, usual = logs == -np.inf, np.isfinite(logs)
    if not usual.any():
        raise ValueError(f"log_norms holds no finite norm among {logs.size}, expected at least one: train fewer steps")
    log_percentiles = {p: float(np.percentile(logs[usual], p)) for p in PERCENTILES}
    log_threshold = float(np.percentile(logs[usual], percentile))
    with np.errstate(over="ignore"):
        threshold = float(np.exp(log_threshold))
    return ThresholdAdvice(
        threshold=threshold,
        log_threshold=log_threshold,
        log_percentiles=log_percentiles,
        fraction_clipped=float(np.mean(logs[usual | zero] > log_threshold)),
        steps=logs.size,
        nonfinite=int((~usual & ~zero).sum()),
        zeros=int(zero.sum()),
        heavy_tailed=log_percentiles[99] - log_percentiles[50] > HEAVY_TAIL,
    )


def _power_of_ten(log: float) -> str:
    """exp(log) in decimal, also where no float holds it: 3.2e+4000."""
    exponent = int(np.floor(log / np.log(10)))
    return f"{np.exp(log - exponent * np.log(10)):.2f}e{exponent:+d}"
