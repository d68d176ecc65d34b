"""Log singular values of every case in `product_cases`, in arbitrary precision, and how far rounding moves them.

Run by hand: `python tests/make_product_truth.py [NAME ...]`; it needs `python-flint` and `gmpy2`,
which the tests do not. It resumes, small sizes first, and writes one `tests/truth/NAME.DTYPE.npz` a case.

The route shares nothing with gradjax but the mathematics:
1. floats are dyadic: their product is one of exact ball matrices (Arb), as a balanced tree, and radii prove its error;
2. its exact rank is that of the product modulo two primes;
3. pivoted Gram-Schmidt at that precision gives P = Q R up to order; R^T is well conditioned but for column scales;
4. one-sided Jacobi on R^T at 200 bits with unbounded exponents keeps the relative accuracy of every value (Demmel and
   Veselic, 1992).
Precision grows until the smallest value stands 80 bits above the radii and the rounding. Then every entry is multiplied
by 1 + s 2^-53 (2^-24 for float32), s = +-1 at random, and all is done again: the largest move of a few is `moved`.
"""

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path

import gmpy2
import numpy as np
from flint import arb_mat, ctx, nmod_mat
from product_cases import CASES, DEEP, checksum, sizes

TRUTH = Path(__file__).parent / "truth"
PRIMES = (2**31 - 1, 2**31 - 19)
GUARD = 80
DRAWS = ((1e8, 2), (4e8, 1), (np.inf, 0))  # up to this width^3 depth, that many; with none, `moved` is NaN


def ball_matrix(factor, moves=0.0):
    """The factor as exact balls, each entry times 1 + its move, a signed power of two."""
    ctx.prec = 128  # the sum of a float and 2^-53 of it is exact
    exact, moved = (arb_mat(*factor.shape, (factor * part).astype(np.float64).ravel().tolist()) for part in (1, moves))
    return exact + moved


def ball_product(leaves, precision):
    ctx.prec = precision
    while len(leaves) > 1:
        rest = leaves[-1:] if len(leaves) % 2 else []
        leaves = [leaves[i + 1] * leaves[i] for i in range(0, len(leaves) - 1, 2)] + rest
    return leaves[0]


def residues(factor, prime):
    """A float matrix modulo a prime below 2^31: mantissa times power of two."""
    mantissa, exponent = np.frexp(factor.astype(np.float64))
    different, place = np.unique(exponent - 53, return_inverse=True)
    powers = np.array([pow(2, int(e) % (prime - 1), prime) for e in different], dtype=np.int64)
    return (mantissa * 2.0**53).astype(np.int64) % prime * powers[place].reshape(factor.shape) % prime


def rank_modulo(matrices, prime):
    """Rank of the product of integer matrices modulo a prime."""
    product = None
    for matrix in matrices:
        layer = nmod_mat(*matrix.shape, matrix.ravel().tolist(), prime)
        product = layer if product is None else layer * product
    return product.rank()


def exact_rank(factors):
    """Rank of the exact product: it falls short only where two primes divide the same minors."""
    return max(rank_modulo((residues(f, prime) for f in factors), prime) for prime in PRIMES)


def generic_rank(factors, rng):
    """The most vertex-disjoint paths through nonzero entries: the rank, modulo a prime, with random entries there."""
    prime = PRIMES[0]
    return rank_modulo((np.where(f != 0, rng.integers(1, prime, size=f.shape), 0) for f in factors), prime)


def to_float(x):
    man, exp = x.man_exp()
    return (
        gmpy2.mul_2exp(gmpy2.mpfr(int(man)), int(exp)) if exp >= 0 else gmpy2.div_2exp(gmpy2.mpfr(int(man)), -int(exp))
    )


def rounder(precision):
    return np.frompyfunc(lambda x: gmpy2.mpfr(x, precision), 1, 1)


def with_precision(precision):
    gmpy2.set_context(gmpy2.context(precision=precision, emax=gmpy2.get_emax_max(), emin=gmpy2.get_emin_min()))


def triangular_factor(columns, rank, precision):
    """R of pivoted Gram-Schmidt; `columns` has one column in each row. Returns R^T's columns: (rank, n)."""
    a, rows = columns.copy(), []
    place = np.arange(len(a))
    coarse = rounder(40)
    for k in range(rank):
        with_precision(40)
        best = k + int(np.argmax((coarse(a[k:]) ** 2).sum(axis=1)))
        with_precision(precision)
        a[[k, best]], place[[k, best]] = a[[best, k]], place[[best, k]]
        for row in rows:
            row[[k, best]] = row[[best, k]]
        size = gmpy2.sqrt((a[k] ** 2).sum())
        row = np.array([gmpy2.mpfr(0)] * len(a), dtype=object)
        row[k] = size
        if k + 1 < len(a):
            q = a[k] / size
            row[k + 1 :] = (a[k + 1 :] * q).sum(axis=1)
            a[k + 1 :] -= row[k + 1 :, None] * q
        rows.append(row)
    return np.array(rows, dtype=object).reshape(rank, len(columns))


def round_robin(count):
    """Rounds of disjoint pairs that cover every pair once."""
    players = list(range(count + count % 2))
    for _ in range(len(players) - 1):
        half = len(players) // 2
        pairs = [(i, j) for i, j in zip(players[:half], players[: half - 1 : -1], strict=True) if max(i, j) < count]
        if pairs:
            yield np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        players = [players[0], players[-1], *players[1:-1]]


def jacobi_values(columns):
    """Singular values by one-sided Jacobi on the rows of `columns`, to a relative error near count * 2^-GUARD."""
    a, small = columns.copy(), gmpy2.exp2(-GUARD)
    root = np.frompyfunc(gmpy2.sqrt, 1, 1)
    for _sweep in range(60):
        squares = (a**2).sum(axis=1)
        a = a[sorted(range(len(a)), key=lambda i: -squares[i])]
        worst = gmpy2.mpfr(0)
        for i, j in round_robin(len(a)):
            x, y = a[i], a[j]
            xx, yy, xy = (x**2).sum(axis=1), (y**2).sum(axis=1), (x * y).sum(axis=1)
            cosine = abs(xy) / root(xx * yy)
            active = cosine > small
            worst = max(worst, cosine.max())
            if not active.any():
                continue
            i, j, x, y, xx, yy, xy = (v[active] for v in (i, j, x, y, xx, yy, xy))
            z = (yy - xx) / (2 * xy)
            t = np.array([(1 if v >= 0 else -1) / (abs(v) + gmpy2.sqrt(1 + v * v)) for v in z], dtype=object)
            c = 1 / root(1 + t * t)
            s = c * t
            a[i], a[j] = c[:, None] * x - s[:, None] * y, s[:, None] * x + c[:, None] * y
        if worst <= small:
            return np.sort(root((a**2).sum(axis=1)))[::-1]
    raise RuntimeError("Jacobi did not converge")


def log_values(leaves, rank, precision):
    """Natural logs of the `rank` nonzero singular values (200 bits), and the precision that sufficed."""
    while rank:
        product = ball_product(leaves, precision)
        with_precision(precision)
        balls = product.tolist()
        columns = np.array(
            [[to_float(balls[i][j].mid()) for i in range(product.nrows())] for j in range(product.ncols())],
            dtype=object,
        )
        columns = columns.reshape(product.ncols(), product.nrows())
        radius = gmpy2.sqrt(sum(to_float(x.rad()) ** 2 for row in balls for x in row))
        error = radius + gmpy2.sqrt((columns**2).sum()) * gmpy2.exp2(20 - precision)
        rows = triangular_factor(columns, rank, precision)
        if rows[-1, rank - 1] > error * gmpy2.exp2(GUARD + 20):
            with_precision(200)
            values = jacobi_values(rounder(200)(rows))
            if values[-1] > error * gmpy2.exp2(GUARD):
                return np.array([gmpy2.log(v) for v in values], dtype=object), precision
        precision = precision * 3 // 2
    return np.zeros(0, dtype=object), precision


def first_guess(factors):
    """Bits that the running QR's exponents span: only a guess, checked afterwards."""
    q, spread = None, []
    for factor in factors:
        f = factor.astype(np.float64)
        top = np.abs(f).max() or 1.0
        q, r = np.linalg.qr((f / top) @ q if q is not None else f / top)
        with np.errstate(divide="ignore"):
            spread.append(np.log2(np.abs(np.diag(r))))
    width = min(len(s) for s in spread)
    sums = sum(s[:width] for s in spread)
    sums = sums[np.isfinite(sums)]
    return 250 + int(1.1 * (sums.max() - sums.min())) if len(sums) else 250


def truth(factors, seed):
    """(log values with -inf for exact zeros, move under rounding, generic rank, bits used)"""
    rng = np.random.default_rng(seed)
    count = min(factors[0].shape[1], factors[-1].shape[0])
    leaves = [ball_matrix(f) for f in factors]
    rank = exact_rank(factors)
    pattern_rank = generic_rank(factors, rng)
    if not rank <= pattern_rank <= count:
        raise RuntimeError(f"rank {rank}, pattern {pattern_rank}, count {count}")
    logs, bits = log_values(leaves, rank, first_guess(factors))
    work = len(factors) * max(f.size for f in factors) ** 1.5
    draws = next(number for most, number in DRAWS if work <= most)
    step, moved = float(np.finfo(factors[0].dtype).eps) / 2, np.full(rank, 0.0 if draws else np.nan)
    for _ in range(draws if rank else 0):
        leaves = [ball_matrix(f, step * (2.0 * rng.integers(2, size=f.shape) - 1)) for f in factors]
        moved = np.maximum(moved, np.abs(log_values(leaves, rank, bits)[0] - logs).astype(float))
    missing = count - rank
    return np.append(logs.astype(float), [-math.inf] * missing), np.append(moved, [0.0] * missing), pattern_rank, bits


FIELDS = ("width", "depth", "checksum", "generic_rank", "count", "log", "moved")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    parser.add_argument("--work", type=float, default=np.inf, help="skip sizes whose width^3 depth is more")
    options = parser.parse_args()
    dtype = options.dtype
    grid = [(name, w, d) for name in options.names for w, d in sizes(name)]
    grid += [DEEP] * (DEEP[0] in options.names and dtype == "float64")
    todo = sorted((w**3 * d, w, d, name) for name, w, d in grid)
    for work, width, depth, name in todo:
        if work > options.work:
            break
        path = TRUTH / f"{name}.{dtype}.npz"
        stored = dict(np.load(path)) if path.exists() else {field: np.zeros(0) for field in FIELDS}
        factors = CASES[name](width, depth, np.dtype(dtype))
        if any(row == (width, depth, checksum(factors)) for row in zip(*(stored[f] for f in FIELDS[:3]), strict=True)):
            continue
        start = time.time()
        logs, moved, pattern_rank, bits = truth(factors, [width, depth])
        new = (width, depth, checksum(factors), pattern_rank, len(logs), logs, moved)
        types = (np.int32, np.int32, np.uint32, np.int32, np.int32, np.float64, np.float32)
        keep = [(w, d) != (width, depth) for w, d in zip(stored["width"], stored["depth"], strict=True)]
        ends = np.cumsum(stored["count"]).astype(int)
        kept = np.concatenate(
            [np.arange(b, e) for ok, (b, e) in zip(keep, pairwise([0, *ends]), strict=True) if ok] + [[]]
        )
        index = {"log": kept.astype(int), "moved": kept.astype(int)}
        merged = {
            field: np.append(stored[field][index.get(field, np.array(keep, dtype=bool))], value).astype(kind)
            for field, value, kind in zip(FIELDS, new, types, strict=True)
        }
        np.savez_compressed(path, **merged)
        finite = logs[np.isfinite(logs)]
        what = f"{name} {dtype} {width}x{depth}: rank {len(finite)}/{len(logs)} (pattern {pattern_rank})"
        spread = f"spread {np.ptp(finite) if len(finite) else 0:.1f}, moved {moved.max(initial=0):.1e}"
        print(f"{what}, {spread}, {bits} bits, {time.time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
