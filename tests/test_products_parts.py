"""The parts that long products are made of, each against a closed form, exact fractions or a count by hand."""

import decimal
import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.products import exact, pattern, plan, probes, spectrum, wide
from gradjax.products.covariant import change, cluster_mean, complete
from gradjax.products.derivative import first_factors
from gradjax.products.factors import Runs, check_factors
from gradjax.products.wide import ZERO_EXPONENT, Wide

FAR = 5000  # binary orders: no float goes there


def numbers(*shape, seed=0):
    """Wide numbers spread over 2^±5000, and the same as exact fractions."""
    rng = np.random.default_rng(seed)
    mantissa = rng.integers(2**20, 2**21, shape) / 2.0**21 * rng.choice([-1.0, 1.0], shape)
    exponent = rng.integers(-FAR, FAR, shape)
    return Wide(jnp.asarray(mantissa), jnp.asarray(exponent, jnp.int32)), fractions(mantissa, exponent)


def fractions(mantissa, exponent):
    one = np.vectorize(lambda m, e: Fraction(float(m)) * Fraction(2) ** int(e), otypes=[object])
    return one(np.asarray(mantissa), np.asarray(exponent))


def agree(found, expected, rounding=2.0**-52):
    """Each within a relative rounding of the exact fraction, and in normal form."""
    for mantissa, exponent, value in zip(
        np.ravel(found.mantissa), np.ravel(found.exponent), np.ravel(expected), strict=True
    ):
        if value == 0:
            assert (mantissa, exponent) == (0, ZERO_EXPONENT)
        else:
            assert 0.5 <= abs(mantissa) < 1
            assert abs(Fraction(float(mantissa)) * Fraction(2) ** int(exponent) / value - 1) <= rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_power_of_two_is_exact_over_the_whole_range_and_zero_below_it(x64, dtype):
    info = np.finfo(dtype)
    exponents = np.array([info.minexp, -7, -1, 0, 1, 10, info.maxexp - 1])
    np.testing.assert_array_equal(
        wide.power_of_two(jnp.asarray(exponents), dtype), np.ldexp(np.ones(7, dtype), exponents)
    )
    np.testing.assert_array_equal(wide.power_of_two(jnp.asarray([info.minexp - 1, -FAR]), dtype), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_wide_form_is_that_of_frexp_and_a_zero_is_marked(x64, dtype):
    info = np.finfo(dtype)
    values = np.array([1.0, -1.0, 0.75, -3.5, info.tiny, info.max, -info.max, 1 - info.epsneg], dtype)
    found = wide.from_float(jnp.asarray(values))
    for mine, theirs in zip(found, np.frexp(values), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    zero = wide.from_float(jnp.zeros(2, dtype))
    assert zero.mantissa.tolist() == [0, 0]
    assert zero.exponent.tolist() == [ZERO_EXPONENT] * 2
    ordinary = np.abs(values) < info.max / 2  # what is larger is known not to come back
    np.testing.assert_array_equal(np.asarray(wide.to_float(found))[ordinary], values[ordinary])


def test_wide_arithmetic_against_fractions(x64):
    (a, a_exactly), (b, b_exactly) = numbers(6), numbers(6, seed=1)
    agree(wide.multiply(a, b), a_exactly * b_exactly)
    agree(wide.divide(a, b), a_exactly / b_exactly)
    near = Wide(b.mantissa, a.exponent + jnp.arange(-3, 3, dtype=jnp.int32))
    agree(wide.subtract(a, near), a_exactly - fractions(*near), rounding=2.0**-48)
    agree(wide.subtract(a, b), a_exactly - b_exactly, rounding=2.0**-51)
    agree(wide.subtract(a, a), [Fraction(0)] * 6)
    none = wide.zeros_like(a)
    agree(wide.divide(a, none), [Fraction(0)] * 6)
    agree(wide.divide(none, a), [Fraction(0)] * 6)
    agree(wide.multiply(a, none), [Fraction(0)] * 6)


def test_a_wide_matrix_product_sums_each_entry_at_its_own_scale(x64):
    (a, a_exactly), (b, b_exactly) = numbers(3, 4), numbers(4, 5, seed=1)
    agree(wide.matmul(a, b), a_exactly.dot(b_exactly), rounding=2.0**-50)
    assert wide.transpose(a).mantissa.shape == wide.transpose(a).exponent.shape == (4, 3)


def test_wide_numbers_are_ordered_by_size(x64):
    a = Wide(jnp.array([0.5, -0.9, 0.0, 0.75, 0.5]), jnp.array([3, 3, ZERO_EXPONENT, 4, -FAR], jnp.int32))
    assert wide.argsort_descending(a).tolist() == [3, 1, 0, 4, 2]
    assert np.argsort(-np.asarray(wide.size_key(a))).tolist() == [3, 1, 0, 4, 2]
    assert wide.size_key(a)[2] == -np.inf
    np.testing.assert_allclose(
        wide.log(a), [math.log(4), math.log(7.2), -np.inf, math.log(12), -(FAR + 1) * math.log(2)], rtol=1e-14
    )
    np.testing.assert_array_equal(wide.ratio(a, Wide(a.mantissa, a.exponent + 2)), [0.25, 0.25, 0, 0.25, 0.25])
    longer = wide.append_zero(a)
    assert longer.mantissa.tolist()[4:] == [0.5, 0] and longer.exponent.tolist()[4:] == [-FAR, ZERO_EXPONENT]


def test_rows_are_cut_or_filled_with_exact_zeros(x64):
    a, _ = numbers(3, 2)
    shorter, same, longer = (wide.resize_rows(a, rows) for rows in (2, 3, 5))
    np.testing.assert_array_equal(shorter.mantissa, a.mantissa[:2])
    np.testing.assert_array_equal(same.exponent, a.exponent)
    np.testing.assert_array_equal(longer.mantissa, np.pad(a.mantissa, ((0, 2), (0, 0))))
    assert (longer.exponent[3:] == ZERO_EXPONENT).all() and longer.exponent.shape == (5, 2)
    assert plan.resized(jnp.ones(3), 5).tolist() == [1, 1, 1, 0, 0]
    assert plan.resized(jnp.ones((3, 2)), 2).shape == (2, 2)


def test_a_segment_knows_where_its_wanted_depths_are():
    segment = plan.Segment(np.zeros((5, 2, 2)), 2, (4, 6))
    assert segment.numbers.tolist() == [3, 4, 5, 6, 7]
    assert segment.wanted.tolist() == [False, True, False, True, False]
    assert segment.slots.tolist() == [0, 0, 1, 1, 2]
    assert segment.stops.tolist() == [2, 2, 4, 4, 5]


@pytest.mark.parametrize(
    ("sizes", "together"), [((1, 64), True), ((32, 65), False), ((65, 130), True), ((65, 131), False)]
)
def test_sizes_are_padded_together_while_that_does_not_more_than_double_them(sizes, together):
    runs = Runs(tuple(np.ones((1, size, size)) for size in sizes))
    assert len(plan.padded(runs).arrays) == (1 if together else 2)


def test_padding_puts_zeros_below_and_to_the_right():
    (stack,) = plan.padded(Runs((np.ones((1, 2, 3)), np.full((2, 2, 2), 2.0)))).arrays
    expected = np.zeros((3, 3, 3))
    expected[0, :2], expected[1:, :2, :2] = 1, 2
    np.testing.assert_array_equal(stack, expected)
    segments = plan.make_segments(Runs((np.ones((2, 70, 70)), np.ones((1, 10, 70)), np.ones((2, 10, 10)))), (1, 2, 5))
    assert [(s.start, s.depths, s.stack.shape) for s in segments] == [
        (0, (1, 2), (2, 70, 70)),
        (2, (), (1, 70, 70)),
        (3, (5,), (2, 10, 10)),
    ]


def test_which_inputs_lead_on_and_what_a_trace_can_prove(x64):
    """Output 1 of the second factor reads no input, input 0 of the third is not read: only one path is left."""
    ones = np.ones((3, 3))
    second, third = ones.copy(), ones.copy()
    second[1] = 0
    third[:, 0] = 0
    second[2, 1:] = 0  # the way on goes through input 0 of the second factor alone
    segments = plan.make_segments(Runs((jnp.asarray(np.stack([ones, second, third])),)), (3,))
    (leads,) = plan.leading_inputs(segments)
    assert leads.tolist() == [[True] * 3, [True, False, False], [False, True, True]]
    assert plan.provable_ranks(segments).tolist() == [3, 2, 1]
    assert plan.zeros(segments) == 8
    whole = plan.make_segments(Runs((jnp.ones((1, 4, 6)), jnp.ones((1, 2, 4)), jnp.ones((1, 5, 2)))), (3,))
    assert plan.provable_ranks(whole)[-1] == 2
    assert np.isnan(plan.zeros(plan.make_segments(Runs((jnp.full((1, 2, 2), jnp.inf),)), (1,))))


def rank_modulo(matrix, prime=2**31 - 1):
    """The rank of an integer matrix modulo a prime, by elimination."""
    rows, rank = [[int(v) % prime for v in row] for row in matrix], 0
    for column in range(len(rows[0])):
        found = next((i for i in range(rank, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[rank], rows[found] = rows[found], rows[rank]
        inverse = pow(rows[rank][column], -1, prime)
        for i in range(rank + 1, len(rows)):
            factor = rows[i][column] * inverse % prime
            rows[i] = [(a - factor * b) % prime for a, b in zip(rows[i], rows[rank], strict=True)]
        rank += 1
    return rank


@pytest.mark.parametrize("seed", range(8))
def test_the_generic_rank_is_that_of_entries_at_random(seed):
    """Modulo a large prime, where entries at random meet a coincidence once in a hundred million."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(3, 7, 9)
    layers = [rng.random((m, n)) < 0.35 for n, m in itertools.pairwise(widths)]
    product, expected = np.eye(widths[0], dtype=object), []
    for layer in layers:
        product = (layer * rng.integers(1, 2**31 - 1, layer.shape)).astype(object).dot(product) % (2**31 - 1)
        expected.append(rank_modulo(product))
    assert pattern.generic_ranks([layer[None] for layer in layers]) == expected


def test_ranks_of_layers_that_join_all_live_units():
    """Closed form: the narrowest so far, a unit counting where both its layers see it."""
    layers = np.ones((3, 4, 4), bool)
    layers[0, :, 0] = layers[0, 1] = layers[1, :, 2] = False
    assert pattern._ranks_of_complete_blocks([layers]) == [3, 2, 2]
    assert pattern._ranks_of_complete_blocks([layers[:1], layers[1:]]) == [3, 2, 2]
    assert pattern.generic_ranks([layers]) == [3, 2, 2]
    assert pattern._ranks_of_complete_blocks([np.triu(np.ones((1, 2, 2), bool))]) is None
    assert list(pattern._members(0b10110)) == [1, 2, 4]
    assert not pattern.keeps_zeros([layers], (3,))
    assert pattern.keeps_zeros([np.eye(2, dtype=bool)[None], np.eye(2, dtype=bool)[None]], (2,))
    assert not pattern.keeps_zeros([np.eye(2, dtype=bool)[None]], (1,))


def test_integers_and_halves_are_exact():
    layer = np.array([[1.5, -(2.0**-300)], [0.0, 2.0**200]])
    entries, power = exact._integers(layer)
    found = np.vectorize(lambda v: Fraction(int(v)) * Fraction(2) ** power, otypes=[object])(entries)
    assert (found == np.vectorize(Fraction, otypes=[object])(layer)).all()
    assert exact._integers(np.zeros((1, 1)))[0].tolist() == [[0]]
    with decimal.localcontext(prec=50, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN):
        for value, expected in (
            (3, (0.75, 2)),
            (-1, (-0.5, 1)),
            (0, (0.0, 0)),
            (decimal.Decimal(2) ** -4000, (0.5, -3999)),
        ):
            assert exact._halves(decimal.Decimal(value)) == expected


def test_elimination_in_decimal_digits_is_a_factorization_with_certain_pivots():
    entries = np.array([[int(60 / (i + j + 1)) for j in range(5)] for i in range(4)], object)
    left, pivots, right, certain = exact._eliminated(entries, 60)
    with decimal.localcontext(prec=80):
        product = left.dot(np.diag(np.array(pivots, object))).dot(right)
    assert max(abs(float(p - e)) for p, e in zip(product.flat, entries.flat, strict=True)) < 1e-55
    assert certain.all()
    assert max(abs(float(v)) for v in [*left.flat, *right.flat]) <= 1
    drowned = np.array([[10**30, 10**30], [10**30, 10**30 + 10**12]], object)  # 10^12 beside roundings of 10^10
    assert exact._eliminated(drowned, 20)[3].tolist() == [True, False]
    assert exact._eliminated(drowned, 40)[3].tolist() == [True, True]


def test_an_eliminated_column_leaves_nothing_behind():
    _, pivots, _, certain = exact._eliminated(np.array([[3.0, 0.0], [1.0, 0.0]]), 20)  # 1 - 3 (1/3) is 1e-20
    assert list(pivots) == [3, 0] and certain.all()


def test_what_costs_too_much_is_left_and_layers_without_zeros_are_not_blurred(monkeypatch):
    chain = check_factors(np.array([[[8.0, 0.0, 4.0], [0.0, 8.0, -4.0], [2.0, 2.0, 2.0**-100]]]))
    for dense in (np.ones((1, 3, 3)), -np.ones((1, 3, 3))):
        assert exact._blurred(check_factors(dense), (1,)) == []
    monkeypatch.setattr(exact, "SHORT_CHAIN", 0)
    for affordable in (27, 26):  # it costs 3^3
        monkeypatch.setattr(exact, "AFFORDABLE", affordable)
        assert exact.stretches(chain, (1,)).beyond is (affordable < 27)


def test_a_change_is_the_sum_over_factors_of_any_shape(x64):
    rng = np.random.default_rng(0)
    w, z, tangent = (jnp.asarray(rng.uniform(1, 2, shape)) for shape in ((1, 3, 2), (1, 4, 2), (1, 3, 4)))
    expected = np.einsum("mik,mij,mjk->k", w, tangent, z)
    np.testing.assert_allclose(change([(w, z), (w, z)], [tangent, tangent]), 2 * expected, rtol=1e-12)


def test_changes_of_values_that_coincide_are_shared(x64):
    values = jnp.array([3.0, 2.0, 2.0 - 1e-10, 2.0 - 2e-10, 1.0, -jnp.inf])
    changes = jnp.array([1.0, 2.0, 4.0, 6.0, 5.0, 9.0])
    np.testing.assert_allclose(cluster_mean(values, changes, 1.5e-10), [1, 4, 4, 4, 5, 0], rtol=1e-15)
    np.testing.assert_allclose(cluster_mean(values, changes, 1e-11), [1, 2, 4, 6, 5, 0], rtol=1e-15)
    basis = complete(jnp.array([[0.6, 0.0], [0.8, 0.0]]))
    np.testing.assert_allclose(basis[:, 0], [0.6, 0.8], rtol=1e-14)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-15)


def test_runs_are_cut_after_a_depth():
    runs = Runs((np.zeros((3, 2, 2)), np.zeros((1, 4, 2)), np.zeros((2, 4, 4))))
    lengths = [[run.shape[-3] for run in first_factors(runs, depth).arrays] for depth in (1, 3, 4, 5, 6)]
    assert lengths == [[1], [3], [3, 1], [3, 1, 1], [3, 1, 2]]


def test_probes_move_every_entry_by_up_to_four_rounding_units_and_the_first_none(x64):
    stack = jnp.asarray(np.random.default_rng(0).standard_normal((20, 8, 8)))
    same, moved = (probes.jittered([plan.Segment(stack, 0, (20,))], jnp.int32(s))[0].stack for s in range(2))
    np.testing.assert_array_equal(same, stack)
    units = np.abs(np.asarray(moved) / np.asarray(stack) - 1) / np.finfo(float).eps
    assert 3.5 < units.max() <= 4 + 1.5  # three roundings of half a unit beside it
    one, other = (np.asarray(probes._noise((20, 8, 8), jnp.int32(s), jnp.float64)).ravel() for s in (1, 2))
    for noise in (one, other):
        assert -1 <= noise.min() < -0.99 < 0.99 < noise.max() <= 1
        assert abs(noise.mean()) < 4 / (3 * noise.size) ** 0.5
        np.testing.assert_allclose(noise.var(), 1 / 3, rtol=4 * (0.8 / noise.size) ** 0.5)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / one.size**0.5


def test_rounding_to_another_precision_is_part_of_the_bound():
    values, errors = spectrum._rounded(np.array([1000.0, -np.inf]), np.array([1e-9, 0.0]), np.dtype(np.float32))
    assert values.dtype == errors.dtype == np.float32
    np.testing.assert_allclose(errors, [1000 * 2.0**-23, 0], rtol=1e-4)
