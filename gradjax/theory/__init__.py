"""What theory says: numbers in, numbers out, no network, no sampling, nothing imported from what is measured."""

from gradjax.theory import (
    finite_width,
    isometry,
    learning,
    meanfield,
    normalization,
    quadrature,
    recurrent,
    residual,
    shattering,
)

__all__ = [
    "finite_width",
    "isometry",
    "learning",
    "meanfield",
    "normalization",
    "quadrature",
    "recurrent",
    "residual",
    "shattering",
]
