"""Counts known by hand, a time that is one, and what XLA leaves out of its count: facts the docstring states."""

import math
import time

import jax
import jax.numpy as jnp
import pytest

from gradjax.costs import Cost, _operations, cost


@pytest.mark.parametrize("shape", [(2, 3, 5), (16, 8, 4), (1, 64, 1)])
def test_a_matrix_product_takes_two_operations_for_each_of_its_triples(shape):
    n, k, m = shape
    found = cost(jnp.matmul, jnp.ones((n, k)), jnp.ones((k, m))).operations
    # a product with a single row or column may be written as a sum, which has one addition less
    assert 2 * n * k * m - n * m <= found <= 2 * n * k * m


def test_elementwise_operations_count_one_each_and_tanh_none():
    x = jnp.ones(100)
    assert cost(lambda x: x * x + x, x).operations == 200
    assert cost(jnp.tanh, x).operations == 0


def test_the_body_of_a_loop_counts_once():
    def loop(length):
        return lambda x: jax.lax.scan(lambda h, _: (h @ h, None), x, length=length)[0]

    short, long = (cost(loop(length), jnp.ones((4, 4))).operations for length in (2, 50))
    assert 128 <= short == pytest.approx(long, abs=2)
    assert long < 2 * 128


def test_the_time_is_there_where_it_is_asked_for():
    began = time.perf_counter()
    found = cost(lambda x: x @ x, jnp.ones((64, 64)), repeats=3)
    assert 0 < found.seconds < time.perf_counter() - began
    assert math.isnan(cost(jnp.sin, jnp.ones(3)).seconds)


class Program:
    def __init__(self, analysis):
        self.analysis = analysis

    def cost_analysis(self):
        return self.analysis


def test_each_form_of_the_analysis_is_understood():
    assert _operations(Program({"flops": 12.0})) == 12
    assert _operations(Program([{"flops": 12.0}])) == 12
    assert _operations(Program({"transcendentals": 3.0})) == 0
    assert math.isnan(_operations(Program({}))) and math.isnan(_operations(Program(None)))


def test_pytrees_are_arguments_and_bad_repeats_are_refused():
    assert isinstance(cost(lambda tree: tree["a"] + 1, {"a": jnp.ones(2)}), Cost)
    with pytest.raises(ValueError, match="repeats is -1, expected a whole number >= 0"):
        cost(jnp.sin, 1.0, repeats=-1)
