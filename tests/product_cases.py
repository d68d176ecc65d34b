"""Factors of every hard case of a long matrix product, the same to the last bit on every machine.

The truth in tests/truth belongs to these very floats, so nothing here may depend on a BLAS, a LAPACK or the order in
which a processor sums: only elementwise IEEE operations, sums by halving, integers, and normal deviates rounded to 40
binary places (a libm may differ in the last place). `checksum` guards it.

`CASES[name](width, depth, dtype)` gives the factors, the first applied first: one `(depth, n, n)` array, or a list of
matrices where widths change. Values are made in float64 and rounded once to `dtype`. The truth is that of draw 0.
"""

import zlib
from itertools import pairwise

import mpmath
import numpy as np

WIDTHS = (1, 2, 7, 16, 64)
DEPTHS = (1, 10, 100, 1000)


def sum_by_halves(x, axis):
    """The sum along an axis in an order that no processor changes."""
    x = np.moveaxis(x, axis, 0)
    while len(x) > 1:
        half = len(x) // 2
        x = np.concatenate([x[:half] + x[half : 2 * half], x[2 * half :]])
    return x[0]


def normal(rng, *shape):
    return np.round(rng.standard_normal(shape) * 2.0**40) * 2.0**-40


def haar(rng, count, width):
    """Orthogonal matrices up to rounding, by Householder reflections of normal ones."""
    a, q = normal(rng, count, width, width), np.tile(np.eye(width), (count, 1, 1))
    for k in range(width):
        v = a[:, k:, k].copy()
        v[:, 0] += np.copysign(np.sqrt(sum_by_halves(v * v, 1)), v[:, 0])
        half = sum_by_halves(v * v, 1)[:, None] / 2
        a[:, k:] -= v[:, :, None] * (sum_by_halves(v[:, :, None] * a[:, k:], 1) / half)[:, None, :]
        q[:, :, k:] -= (sum_by_halves(q[:, :, k:] * v[:, None, :], 2) / half)[:, :, None] * v[:, None, :]
    return q


def orthogonal(rng, depth, width, pool=8):
    """Dense orthogonal factors: a few Haar ones with rows and columns permuted and signed anew in each layer."""
    q = haar(rng, pool, width)[rng.integers(pool, size=depth)]
    for axis in (1, 2):
        order = np.argsort(rng.random((depth, width)), axis=1, kind="stable")
        signs = 2.0 * rng.integers(2, size=(depth, width)) - 1
        q = np.take_along_axis(q, np.expand_dims(order, 3 - axis), axis) * np.expand_dims(signs, 3 - axis)
    return q


def framed(left, values, right):
    """H(left) diag(values) H(right) with dense reflections H(v) = I - 2 v v^T / v^T v, by its closed form."""
    a, b = (v * np.sqrt(2 / sum_by_halves(v * v, 1))[:, None] for v in (left, right))
    middle = sum_by_halves(a * values * b, 1)[:, None, None]
    outer = a[:, :, None] * b[:, None, :]
    diagonal = values[:, :, None] * np.eye(values.shape[1])
    return (
        diagonal - a[:, :, None] * (a * values)[:, None, :] - (b * values)[:, :, None] * b[:, None, :] + middle * outer
    )


def aligned(rng, values):
    """Factors H_l diag(values_l) H_(l-1): the frames of neighbours agree, so the values multiply (up to rounding)."""
    depth, width = values.shape
    frames = normal(rng, depth + 1, width)
    return framed(frames[1:], values, frames[:-1])


def powers_of_two(exponents):
    return np.ldexp(1.0, np.asarray(exponents, dtype=np.int64))


def gaussian(rng, width, depth):
    return normal(rng, depth, width, width) / np.sqrt(width)


def grading(width, depth):
    """Binary orders of magnitude within one layer: 12 decades, or fewer where the exact product would take hours."""
    return 40 if width * depth <= 16_000 else 4


def some_layers(rng, depth, share=10):
    """At least one layer, about one in `share`."""
    return rng.choice(depth, size=max(1, depth // share), replace=False)


def he_relu(rng, width, depth):
    return np.sqrt(2.0) * gaussian(rng, width, depth) * rng.integers(2, size=(depth, width, 1))


def one_line_masked(axis):
    def build(rng, width, depth):
        j = gaussian(rng, width, depth)
        for layer in some_layers(rng, depth):
            np.moveaxis(j[layer], axis, 0)[rng.integers(width)] = 0.0
        return j

    return build


def saturated(rng, width, depth):
    j = gaussian(rng, width, depth)
    for layer in {0, depth // 2, depth - 1}:
        j[layer, rng.integers(width)] *= 1e-20
    return j


def all_equal(rng, width, depth):
    return 1.5 * orthogonal(rng, depth, width)


def repeated_pairs(rng, width, depth):
    return aligned(rng, np.tile(1 - 0.02 * (np.arange(width) // 2) / width, (depth, 1)))


def graded_pairs(rng, width, depth):
    steps = grading(width, depth) * (np.arange(width) // 2) // max(1, (width - 1) // 2)
    return aligned(rng, np.tile(powers_of_two(-steps), (depth, 1)))


def orthogonal_cancel(rng, width, depth):
    q = orthogonal(rng, (depth + 1) // 2, width)
    return np.stack([q, np.swapaxes(q, 1, 2)], axis=1).reshape(-1, width, width)[:depth]


def graded_cancel(rng, width, depth):
    frames = normal(rng, depth + 1, width)
    frames[2::2] = frames[0]
    signs = np.where(np.arange(depth) % 2, 1, -1)[:, None]
    return framed(frames[1:], powers_of_two(signs * (20 * np.arange(width) // width)), frames[:-1])


def graded_mirror(rng, width, depth):
    """Half a chain graded over 200 binary orders, then its inverse: what is left is rounding, amplified."""
    half = (depth + 1) // 2
    frames = normal(rng, half + 1, width)
    steps = (np.arange(1, half + 1)[:, None] * 200 // half - np.arange(half)[:, None] * 200 // half) * np.arange(width)
    values = powers_of_two(-steps // max(1, width - 1))
    there = framed(frames[1:], values, frames[:-1])
    back = framed(frames[:-1], 1 / values, frames[1:])[::-1]
    return np.concatenate([there, back])[:depth]


def ascending_diagonal(rng, width, depth):
    """Diagonal layers, the smallest value first: the grading comes out in the wrong order."""
    exponents = grading(width, depth) * np.arange(width) // width - 20
    return (1 + rng.random((depth, width, 1))) * powers_of_two(exponents)[:, None] * np.eye(width)


def with_widths(widths_of):
    def build(rng, width, depth):
        widths = widths_of(rng, width, depth)
        return [normal(rng, m, n) / np.sqrt(n) for n, m in pairwise(widths)]

    return build


def narrowing(_, width, depth):
    return [1 + (width - 1) * (depth - layer) // depth for layer in range(depth + 1)]


def bottleneck(_, width, depth):
    return [1 if layer == (depth + 1) // 2 else width for layer in range(depth + 1)]


def alternating(_, width, depth):
    return [width if layer % 2 == 0 else (width + 1) // 2 for layer in range(depth + 1)]


def wobbling(rng, width, depth):
    return [int(n) for n in rng.integers((width + 1) // 2, width + 1, size=depth + 1)]


def mixed_layers(rng, width, depth, huge):
    return gaussian(rng, width, depth) * np.where(rng.integers(2, size=(depth, 1, 1)), huge, 1 / huge)


def mixed_entries(rng, width, depth, huge):
    """Few entries huge, few near 1, the rest tiny: which scale a value has is settled by the patterns alone."""
    j = gaussian(rng, width, depth)
    for layer in {0, depth // 2, depth - 1}:
        share = rng.random((width, width)) * width
        j[layer] *= np.where(share < 0.5, huge, np.where(share < 1.2, 1.0, 1 / huge))
    return j


def one_huge_layer(rng, width, depth, huge):
    j = gaussian(rng, width, depth)
    j[depth // 2] *= huge
    return j


def graded_lines(axis):
    def build(rng, width, depth):
        exponents = rng.integers(-grading(width, depth), 1, size=(depth, width))
        return gaussian(rng, width, depth) * np.expand_dims(powers_of_two(exponents), axis)

    return build


def near_orthogonal(rng, width, depth):
    return orthogonal(rng, depth, width) + 0.01 * gaussian(rng, width, depth)


def triangular(rng, width, depth):
    return np.triu(gaussian(rng, width, depth), 1) + (0.5 + rng.random((depth, width, 1))) * np.eye(width)


def strictly_triangular(rng, width, depth):
    return np.triu(normal(rng, depth, width, width), 1)


def funnel(rng, width, depth):
    """In some layers two columns feed the same single row: no row or column is zero, yet a rank is lost."""
    j = gaussian(rng, width, depth)
    for layer in some_layers(rng, depth):
        pair = rng.choice(width, size=min(2, width), replace=False)
        j[layer][1:, pair] = 0.0
    return j


def monomial(rng, width, depth):
    """A permutation with one value in each row, a few of them zero: which are lost depends on the paths."""
    order = np.argsort(rng.random((depth, width)), axis=1, kind="stable")
    values = normal(rng, depth, width) * (rng.random((depth, width)) > 0.5 / depth)
    return values[:, :, None] * np.eye(width)[order]


def sparse(rng, width, depth):
    """About two nonzero entries in a row, three in some: the generic rank falls with depth as paths run together."""
    density = np.where(rng.integers(2, size=(depth, width, 1)), 2, 3) / width
    return normal(rng, depth, width, width) * (rng.random((depth, width, width)) < density)


def integers(rng, *shape):
    """Small and nonzero, so that their products are exact."""
    return rng.integers(1, 8, size=shape) * (2.0 * rng.integers(2, size=shape) - 1)


def rank_one(rng, width, depth):
    j = gaussian(rng, width, depth)
    j[depth // 2] = integers(rng, width, 1) * integers(rng, 1, width)
    return j


def rank_one_rounded(rng, width, depth):
    j = gaussian(rng, width, depth)
    j[depth // 2] = normal(rng, width, 1) * normal(rng, 1, width)
    return j


def equal_rows(rng, width, depth):
    j = gaussian(rng, width, depth)
    j[depth // 2, 0] = j[depth // 2, -1]
    return j


def annihilating(rng, width, depth):
    """A dense layer that lets two units agree, then one that sees only their difference: an exact cancellation."""
    j = gaussian(rng, width, depth)
    if width > 1:
        first, second = j[(depth - 1) // 2], j[depth // 2]
        first[0] = first[1]
        if depth > 1:
            second[:, 0] = -second[:, 1]
    return j


def seeded(build, name, *arguments):
    def builder(width, depth, dtype=np.float64, draw=0):
        rng = np.random.default_rng([zlib.crc32(name.encode()), width, depth] + [draw] * (draw > 0))
        factors = build(rng, width, depth, *(a[np.dtype(dtype).name] for a in arguments))
        if isinstance(factors, list):
            return [factor.astype(dtype) for factor in factors]
        return factors.astype(dtype)

    return builder


HUGE = {"float64": 1e200, "float32": 1e30}
HUGEST = {"float64": 1e300, "float32": 1e37}

BUILDERS = {
    "gaussian": (gaussian,),
    "he_relu": (he_relu,),
    "row_mask": (one_line_masked(0),),
    "column_mask": (one_line_masked(1),),
    "saturated": (saturated,),
    "all_equal": (all_equal,),
    "repeated_pairs": (repeated_pairs,),
    "graded_pairs": (graded_pairs,),
    "orthogonal_cancel": (orthogonal_cancel,),
    "graded_cancel": (graded_cancel,),
    "graded_mirror": (graded_mirror,),
    "ascending_diagonal": (ascending_diagonal,),
    "narrowing": (with_widths(narrowing),),
    "bottleneck": (with_widths(bottleneck),),
    "alternating": (with_widths(alternating),),
    "wobbling": (with_widths(wobbling),),
    "huge": (lambda rng, width, depth, huge: gaussian(rng, width, depth) * huge, HUGE),
    "tiny": (lambda rng, width, depth, huge: gaussian(rng, width, depth) / huge, HUGE),
    "mixed_layers": (mixed_layers, HUGE),
    "mixed_entries": (mixed_entries, HUGE),
    "one_huge_layer": (one_huge_layer, HUGEST),
    "row_graded": (graded_lines(2),),
    "column_graded": (graded_lines(1),),
    "near_orthogonal": (near_orthogonal,),
    "triangular": (triangular,),
    "strictly_triangular": (strictly_triangular,),
    "funnel": (funnel,),
    "monomial": (monomial,),
    "sparse": (sparse,),
    "rank_one": (rank_one,),
    "rank_one_rounded": (rank_one_rounded,),
    "equal_rows": (equal_rows,),
    "annihilating": (annihilating,),
}
CASES = {name: seeded(build, name, *arguments) for name, (build, *arguments) in BUILDERS.items()}

# One case beyond the grid of sizes, for depth itself.
DEEP = ("gaussian", 16, 100_000)

# Lists of matrices, each of its own shape.
RECTANGULAR = ("narrowing", "bottleneck", "alternating", "wobbling")

# Ranks lost by cancellation, which no zero pattern proves.
CANCELLATIONS = ("rank_one", "equal_rows", "annihilating")


def checksum(factors):
    """A number that changes with any bit of the factors."""
    value = 0
    for factor in factors:
        value = zlib.crc32(np.ascontiguousarray(factor + 0.0).tobytes(), value)
    return value


def sizes(name, widths=WIDTHS, depths=DEPTHS):
    """The (width, depth) at which a case is judged, small first; depth 100 at most where every layer has its shape."""
    grid = [(width, depth) for width in widths for depth in depths]
    return sorted((size for size in grid if name != "wobbling" or size[1] <= 100), key=lambda s: s[0] ** 3 * s[1])


def hadamard_chain(depth, graded, width=16):
    """Dense dyadic factors S_(l+1) H D_l H^T S_l^T / width, and the log singular values of their product: equal pairs.

    H is Sylvester's Hadamard matrix, S_l a signed permutation, and D_l holds quarters 4 to 7 times powers of two: every
    entry is exact, and the frames of neighbours agree, so the values multiply. Graded, the pairs fall one or two binary
    orders a layer behind each other; else each takes its turn at every quarter, and all values are equal at depth 4 m.
    No value may swing far above another and back, as a random walk would: rounding the entries would then move it.
    """
    rng = np.random.default_rng([width, depth, graded])
    hadamard = np.ones((1, 1))
    while len(hadamard) < width:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    pair, layer = np.arange(width) // 2, np.arange(depth)[:, None]
    quarters = np.repeat(rng.integers(4, 8, size=(depth, width // 2)), 2, axis=1) if graded else 4 + (pair + layer) % 4
    steps = np.repeat(rng.integers(2, size=(depth, width // 2)), 2, axis=1) + pair if graded else 0 * quarters
    factors = (hadamard * (quarters / 4.0 * powers_of_two(-steps))[:, None, :]) @ (hadamard.T / width)
    order = np.argsort(rng.random((depth + 1, width)), axis=1, kind="stable")
    signs = 2.0 * rng.integers(2, size=(depth + 1, width)) - 1
    for axis, which in ((1, slice(1, None)), (2, slice(None, -1))):
        factors = np.take_along_axis(factors, np.expand_dims(order[which], 3 - axis), axis)
        factors *= np.expand_dims(signs[which], 3 - axis)
    twos = (2 * (quarters != 4) + steps).sum(axis=0)  # 5/4, 6/4, 7/4 each hold two halvings, 4/4 none
    counts = [(quarters == q).sum(axis=0) for q in (5, 6, 7)]
    with mpmath.workdps(40):  # ordinary sums of 100 000 logarithms are no better than what they judge
        five, six, seven, two = (mpmath.log(q) for q in (5, 6, 7, 2))
        exact = [five * a + six * b + seven * c - two * d for a, b, c, d in zip(*counts, twos, strict=True)]
        logs = np.array([float(value) for value in exact])
    return factors, np.sort(logs)[::-1]
