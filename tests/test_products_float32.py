"""The law of the error in float32, on draws that it was not fitted to.

With ε = 2^-23, each value of a chain of L layers is right to about what the rounding of an entry to float32 moves it,
and a unit in the last place of its own size and of every layer:

    |error in ln σ_i| ≤ 20 (moved_i + ε (|ln σ_i| + L)),  in the median of all values about 0.3 in place of 20

Here float64 on the same float32 factors is the truth: its own error is below 1e-9.
"""

import numpy as np
import pytest
from product_cases import CASES

from gradjax.products import log_singular_values, naive_log_singular_values

WIDTH, DEPTH, DRAWS = 8, 40, (11, 12)
LAW = 20.0
EPS = float(np.finfo(np.float32).eps)
FAMILIES = (
    *(
        "gaussian",
        "saturated",
        "all_equal",
        "repeated_pairs",
        "orthogonal_cancel",
        "ascending_diagonal",
        "huge",
        "tiny",
    ),
    *("near_orthogonal", "row_graded", "column_graded", "he_relu", "row_mask", "triangular", "monomial"),
    *("mixed_layers", "graded_cancel", "sparse"),
)


def law(exact, truth, draw):
    """moved_i + ε (|ln σ_i| + L): the larger move of two, every entry up or down by half a unit in its last place."""
    rng = np.random.default_rng(draw)
    signs = rng.choice([-1.0, 1.0], (2, *exact.shape))
    moved = [np.abs(log_singular_values(exact * (1 + EPS / 2 * s))[: len(truth)] - truth) for s in signs]
    return np.maximum(*moved) + EPS * (np.abs(truth) + len(exact))


def ratios(name, route):
    """Error over law of every value that is no zero; zeros are the same in both precisions."""
    found = []
    for draw in DRAWS:
        factors = CASES[name](WIDTH, DEPTH, np.float32, draw)
        exact = factors.astype(np.float64)
        truth, values = log_singular_values(exact), np.asarray(route(factors), np.float64)
        rank = np.isfinite(truth).sum()
        assert np.isneginf(values[rank:]).all()
        found.append(np.abs(values[:rank] - truth[:rank]) / law(exact, truth[:rank], draw) if rank else [])
    return np.concatenate(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_float32_is_as_right_as_its_factors_are(name):
    assert (ratios(name, log_singular_values) <= LAW).all()


def test_the_law_is_no_looser_than_it_must_be():
    """Half of the values are within a third of what the brackets say, so 20 is there for the worst of thousands."""
    middle = np.median(np.concatenate([ratios(name, log_singular_values) for name in FAMILIES]))
    assert 0.01 < middle < 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_the_naive_route_breaks_the_law():
    assert not (ratios("gaussian", naive_log_singular_values) <= 1000 * LAW).all()
