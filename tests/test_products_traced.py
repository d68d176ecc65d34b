"""Inside a trace there is no host to ask: usual chains keep their bounds, and what the host alone can do is given up.

Every stored case is put through one compiled program, also in the float32 of hardware that has no more. A bound is
never below the error; it is infinite for layers that mix scales in no order, which the host would eliminate in as many
digits as it takes; -inf is certain only where it is true.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from product_cases import CASES, RECTANGULAR
from test_products_exact import drowning
from test_products_truth import CANCELLATIONS, LOST, looseness, stored

from gradjax.products import exact, log_singular_values_with_error, prefix_log_singular_values
from gradjax.products.scales import mixed, mixed_on_the_host

QUICK = (7, 10, "float64")
SLOW = ((16, 100, "float64"), (7, 10, "float32"), (16, 100, "float32"))
SIZES = [QUICK, *(pytest.param(*size, marks=pytest.mark.slow) for size in SLOW)]
SQUARE = [name for name in CASES if name not in RECTANGULAR]


def traced_case(name, size, dtype, traced):
    """Factors, values, bounds, generic rank, truth and what rounding moves: values and bounds from the program."""
    _, rank, truth, moved = stored(name, dtype)[size]
    factors = CASES[name](*size, np.dtype(dtype))
    values, bounds = traced(jnp.asarray(factors))
    assert values.dtype == bounds.dtype == dtype
    return factors, np.asarray(values, np.float64), np.asarray(bounds, np.float64), rank, truth, moved


@pytest.mark.parametrize(("width", "depth", "dtype"), SIZES)
def test_inside_a_trace_no_bound_is_below_its_error(x64, width, depth, dtype):
    traced, ratios = jax.jit(log_singular_values_with_error), []
    for name in SQUARE:
        factors, values, bounds, rank, truth, moved = traced_case(name, (width, depth), dtype, traced)
        given, certain = np.isfinite(bounds), bounds == 0
        assert np.isneginf(truth[certain]).all(), name
        assert np.isfinite(truth[given & ~certain]).all(), name
        judged = given & ~certain
        excess = np.abs(values[judged] - truth[judged]) - bounds[judged] - np.abs(truth[judged]) * 2.0**-53
        assert (excess <= 0).all(), (name, excess.max())
        if mixed_on_the_host(factors).any():
            assert not judged.any(), name
        elif name not in ("graded_mirror", *CANCELLATIONS, "strictly_triangular", "monomial", "sparse"):
            assert given[(np.arange(width) < rank) & (moved < LOST)].all(), name
        ratios.append(looseness(values, bounds, rank, truth, float(np.finfo(dtype).eps) / 2))
    assert np.median(np.concatenate(ratios)) <= 1000


@pytest.mark.slow
def test_a_layer_that_mixes_scales_is_given_up_from_its_depth_on(x64):
    chain = [2 * np.eye(3), np.diag([3.0, 1.0, 5.0]), drowning(2.0**-100), np.eye(3)]
    depths = (1, 2, 3, 4)
    traced = jax.jit(lambda layers: prefix_log_singular_values(layers, depths))
    values, errors = (np.asarray(a) for a in traced([jnp.asarray(layer) for layer in chain]))
    assert np.isfinite(errors[:2]).all() and np.isinf(errors[2:]).all()
    np.testing.assert_allclose(values[1], np.log([10.0, 6.0, 2.0]), rtol=0, atol=1e-12)
    assert np.isfinite(prefix_log_singular_values(chain, depths)[1]).all()  # the host does not give up


@pytest.mark.slow
def test_one_member_of_a_batch_gives_up_alone(x64):
    batch = jnp.asarray([[drowning(2.0**-100)], [np.diag([3.0, 2.0, 1.0])], [drowning(0.5)]])
    errors = jax.jit(jax.vmap(log_singular_values_with_error))(batch)[1]
    assert np.isinf(errors).all(axis=1).tolist() == [True, False, False]
    assert np.isfinite(errors[1:]).all()


def test_proven_zeros_stay_proven_beside_it(x64):
    layer = np.pad(drowning(2.0**-100), ((0, 1), (0, 1)))
    values, errors = jax.jit(log_singular_values_with_error)(jnp.asarray([layer]))
    assert np.isneginf(values[3]) and errors[3] == 0 and np.isinf(errors[:3]).all()


@pytest.mark.slow
def test_what_cannot_be_afforded_is_given_up(monkeypatch):
    chain = [np.eye(3), drowning(2.0**-100), np.eye(3)]
    assert np.isfinite(log_singular_values_with_error(chain)[1]).all()
    monkeypatch.setattr(exact, "SHORT_CHAIN", 0)
    monkeypatch.setattr(exact, "AFFORDABLE", 26)
    assert np.isinf(log_singular_values_with_error(chain)[1]).all()
    assert np.isfinite(log_singular_values_with_error([np.eye(3), drowning(0.5), np.eye(3)])[1]).all()


TINY = 2.0**-100
# the second row is three times the first, in numbers whose quotients no decimal holds
CANCELLING = np.array([[3.0, 1.0, TINY], [9.0, 3.0, 3 * TINY], [1.0, TINY, 1.0]])


def test_a_pivot_that_no_digits_make_certain_is_given_up(monkeypatch):
    monkeypatch.setattr(exact, "MOST_DIGITS", 1000)
    assert mixed_on_the_host(CANCELLING[None]).all()
    values, errors = log_singular_values_with_error([CANCELLING])
    np.testing.assert_allclose(values[:2], np.log(np.linalg.svd(CANCELLING, compute_uv=False)[:2]), rtol=0, atol=1e-12)
    assert np.isfinite(errors).tolist() == [True, True, False]


@pytest.mark.slow
def test_beside_other_layers_it_may_have_become_any_value(monkeypatch):
    monkeypatch.setattr(exact, "MOST_DIGITS", 1000)
    layers = [CANCELLING, np.diag([1.0, 2.0, 3.0]), CANCELLING]
    errors = prefix_log_singular_values(layers, [1, 2, 3])[1]
    assert np.isfinite(errors).sum(axis=1).tolist() == [2, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_trace_and_the_host_agree_on_what_is_mixed(x64, dtype):
    small = [drowning(2.0**power) for power in (0, -20, -60, -100, -120)]
    rng = np.random.default_rng(0)
    scaled = [rng.normal(size=(3, 3)) * 2.0 ** rng.integers(-40, 40, (3, 1)) for _ in range(3)]
    layers = np.array([*small, *scaled, np.zeros((3, 3)), np.diag([1.0, 1e-30, 1.0])], dtype)
    on_the_host = mixed_on_the_host(layers)
    assert on_the_host.tolist() == [False, False, False, True, True] + [False] * 5
    assert [bool(mixed(jnp.asarray(layer))) for layer in layers] == on_the_host.tolist()
