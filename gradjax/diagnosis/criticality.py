"""Weights against their critical line, layers and steps alike: one factor for all that theory and measurement share."""

import functools
from collections.abc import Callable

import numpy as np

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.theory import meanfield


def critical_std(activation: Callable | None, bias_std: float, weight_std: float, log_gain: float) -> float:
    """σ_w at which this layer's activation keeps a gradient's size; from the measured gain where theory has no one."""
    for std in () if activation is None else (bias_std, 0.0):
        try:
            return _critical(activation, float(f"{std:.2g}"))
        except ValueError:
            continue
    return weight_std * float(np.exp(-log_gain / 2))


@functools.lru_cache(maxsize=256)
def _critical(activation: Callable, bias_std: float) -> float:
    return meanfield.critical_weight_std(activation, bias_std)


def off_the_line(ratios: np.ndarray, gains: np.ndarray, limit: float, signal: Callable[[], float]) -> dict | None:
    """The common factor and the growth of the squared gradient, if both say that the weights' scale is at fault.

    Args:
        ratios: ln σ_w over the critical σ_w, by layer.
        gains: ln of the squared gain, by layer, as measured.
        limit: what their sum may be by chance, or harmlessly.
        signal: gives ln of the squared gradient's growth on its way back, as measured.
    """
    total, middle = float(gains.sum()), float(np.median(ratios))
    odd = int(np.argmax(np.abs(ratios - middle)))
    without_odd = total - gains[odd] if abs(ratios[odd] - middle) > thresholds.HARMFUL / 2 else total
    # it is the scale, not the biases
    explains = middle * total > 0 and 2 * abs(middle) * len(gains) >= abs(total) * thresholds.HALF
    if abs(without_odd) <= limit or not explains:
        return None
    growth = signal()
    if growth * total <= 0 or abs(growth) < limit * thresholds.HALF:
        return None
    return {"factor": float(np.exp(middle)), "log_growth": total, "limit": limit}


def scale_finding(row: int, count: int, numbers: dict, target: str, scaled: Callable) -> Finding:
    """The finding; `scaled(subject, factor)` multiplies the weights of the `count` layers."""
    factor, total = float(1 / numbers["factor"]), numbers["log_growth"]
    way = "explodes" if total > 0 else "vanishes"
    evidence = (
        f"sigma_w is {numbers['factor']:.3g} times the critical one; the squared gradient {way} by e^{total:.1f} over "
        f"{count} layers, where {numbers['limit']:.1f} would be harmless or chance"
    )
    text = f"multiply these weights by {factor:.3g}"
    remedy = Remedy(text, factor, target, lambda subject: scaled(subject, factor))
    return Finding("weight scale", row, evidence, numbers, remedy)
