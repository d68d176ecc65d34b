"""The sequence tasks: what they ask for, from what is in them; pure functions of their key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.tasks import adding_problem, delayed_copy, temporal_order

TASKS = {
    "adding": lambda key, dtype: adding_problem(key, 64, 20, dtype),
    "order": lambda key, dtype: temporal_order(key, 64, 20, dtype),
    "copy": lambda key, dtype: delayed_copy(key, 64, 20, 5, dtype),
}


@pytest.mark.parametrize("name", TASKS)
def test_it_is_a_pure_function_of_its_key(name, precision):
    dtype = jnp.dtype(precision)
    first, again, other = (TASKS[name](key, dtype) for key in (0, jax.random.key(0), 1))
    assert first[0].dtype == dtype and len(first[0]) == len(first[1]) == 64
    for a, b in zip(first, again, strict=True):
        assert (a == b).all()
    assert (first[0] != other[0]).any()
    jitted = jax.jit(TASKS[name], static_argnums=1)(jax.random.key(0), dtype)
    for a, b in zip(first, jitted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_sum_of_one_marked_number_in_each_half():
    x, y = (np.asarray(a) for a in adding_problem(3, 400, 11))
    marked = x[..., 1] == 1
    assert (marked[:, :5].sum(1) == 1).all() and (marked[:, 5:].sum(1) == 1).all()
    assert set(np.unique(x[..., 1])) == {0.0, 1.0} and (x[..., 0] >= 0).all() and (x[..., 0] < 1).all()
    np.testing.assert_allclose(y[:, 0], x[..., 0][marked].reshape(400, 2).sum(1), rtol=1e-6)
    spread = np.var((y - 1) ** 2) ** 0.5 / 20  # the error's standard error over 400 examples
    assert abs(np.mean((y - 1) ** 2) - 1 / 6) < 4 * spread


def test_the_class_is_the_order_of_the_two_symbols():
    x, y = (np.asarray(a) for a in temporal_order(3, 400, 50))
    symbols = x.argmax(-1)
    assert (x.sum(-1) == 1).all()
    assert (symbols < 2).sum(1).tolist() == [2] * 400
    for row, label in zip(symbols, y, strict=True):
        (first, second) = np.flatnonzero(row < 2)
        assert 5 <= first < 10 and 20 <= second < 25
        assert label == 2 * row[first] + row[second]
    assert np.abs(np.bincount(y) - 100).max() < 4 * np.sqrt(400 * 3 / 16)
    assert len(set(symbols[symbols > 1].tolist())) == 4


def test_the_copy_comes_so_many_steps_later():
    x, y = (np.asarray(a) for a in delayed_copy(3, 5, 9, 4))
    np.testing.assert_array_equal(y[:, 4:], x[:, :5])
    assert not y[:, :4].any()
    same, copied = delayed_copy(3, 5, 9, 0)
    np.testing.assert_array_equal(same, copied)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="examples is 0"):
        adding_problem(0, 0, 10)
    with pytest.raises(ValueError, match="length is 9, expected a whole number >= 10"):
        temporal_order(0, 1, 9)
    with pytest.raises(ValueError, match="length is 5, expected a whole number >= 6"):
        delayed_copy(0, 1, 5, 5)
    with pytest.raises(ValueError, match="seed is -1"):
        delayed_copy(-1, 1, 5, 2)
