"""Properties of singular values that hold whatever the layers are, on fresh draws of hard cases of every kind.

All chains have one shape, so that one program serves: what would change it (a line less, a turn more) is done to the
first or the last layer instead.
"""

import functools

import numpy as np
import pytest
from product_cases import CASES

from gradjax.products import log_singular_values

WIDTH, DEPTH, DRAWS = 7, 10, (1, 2, 3)
NATS = 2e-9  # two answers, each within its 1e-9
FAMILIES = (  # those whose values the rounding of an entry does not move by more
    *("gaussian", "row_mask", "column_mask", "he_relu", "saturated", "all_equal", "repeated_pairs"),
    *("orthogonal_cancel", "ascending_diagonal", "huge", "tiny", "mixed_layers", "one_huge_layer", "near_orthogonal"),
    *("row_graded", "column_graded", "monomial", "sparse", "funnel"),
)
EVERY = pytest.mark.parametrize("name", FAMILIES)


def chains(name):
    return [CASES[name](WIDTH, DEPTH, np.float64, draw) for draw in DRAWS]


@functools.cache
def values(name):
    return np.stack([log_singular_values(chain) for chain in chains(name)])


def agree(found, expected):
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(np.asarray(found)[finite], np.asarray(expected)[finite], rtol=0, atol=NATS)


@EVERY
def test_scaling_a_layer_by_c_shifts_all_by_ln_c(name):
    """c a power of two, whose multiples are exact: two layers, there and back in part, out of any float's range."""
    for chain, expected in zip(chains(name), values(name), strict=True):
        chain[3] *= 2.0**-60
        chain[6] *= -(2.0**-50)
        agree(log_singular_values(chain), expected - 110 * np.log(2.0))


@EVERY
def test_the_transposed_layers_in_reverse_order_have_the_same_values(name):
    for chain, expected in zip(chains(name), values(name), strict=True):
        agree(log_singular_values(np.swapaxes(chain, 1, 2)[::-1]), expected)


@EVERY
def test_orthogonal_layers_at_either_end_change_nothing(name):
    """Signed permutations, whose products with a layer are exact."""
    rng = np.random.default_rng(4)
    for chain, expected in zip(chains(name), values(name), strict=True):
        first, last = (np.eye(WIDTH)[rng.permutation(WIDTH)] * rng.choice([-1.0, 1.0], WIDTH) for _ in range(2))
        chain[0], chain[-1] = chain[0] @ first, last @ chain[-1]
        agree(log_singular_values(chain), expected)


@EVERY
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_values_add_up_to_the_determinants(name):
    """Σ ln σ_i = Σ_l ln |det J_l|; each layer's own LU is right to its condition times a rounding, where it has one."""
    for chain, found in zip(chains(name), values(name), strict=True):
        tops = np.abs(chain).max(axis=(1, 2), keepdims=True)
        logs = np.linalg.slogdet(chain / np.where(tops > 0, tops, 1))[1] + WIDTH * np.log(tops[:, 0, 0])
        expected = logs.sum()
        if np.isneginf(expected):
            assert np.isneginf(found[-1])
        elif name not in ("row_mask", "column_mask", "he_relu", "sparse", "funnel"):  # there a zero is only rounded
            np.testing.assert_allclose(found.sum(), expected, rtol=0, atol=WIDTH * NATS)


@EVERY
def test_the_squares_add_up_to_the_frobenius_norm(name):
    for chain, found in zip(chains(name), values(name), strict=True):
        product, exponent = np.eye(WIDTH), 0
        for layer in chain:
            shift = int(np.frexp(np.abs(layer).max())[1])
            product = np.ldexp(layer, -shift) @ product
            again = int(np.frexp(np.abs(product).max() or 1.0)[1])
            product, exponent = np.ldexp(product, -again), exponent + shift + again
        with np.errstate(divide="ignore"):
            expected = np.log(np.linalg.norm(product)) + exponent * np.log(2.0)
        if np.isneginf(expected):
            assert np.isneginf(found).all()
        else:
            np.testing.assert_allclose(np.logaddexp.reduce(2 * found) / 2, expected, rtol=0, atol=NATS)


@EVERY
def test_leaving_out_an_output_interlaces(name):
    """σ_{i+1}(P) ≤ σ_i(P without a row) ≤ σ_i(P); a row of zeros instead adds a zero that the pattern proves."""
    for chain, whole in zip(chains(name), values(name), strict=True):
        chain[-1, 2] = 0.0
        cut = log_singular_values(chain)
        assert np.isneginf(cut[-1])
        assert (cut[:-1] <= whole[:-1] + NATS).all()
        assert (cut[:-1] >= whole[1:] - NATS).all()


def test_the_inverses_in_reverse_order_have_the_inverse_values():
    """Layers 1 + N with N² = 0 have the exact inverse 1 − N, for N a dyadic outer product of orthogonal vectors."""
    rng = np.random.default_rng(5)
    layers = []
    for _ in range(DEPTH):
        u, v = np.zeros((2, WIDTH))
        u[:4], v[4:] = rng.integers(-8, 9, 4) / 4, rng.integers(-8, 9, 3) / 4
        order = rng.permutation(WIDTH)
        layers.append(np.outer(u, v)[np.ix_(order, order)])
    nilpotent = np.stack(layers)
    there = log_singular_values(np.eye(WIDTH) + nilpotent)
    back = log_singular_values((np.eye(WIDTH) - nilpotent)[::-1])
    assert np.ptp(there) > 10
    np.testing.assert_allclose(back, -there[::-1], rtol=0, atol=NATS)


def test_one_program_served_for_all():
    """Were it not so, this file would take minutes."""
    assert {chain.shape for name in FAMILIES for chain in chains(name)} == {(DEPTH, WIDTH, WIDTH)}
