"""Cells with gates: which weights meet their state, and the edge at which a signal keeps its size through time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import Stack, as_layers, layer_of, run, unroll
from gradjax.diagnosis import diagnose, thresholds
from gradjax.diagnosis.gated import state_kernels
from gradjax.initializers import mean_field
from gradjax.layers import initial_state, recurrent, state_space

KEY = jax.random.key(3)


def states_of(cell, start, steps=2):
    [entry] = as_layers([unroll(cell, jax.random.normal(KEY, (steps, 3)))])
    assert isinstance(entry, Stack)
    return entry, jax.tree.map(lambda leaf: jnp.stack([leaf] * steps), start)


def of_equinox(cell):
    return jax.tree_util.Partial(lambda cell, h, u: cell(u, h), cell)


CELLS = {  # a cell, its state, the shapes of the weights on the state; inputs and biases are none
    "lstm": (lambda: recurrent(KEY, "lstm", 3, 3), (jnp.zeros(3), jnp.zeros(3)), [(4, 3, 3)]),
    "gru": (lambda: recurrent(KEY, "gru", 5, 3), jnp.zeros(5), [(3, 5, 5)]),
    "Equinox GRU": (lambda: of_equinox(eqx.nn.GRUCell(3, 5, key=KEY)), jnp.zeros(5), [(15, 5)]),
    "Equinox LSTM": (
        lambda: of_equinox(eqx.nn.LSTMCell(3, 5, key=KEY)), (jnp.zeros(5), jnp.zeros(5)), [(20, 5)],
    ),
    "linear unit, mode by mode": (lambda: state_space(KEY, 5, 3), jnp.zeros((2, 5)), []),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_the_weights_on_the_state_are_found_by_what_they_do(name):
    make, start, shapes = CELLS[name]
    entry, states = states_of(make(), start)
    assert [layer_of(entry).parameters[i].shape for i in state_kernels(entry, states)] == shapes


@pytest.mark.slow
def test_a_gru_whose_gates_let_all_in_has_the_edge_of_the_vanilla_cell():
    # z = 0 and r = 1: h' = tanh(h W + b), whose edge is sigma_w = 1 without a drive (Sompolinsky et al. 1988)
    size, steps, gain = 64, 40, 6.0
    cell = recurrent(KEY, "gru", size, 3, kernel_init=mean_field(gain), input_init="zeros")
    parameters = dict(cell.args[0])
    parameters["bias"] = parameters["bias"].at[0].set(-30.0).at[1].set(30.0)
    layers = [unroll(jax.tree_util.Partial(cell.func, parameters), jnp.zeros((steps, 3)))]
    h = jax.random.normal(KEY, (size,)) / 2
    found = diagnose(layers, h, lambda y: jnp.mean(y**2), singular_values=False)
    assert found.cause == "weight scale"
    # both the matrix's own size, 1 / sqrt(2) / 64, and its leading eigenvalue differ by chance
    apart = abs(np.log(found.findings[0].numbers["factor"] / gain))
    assert apart < thresholds.tied_step(size) / 2 + 5 / (2**0.5 * size)
    after = diagnose(found.remedy.apply(layers), h, lambda y: jnp.mean(y**2), singular_values=False)
    assert not after
    # nothing but the weights on the state is changed
    np.testing.assert_array_equal(run(found.remedy.apply(layers), 0 * h), run(layers, 0 * h))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("kernel_init", ["orthogonal", "lecun_normal", "he_normal"])
def test_cells_as_they_are_usually_started_raise_no_alarm(kind, kernel_init):
    cell = recurrent(KEY, kind, 32, 3, kernel_init=kernel_init, forget_bias=3.0)
    layers = [unroll(cell, jax.random.normal(KEY, (50, 3)))]
    found = diagnose(layers, initial_state(cell), lambda y: jnp.mean(jax.tree.leaves(y)[0] ** 2), singular_values=False)
    assert not found, found.verdict()
    assert "weight scale" not in found.not_assessed
