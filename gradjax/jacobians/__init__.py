"""Jacobians of layers and of whole networks, exact where they can be formed, estimated where they cannot.

`exact` forms them in chunks that fit into memory, `plan` says beforehand how large they are, `norms` sums their squares
without keeping them, and `summary` gives the largest, the median and the smallest singular value of every layer, from
products alone (`bidiagonal`) where the matrix would be too large.
"""

from gradjax.jacobians.exact import input_output_jacobian, jacobian, layer_jacobians
from gradjax.jacobians.norms import log_jacobian_norms
from gradjax.jacobians.plan import JacobianSize, jacobian_sizes
from gradjax.jacobians.summary import SingularValueSummary, singular_value_summary

__all__ = [
    "JacobianSize",
    "SingularValueSummary",
    "input_output_jacobian",
    "jacobian",
    "jacobian_sizes",
    "layer_jacobians",
    "log_jacobian_norms",
    "singular_value_summary",
]
