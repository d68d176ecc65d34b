"""The leading and the trailing singular values of a Jacobian too large to form, by products with its layers alone.

One simultaneous iteration serves both (`iteration`): the leading values are those of J_L … J_1 (`largest`), the
trailing ones the inverses of the leading ones of J_1⁻¹ … J_L⁻¹ (`smallest`), each layer inverted on its own
(`inverse`).
"""

from gradjax.leading.largest import leading_log_singular_values
from gradjax.leading.smallest import trailing_log_singular_values

__all__ = ["leading_log_singular_values", "trailing_log_singular_values"]
