"""Log singular values of long matrix products: every one of them, at any depth, each with a bound on its error.

The product is kept as left · diag(scale) · right, the scales in wide numbers that never leave their range. Layers are
multiplied in blocks, each turned into Q · R by Cholesky-QR; their length follows the rounding that is measured in each,
and what the whole chain may lose is a budget (`blocks`, `chain`). Where zeros of the pattern live on in the product, as
in a chain of triangular layers, it goes layer by layer in twice the digits (`doubled`). Where a single layer would lose
too much it is eliminated on its own with complete pivoting (`pivoted`). At the end QR sweeps and Jacobi rotations, all
at once where they are small, or a dense decomposition where the values are close, turn the graded factor into singular
values (`jacobi`, `together`).

Guaranteed: -inf with error 0 stands exactly where the zero pattern proves it. Outside a trace that is the generic rank,
a maximum flow; inside one only what dead rows, dead columns and bottlenecks prove, and zeros that need more than that
come with an infinite error. A member of a batch that is not finite is NaN, alone.

Measured, not proven: the error bound. Beside the reported run two or three others have every entry moved by a few
rounding units (`probes`); the bound is twenty times what that moves a value and its neighbours, in float32 and one
rounding unit a layer, and infinite where the value is lost. On the tested cases it is in float64 two to a hundred times
the true error in the median of a size. The error itself stays within `tolerance` where the blocks decide it: later
layers enlarge what a block loses, more than tenfold in sparse chains, so that a block may lose no more than a tenth of
its share, and a sixteenth of that where few directions live on; below that it is set by the conditioning of the
factors.

Float32 factors are measured in float64 outside a trace, which takes a fortieth of the time (64 Gaussian units, 1000
layers, CPU), and the answer is rounded: it is that of the same factors in float64. Inside a trace there is no host to
ask, and nothing but their own precision. The tolerance is then not taken below ten thousand rounding units (1e-3
nats); a value is off by at most five times what rounding the factors' entries does, and beside that by 4 n eps for each
nat of spread, 0.03 nats at width 64 and 1000 nats; typically by a three-hundredth of that. Masked layers were off by
1.2 times that at width 64 and depth 1000, where values that rounding does not lose are given up as well.

Inside a trace, chains whose layers do not join all their live units, sparse or triangular, lose digits: triangular ones
1.5e-7 at width 16 and depth 1000, in float32 up to 3 nats, within their bounds. Eliminating a layer that mixes entries
of 1e200, 1 and 1e-200 may lose a pivot that no jitter moves: from such a layer on every bound is infinite there, as it
is on the host where exact digits would take minutes (they take 1 s for such a layer of width 64), where no number of
digits makes a pivot certain, and past a wanted depth that parts such layers with nothing dense between them.
`log_singular_values` alone flags nothing.

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
