"""Log singular values of long products against stored truth in arbitrary precision (made by make_product_truth.py).

A value is right when it is within `TOLERANCE`, or within 100 times what rounding the entries once moves it; -inf stands
exactly where the zero pattern proves it; the reported bound is never below the true error, and is infinite only where
rounding the entries already moves the value by more than `LOST`, or where an exact cancellation left nothing.
"""

import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
from product_cases import CANCELLATIONS, CASES, DEEP, DEPTHS, RECTANGULAR, WIDTHS, checksum, hadamard_chain, sizes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

from gradjax.products import log_singular_values, log_singular_values_with_error, naive_log_singular_values

TRUTH = Path(__file__).parent / "truth"
TOLERANCE = 1e-9
LOST = 1e-2
SOUND = {"graded_mirror": 0, "rank_one_rounded": 1}  # the other values are rounding: one may happen to hold still
ALL_SIZES = sorted(((w, d) for w in WIDTHS for d in DEPTHS), key=lambda size: size[0] ** 3 * size[1])

# Every shape is compiled anew, which takes longer than to run it: most sizes are judged by `pytest -m slow` alone.
QUICK_SIZES = ((1, 100), (2, 10))
QUICK_RECTANGULAR = ((2, 10),)
SIZES = [s if s in QUICK_SIZES else pytest.param(*s, marks=pytest.mark.slow) for s in ALL_SIZES]
FLOAT32_SIZES = [s if s == (1, 100) else pytest.param(*s, marks=pytest.mark.slow) for s in ALL_SIZES]


def stored(name, dtype):
    """The truth of one case: (width, depth) -> (checksum, generic rank, log values, moved)."""
    with np.load(TRUTH / f"{name}.{dtype}.npz") as file:
        table = dict(file)
    ends = np.cumsum(table["count"])
    rows = zip(
        table["width"],
        table["depth"],
        table["checksum"],
        table["generic_rank"],
        ends - table["count"],
        ends,
        strict=True,
    )
    return {(w, d): (c, r, table["log"][b:e], table["moved"][b:e].astype(float)) for w, d, c, r, b, e in rows}


def cases_of(size, dtype, names):
    """(name, factors, generic rank, truth, moved) of the named cases, where stored at a size."""
    for name in names:
        found = stored(name, dtype).get(size)
        if found is None or (name in RECTANGULAR and size in QUICK_SIZES and size not in QUICK_RECTANGULAR):
            continue
        factors = CASES[name](*size, np.dtype(dtype))
        assert checksum(factors) == found[0], (
            f"{name}: these are not the factors whose truth is stored: run make_product_truth.py"
        )
        yield name, factors, *found[1:]


def complaints(name, values, bounds, pattern_rank, truth, allowed, lost):
    """What is wrong with an answer, in words; `allowed` limits its error, `lost` says where an infinite one is fair."""
    values, bounds = np.asarray(values, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    if values.shape != truth.shape or bounds.shape != truth.shape:
        yield f"{name}: shapes {values.shape}, {bounds.shape} for {truth.shape}"
        return
    if np.isnan(values).any() or np.isnan(bounds).any():
        yield f"{name}: NaN in values {values} or bounds {bounds}"
        return
    proven = np.arange(len(truth)) >= pattern_rank
    if not (np.isneginf(values[proven]).all() and (bounds[proven] == 0).all()):
        yield f"{name}: not -inf with bound 0 where the pattern proves it: {values[proven]}, {bounds[proven]}"
    values, bounds, truth, allowed, lost = (x[~proven] for x in (values, bounds, truth, allowed, lost))
    cancelled, given = np.isneginf(truth), np.isfinite(bounds)
    if not (bounds > 0).all():
        yield f"{name}: a bound of 0 on a value that no pattern proves"
    if (given & cancelled).any():
        yield f"{name}: values {values[given & cancelled]} with finite bounds where the product cancels exactly"
    if np.isneginf(values[given]).any():
        yield f"{name}: -inf, said to be certain, that no pattern proves"
    if (~given & ~cancelled & ~lost).any():
        count = (~given & ~cancelled & ~lost).sum()
        yield f"{name}: gave up on {count} of {len(truth)} values that rounding does not lose"
    if (np.diff(values[given]) > 0).any():
        yield f"{name}: not descending"
    judged = given & ~cancelled & np.isfinite(values)
    error = np.abs(values[judged] - truth[judged])
    for what, limit in (("the requirement", allowed[judged]), ("its own bound", bounds[judged])):
        excess = error > limit
        if excess.any():
            worst = np.argmax(np.where(excess, error / limit, 0))
            where = f"worst {error[worst]:.2e} > {limit[worst]:.2e} at ln {truth[judged][worst]:.6g}"
            yield f"{name}: {excess.sum()} of {len(error)} beyond {what}, {where}"


def looseness(values, bounds, pattern_rank, truth, unit):
    """Bound over true error, the error floored at ten units in the last place."""
    keep = (np.arange(len(truth)) < pattern_rank) & np.isfinite(bounds) & np.isfinite(truth) & np.isfinite(values)
    floor = 10 * unit * np.maximum(1, np.abs(truth[keep]))
    return bounds[keep] / np.maximum(np.abs(values[keep] - truth[keep]), floor)


def judge(size, dtype, allowed_of, names=tuple(CASES)):
    """Runs the named cases where stored at a size; returns the complaints and the looseness of the bounds."""
    found, ratios, unit = [], [], float(np.finfo(dtype).eps) / 2
    for name, factors, pattern_rank, truth, moved in cases_of(size, dtype, names):
        values, bounds = log_singular_values_with_error(factors)
        assert isinstance(values, np.ndarray)
        assert values.dtype == dtype
        half_a_place = np.where(np.isfinite(truth), np.abs(truth), 0.0) * 2.0**-53  # the truth is stored rounded
        allowed, slack = allowed_of(truth, moved), np.asarray(bounds, dtype=np.float64) + half_a_place
        slack[np.asarray(bounds) == 0] = 0
        lost = (moved > LOST) | (np.arange(len(truth)) >= SOUND.get(name, len(truth)))
        found += complaints(name, values, slack, pattern_rank, truth, allowed + half_a_place, lost)
        if values.shape == truth.shape:
            ratios.append(looseness(values.astype(float), np.asarray(bounds, dtype=float), pattern_rank, truth, unit))
    return found, np.concatenate(ratios) if ratios else np.zeros(0)


@pytest.mark.parametrize(("width", "depth"), SIZES)
def test_every_hard_case_in_float64(width, depth):
    """Within the tolerance, or 100 times what rounding the entries does; bounds true, and tight in the median."""
    found, ratios = judge((width, depth), "float64", lambda truth, moved: np.maximum(TOLERANCE, 100 * moved))
    assert not found, "\n".join(found)
    assert np.median(ratios) <= 1000


def float32_allowance(truth, moved):
    """1 nat at a spread of 1000 nats, and the rounding of the answer itself."""
    finite = truth[np.isfinite(truth)]
    spread = np.ptp(finite) if len(finite) else 0.0
    return (
        np.maximum(1e-3 * max(spread, 10.0), 100 * moved) + np.where(np.isfinite(truth), np.abs(truth), 0.0) * 2.0**-22
    )


@pytest.mark.parametrize(("width", "depth"), FLOAT32_SIZES)
def test_every_hard_case_in_float32(width, depth):
    """The exact product of the float32 factors: within 1 nat at a spread of 1000 nats, else in proportion."""
    found, ratios = judge((width, depth), "float32", float32_allowance)
    assert not found, "\n".join(found)
    assert np.median(ratios) <= 1000


@pytest.mark.slow
@pytest.mark.parametrize("graded", [False, True])
def test_depth_100000_against_a_closed_form(graded):
    """Dyadic factors whose values multiply exactly, all equal or in graded pairs: within 1e-8 after 100 000 layers."""
    factors, truth = hadamard_chain(100_000, graded)
    values, bounds = log_singular_values_with_error(factors)
    assert np.max(np.abs(values - truth)) <= 1e-8
    assert (np.abs(values - truth) <= bounds).all()
    assert np.isfinite(bounds).all()


@pytest.mark.slow
def test_depth_100000_against_the_higher_precision_route():
    """Gaussian layers, 200 000 nats apart after 100 000 of them, against the stored truth."""
    name, width, depth = DEEP
    check, _, truth, _ = stored(name, "float64")[width, depth]
    factors = CASES[name](width, depth)
    assert checksum(factors) == check
    values, bounds = log_singular_values_with_error(factors)
    assert np.max(np.abs(values - truth)) <= 1e-8
    assert (np.abs(values - truth) <= bounds).all()
    assert np.isfinite(bounds).all()


def test_the_naive_route_fails_where_ours_holds():
    truth = stored("gaussian", "float64")[16, 100][2]
    factors = CASES["gaussian"](16, 100)
    assert np.max(np.abs(log_singular_values(factors) - truth)) < TOLERANCE
    naive = np.asarray(naive_log_singular_values(factors))
    assert not np.nanmax(np.abs(naive - truth)) < 100


# The oracle itself: independent routes agree with the stored truth.


def disjoint_paths(factors):
    """The most vertex-disjoint paths from inputs to outputs through nonzero entries, as a maximum flow."""
    widths = [factors[0].shape[1], *(f.shape[0] for f in factors)]
    starts = 2 * np.concatenate([[0], np.cumsum(widths)])  # every unit is an edge from 2 u to 2 u + 1
    units = np.arange(starts[-1] // 2)
    source, sink = starts[-1], starts[-1] + 1
    tails, heads = [2 * units], [2 * units + 1]
    for layer, factor in enumerate(factors):
        out, into = np.nonzero(factor)
        tails.append(starts[layer] + 2 * into + 1)
        heads.append(starts[layer + 1] + 2 * out)
    first, last = np.arange(widths[0]), np.arange(widths[-1])
    tails += [np.full(widths[0], source), starts[-2] + 2 * last + 1]
    heads += [2 * first, np.full(widths[-1], sink)]
    edges = np.concatenate(tails), np.concatenate(heads)
    capacity = coo_matrix((np.ones(len(edges[0]), np.int32), edges), shape=(sink + 1, sink + 1)).tocsr()
    return maximum_flow(capacity, int(source), int(sink)).flow_value


@pytest.mark.parametrize("name", CASES)
def test_stored_generic_ranks_are_maximum_flows(name):
    table = stored(name, "float64")
    for width, depth in sizes(name, widths=(1, 2, 7, 16), depths=(1, 10, 100)):
        assert disjoint_paths(CASES[name](width, depth)) == table[width, depth][1], (width, depth)


def test_only_the_declared_cases_lose_rank_by_cancellation():
    for name in CASES:
        lost = [size for size, (_, rank, log, _) in stored(name, "float64").items() if np.isfinite(log).sum() < rank]
        assert bool(lost) == (name in CANCELLATIONS), (name, lost)


@pytest.mark.parametrize("name", CASES)
def test_truth_agrees_with_mpmath(name):
    factors, truth = CASES[name](7, 10), stored(name, "float64")[7, 10][2]
    with mpmath.workprec(6000):
        product = mpmath.matrix(factors[0].tolist())
        for factor in factors[1:]:
            product = mpmath.matrix(factor.tolist()) * product
        values = sorted(mpmath.svd_r(product, compute_uv=False), reverse=True)
        limit = max(values) * mpmath.mpf(2) ** -5800
        logs = np.array([float(mpmath.log(v)) if v > limit else -math.inf for v in values])
    np.testing.assert_array_equal(np.isfinite(logs), np.isfinite(truth))
    np.testing.assert_allclose(logs[np.isfinite(logs)], truth[np.isfinite(logs)], rtol=0, atol=1e-11)


def log_paths(factors):
    """Log singular values of a product of monomial matrices: every path's own sum."""
    place, total = np.arange(factors.shape[1]), np.zeros((factors.shape[1], 0))
    for factor in factors:
        column = factor[:, place]
        place = np.argmax(column != 0, axis=0)
        with np.errstate(divide="ignore"):
            total = np.column_stack([total, np.log(np.abs(column[place, np.arange(len(place))]))])
    return np.sort([math.fsum(row) if np.isfinite(row).all() else -math.inf for row in total])[::-1]


@pytest.mark.parametrize("name", ["ascending_diagonal", "monomial"])
def test_truth_agrees_with_closed_forms(name):
    for size, (_, _, truth, _) in stored(name, "float64").items():
        np.testing.assert_allclose(log_paths(CASES[name](*size)), truth, rtol=1e-14, atol=1e-11)


@pytest.mark.parametrize("name", ["gaussian", "row_graded", "graded_cancel", "triangular", "near_orthogonal"])
def test_truth_sums_to_the_log_determinants(name):
    """float64 LU keeps a layer's determinant to its condition number times the unit, far below 1e-6 in these layers."""
    for size, (_, _, truth, _) in stored(name, "float64").items():
        logs = np.linalg.slogdet(CASES[name](*size))[1]
        np.testing.assert_allclose(truth.sum(), math.fsum(logs), rtol=1e-10, atol=1e-6)
