"""How long the blocks are that a chain is multiplied in, and how its values leave it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.products import Runs, blocks, chain, pivoted, probes, spectrum, wide
from gradjax.products.jacobi import _descending_logs
from gradjax.products.plan import Segment, make_segments

WIDTH, PART = 8, 32
TURNING, STRETCHING = 1.0, 1e4  # condition numbers of a layer


def layers(*conditions, seed=0):
    """`PART` layers of each condition number, in frames that do not agree."""
    rng, found = np.random.default_rng(seed), []
    for condition in conditions:
        left, right = np.linalg.qr(rng.normal(size=(2, PART, WIDTH, WIDTH)))[0]
        found.append(left * np.geomspace(1.0, 1 / condition, WIDTH) @ right)
    return np.concatenate(found)


@jax.jit
def step(state, orders, allowance):
    return chain._try_step(state, orders, chain.Plan(allowance))


def blocks_taken(stack, tolerance):
    """(first layer, layers) of every block that was tried, 0 layers where it was refused."""
    depth = len(stack)
    segments = make_segments(Runs((jnp.asarray(stack),)), (depth,))
    tables = (jnp.asarray(table, jnp.int32) for table in (segments[0].stops, segments[0].slots))
    ranks = jnp.full(depth, WIDTH, jnp.int32)
    orders = chain.Orders(segments[0].stack, ranks, *tables, start=0, end=jnp.int32(depth))
    state = chain._start(pivoted.identity(WIDTH, stack.dtype), orders, 1, jnp.int32(depth))
    state, found = state._replace(product=blocks.begin(state.product)), []
    allowance = spectrum.make_plan(tolerance, segments, ranks, False).allowance
    while state.layer < depth and not state.stuck:
        after = step(state, orders, allowance)
        found.append((int(state.layer), int(after.layer - state.layer)))
        state = after
    assert not state.stuck
    assert state.spent <= allowance**2 * depth * (1 + chain.ADVANCE)
    return found


def test_a_block_gets_shorter_where_layers_are_ill_conditioned_and_longer_again_after_them(x64):
    taken = blocks_taken(layers(TURNING, STRETCHING, TURNING), 1e-6)
    assert sum(length for _, length in taken) == 3 * PART
    before, within, after = ([n for at, n in taken if at // PART == part] for part in range(3))
    assert max(before) == max(after) == 16  # four times the one before it, no more than fit
    assert 0 in before  # those that would have reached into the ill-conditioned layers
    assert max(within) == 1


def test_blocks_follow_the_tolerance(x64):
    stack = layers(30.0, 30.0, 30.0)
    counts = [sum(length > 0 for _, length in blocks_taken(stack, tolerance)) for tolerance in (1e-3, 1e-6, 1e-9)]
    assert counts[0] < counts[1] < counts[2] / 2


def allowance_of(rank, depth):
    segment = Segment(jax.ShapeDtypeStruct((depth, 64, 64), jnp.float64), 0, (depth,))
    return float(spectrum.make_plan(1e-9, [segment], jnp.array([64, rank], jnp.int32), False).allowance)


def test_a_layer_may_lose_less_where_few_directions_live_on_but_no_less_than_a_usual_one_loses(x64):
    """In 1000 sparse layers of rank 35 a tenth of the tolerance was enlarged to more than all of it by later layers."""
    assert allowance_of(64, 100) == pytest.approx(1e-11)
    assert allowance_of(48, 100) == pytest.approx(1e-11 * 0.75**4)
    assert allowance_of(32, 100) == allowance_of(0, 100) == pytest.approx(1e-11 / 16)
    assert allowance_of(16, 100_000) == pytest.approx(spectrum.USUAL * 2.0**-52)
    assert allowance_of(16, 10_000_000) == allowance_of(64, 10_000_000) < allowance_of(16, 100_000)


def test_logs_of_descending_values_descend_also_across_a_power_of_two(x64):
    """ln 2^-558 taken from 2^-557 / 2 rounds below that of the next smaller number."""
    values = wide.Wide(jnp.array([0.5, 1 - 2.0**-53]), jnp.array([-557, -558]))
    assert (np.diff(wide.log(values)) > 0).all()
    assert (np.diff(_descending_logs(values)) == 0).all()


def test_a_value_known_to_no_better_than_a_nat_is_doubted_beside_a_lost_one(x64):
    """The noise of many columns holds still by itself: in 64 float32 layers and their inverses it was off by 2.5."""
    values = jnp.array([3.0, 2.0, 1.0, 0.0, -1.0, -2.0], jnp.float32)
    sound, noisy, lost = 1e-3, 0.11, 1.0  # what the runs beside it have moved a value, a twentieth of its bound
    steps = {
        "alone": [noisy] * 6,
        "where the known ones reach": [sound, sound, sound, noisy, lost, noisy],
        "past two lost ones": [sound, sound, lost, lost, noisy, noisy],
        "with none beside it": [lost, noisy, lost, lost, lost, lost],
        "far from lost ones": [sound, sound, sound, sound, sound, lost],
    }
    given = {}
    for name, moved in steps.items():
        runs = jnp.stack([values + jnp.array(moved, jnp.float32), values - jnp.array(moved, jnp.float32)])
        given[name] = probes.bounded(values, runs, jnp.int32(6), jnp.asarray(False), 6, 1)[1].round(1).tolist()
    usual, largest, gone = pytest.approx(2.2), 5.0, np.inf
    assert given == {
        "alone": [usual] * 6,
        "where the known ones reach": [0.0, usual, largest, largest, gone, largest],
        "past two lost ones": [0.0, 0.0, gone, gone, gone, gone],
        "with none beside it": [gone] * 6,
        "far from lost ones": [0.0] * 5 + [gone],
    }
