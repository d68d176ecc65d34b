"""The pieces that a study times are those that a spectrum is made of."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_products_route import STRETCHING, TURNING, blocks_taken, layers

from gradjax.peers import known_product
from gradjax.products.pieces import allowance, factored, in_blocks, last_step

WIDTH, DEPTH = 8, 96


def known(seed):
    rng = np.random.default_rng(seed)
    logs = np.linspace(0, -1, WIDTH) + 0.1 * rng.normal(size=(DEPTH, WIDTH))
    return known_product(logs, rng), np.sort(logs.sum(axis=0))[::-1]


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_the_rule_takes_and_refuses_the_blocks_that_a_chain_takes_and_refuses(tolerance, x64):
    stack = layers(TURNING, STRETCHING, TURNING)
    tried = blocks_taken(stack, tolerance)
    found = in_blocks(jnp.asarray(stack), allowance(jnp.asarray(stack), tolerance), 1, 64)
    assert found.taken == sum(length > 0 for _, length in tried)
    assert found.refused == sum(length == 0 for _, length in tried)
    assert found.refused > 0
    assert found.lossy == 0


def test_a_given_length_is_kept_and_too_long_a_block_loses_the_small_values(x64):
    factors, truth = known(0)
    errors = {}
    for length in (1, 7, 64):
        found = in_blocks(jnp.asarray(factors), 1.0, length, length)
        assert (found.taken, found.refused) == (-(-DEPTH // length), 0)
        errors[length] = np.abs(np.nan_to_num(last_step(found.product, 1e-9), nan=1e9, neginf=-1e9) - truth).max()
    assert errors[1] < errors[7] < 1e-6  # seven layers span e^7: 1e3, squared by the Gram matrix, times rounding
    assert errors[64] > 1


@pytest.mark.slow
def test_members_of_a_batch_are_multiplied_each_for_itself(x64):
    batch, truth = (jnp.asarray(np.stack(both)) for both in zip(known(0), known(1), strict=True))
    found = in_blocks(batch, allowance(batch, 1e-9), 1, 64)
    alone = [in_blocks(member, allowance(member, 1e-9), 1, 64) for member in batch]
    assert found.taken.tolist() == [int(one.taken) for one in alone]
    np.testing.assert_allclose(last_step(found.product, 1e-9), truth, rtol=0, atol=1e-9)


def test_even_one_layer_may_lose_more_than_it_may(x64):
    found = in_blocks(jnp.asarray(known(0)[0]), 0.0, 1, 64)
    assert found.lossy == found.taken == DEPTH


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_factoring_makes_columns_orthonormal(name, x64):
    blocks = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5)))
    left = factored(blocks, 2, name)
    np.testing.assert_allclose(left.mT @ left, np.broadcast_to(np.eye(5), (2, 5, 5)), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(factored(blocks, 0, name), blocks)
