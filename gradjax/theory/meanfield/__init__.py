"""Wide random networks, layer by layer: how lengths, angles and gradients change with depth.

Weights are N(0, weight_std^2 / fan_in), biases N(0, bias_std^2); weight_std and bias_std are sigma_w and sigma_b of
Poole et al. (2016, arXiv:1606.05340) and Schoenholz et al. (2017, arXiv:1611.01232). Everything is host float64.
"""

from gradjax.theory.meanfield.correlation import correlation_fixed_point as correlation_fixed_point
from gradjax.theory.meanfield.correlation import correlation_map as correlation_map
from gradjax.theory.meanfield.correlation import depth_scales as depth_scales
from gradjax.theory.meanfield.curvature import curvature_gain as curvature_gain
from gradjax.theory.meanfield.curvature import curvature_map as curvature_map
from gradjax.theory.meanfield.gain import critical_weight_std as critical_weight_std
from gradjax.theory.meanfield.gain import gradient_gain as gradient_gain
from gradjax.theory.meanfield.length import length_fixed_point as length_fixed_point
from gradjax.theory.meanfield.length import length_fixed_points as length_fixed_points
from gradjax.theory.meanfield.length import length_map as length_map
from gradjax.theory.meanfield.phase import phase_diagram as phase_diagram
from gradjax.theory.meanfield.spread import gradient_gain_spread as gradient_gain_spread
from gradjax.theory.meanfield.transient import gains_by_layer as gains_by_layer
