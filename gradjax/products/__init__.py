"""Log singular values of long matrix products: every one of them, at any depth, each with a bound on its error.

The product is kept as left · diag(scale) · right, the scales in wide numbers that never leave their range. Layers are
multiplied in blocks whose length follows the rounding that is measured in each (`blocks`); where a single layer would
lose too much it is eliminated on its own with complete pivoting (`pivoted`). At the end QR sweeps and Jacobi rotations,
or a dense decomposition where the values are close, turn the graded factor into singular values (`jacobi`).

Guaranteed: -inf with error 0 stands exactly where the zero pattern proves it. Outside a trace that is the generic rank,
a maximum flow; inside one only what dead rows, dead columns and bottlenecks prove, and zeros that need more than that
come with an infinite error. A member of a batch that is not finite is NaN, alone.

Measured, not proven: the error bound. Beside the reported run two or three others have every entry moved by a few
rounding units; the bound is twenty times what that moves a value and its neighbours, and infinite where the value is
lost. On the tested cases it is one to a thousand times the true error in the median. The error itself stays within
`tolerance` where the blocks decide it; below that it is set by the conditioning of the factors. In float32 the
tolerance is not taken below ten thousand rounding units (1e-3 nats).

Not reached: chains of triangular layers lose digits although rounding their entries would lose far less, because
elimination fills their structural zeros: 1.2e-7 at width 16 and depth 1000; of a strictly triangular chain of width 64
and depth 10 eight values are wrong by up to 6e-3, and eight are given up, all within their bounds. After 100 000
Gaussian layers of width 16 the error is 1.6e-8. `tests/test_products_truth.py` keeps these in view.

Not known: entries below the smallest normal number count as zero. Derivatives of layers whose rows span d decades are
right to about 10^d rounding units. Where singular values coincide within ten tolerances they share the mean
derivative, and their vectors are one choice of many.
"""

from gradjax.products.factors import Runs
from gradjax.products.naive import naive_log_singular_values
from gradjax.products.spectrum import (
    log_singular_values,
    log_singular_values_with_error,
    prefix_log_singular_values,
)
from gradjax.products.vectors import singular_vectors

__all__ = [
    "Runs",
    "log_singular_values",
    "log_singular_values_with_error",
    "naive_log_singular_values",
    "prefix_log_singular_values",
    "singular_vectors",
]
