"""The norms of rows: against NumPy in wide numbers, at the edge, under vmap as one branch, and their derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.numerics import log_norm
from gradjax.recorder.norms import joined, row_log_norms

ROWS = np.array([[3.0, 4.0], [3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], [3e38, 3e38], [1e-30, 3.0]])


def test_a_row_is_right_whatever_its_size():
    """In ln, a rounding is one of the norm, and one of the logarithm, at most 90."""
    leaves = [jnp.array(ROWS, jnp.float32), jnp.ones((2, 3, 5)), jnp.zeros((1, 0)), jnp.full((1, 4), 300, jnp.float16)]
    rows = row_log_norms(leaves)
    with np.errstate(divide="ignore"):
        expected = np.log(np.linalg.norm(ROWS, axis=1))
    tolerance = {"rtol": 0, "atol": 100 * np.finfo(np.float32).eps}
    np.testing.assert_allclose(rows[0], expected, **tolerance)
    np.testing.assert_allclose(rows[1], np.log(15) / 2, **tolerance)
    np.testing.assert_array_equal(rows[2], -np.inf)
    np.testing.assert_allclose(rows[3], np.log(600), **tolerance)
    assert [row.dtype for row in rows] == [jnp.float32] * 4
    np.testing.assert_allclose(row_log_norms([jnp.array([[3e30 + 4e30j]])])[0], np.log(5e30), **tolerance)


def test_a_nan_and_an_infinity_stay_in_their_row():
    rows = row_log_norms([jnp.array([[jnp.nan, 1.0], [jnp.inf, 1.0], [-jnp.inf, 0.0], [0.6, 0.8]]), jnp.ones((1, 1))])
    np.testing.assert_allclose(rows[0], [np.nan, np.inf, np.inf, 0], atol=1e-6)
    np.testing.assert_array_equal(rows[1], [0])


def test_members_keep_the_branch():
    """Under vmap, twice, the numbers are those of each member, and the branch is none that runs both ways."""
    leaves = [jnp.array(ROWS, jnp.float32), jax.random.normal(jax.random.key(0), (3, 4, 2))]
    factors = jnp.array([[1.0, 2.0], [1e-5, 4.0]])

    def of_member(factor):
        return row_log_norms([leaves[0] * factor, leaves[1]])  # the second leaf is the same for all

    mapped = jax.vmap(jax.vmap(of_member))
    for place in np.ndindex(2, 2):
        for all_rows, rows in zip(mapped(factors), of_member(factors[place]), strict=True):
            np.testing.assert_array_equal(all_rows[place], rows)
    program = str(jax.make_jaxpr(jax.vmap(lambda x: row_log_norms([x])))(jnp.ones((3, 2, 4))))
    assert "= cond[" in program  # with a predicate for each member it would have become a selection


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_the_derivative_is_that_of_the_norm(scale):
    x = scale * jax.random.normal(jax.random.key(0), (3, 5))
    expected = jax.vmap(jax.grad(log_norm))(x)
    tolerance = 4 * 70 * float(np.finfo(np.float32).eps)  # twice divided by e^log, whose error is log roundings
    for derived in (
        jax.grad(lambda x: jnp.sum(row_log_norms([x])[0]))(x),
        jax.vmap(jax.grad(lambda row: row_log_norms([row[None]])[0][0]))(x),
    ):
        np.testing.assert_allclose(derived, expected, rtol=tolerance)
    assert (jax.grad(lambda x: row_log_norms([x])[0][0])(jnp.zeros((1, 2))) == 0).all()


def test_parts_join_to_the_norm_of_all():
    logs = jnp.array([[-jnp.inf, -jnp.inf], [jnp.inf, 1.0], [jnp.nan, 1.0], [70.0, 70.0], [-jnp.inf, 3.0]])
    np.testing.assert_allclose(joined(logs), [-np.inf, np.inf, np.nan, 70 + np.log(2) / 2, 3.0], rtol=1e-6)


@pytest.mark.parametrize("beside", [0.0, 3e30, np.nan, np.inf])
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(beside):
    rows = jax.random.normal(jax.random.key(5), (2, 64, 7))  # of 64 some differ between the two formulas
    found = jax.jit(row_log_norms)
    alone, (first, second) = found((rows[0], rows[1])), found((rows[0], rows[1].at[3, 0].set(beside)))
    np.testing.assert_array_equal(first, alone[0])
    np.testing.assert_array_equal(np.delete(second, 3), np.delete(alone[1], 3))
