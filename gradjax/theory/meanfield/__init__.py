"""Wide random networks, layer by layer: how lengths, angles and gradients change with depth.

Weights are N(0, weight_std^2 / fan_in), biases N(0, bias_std^2); weight_std and bias_std are sigma_w and sigma_b of
Poole et al. (2016, arXiv:1606.05340) and Schoenholz et al. (2017, arXiv:1611.01232). Everything is host float64.
"""

from gradjax.theory.meanfield.gain import critical_weight_std, curvature_gain, gradient_gain
from gradjax.theory.meanfield.length import FixedPoints, length_fixed_point, length_fixed_points, length_map

__all__ = [
    "FixedPoints",
    "critical_weight_std",
    "curvature_gain",
    "gradient_gain",
    "length_fixed_point",
    "length_fixed_points",
    "length_map",
]
