"""Recurrent cells, (state, input) ↦ state, for `gradjax.chain.unroll`; and whole sequences as one layer.

The state is one activation, so a network through time is a chain like any other: its layer Jacobians are those of the
steps. All cells keep one kernel a gate along a leading axis, each drawn from its own key: an orthogonal matrix for
every gate, not one that is orthogonal over all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, initializers
from gradjax.arguments import as_function, choice, flag, floating, real, said
from gradjax.layers.state_space import StateSpace
from gradjax.numerics import as_key
from gradjax.room import axis


@dataclass(frozen=True)
class Vanilla:
    """h' = φ(h W + u U + b); parameters: kernels with a gate axis of 1."""

    activation: Callable[[Array], Array]

    def __call__(self, parameters: dict[str, Array], h: Array, u: Array) -> Array:
        return self.activation(_gates(parameters, h, u)[0])


@dataclass(frozen=True)
class LSTM:
    """c' = σ(f) c + σ(i) φ(g), h' = σ(o) φ(c'), from (f, i, g, o) = h W + u U + b; the state is (h, c)."""

    activation: Callable[[Array], Array]

    def __call__(self, parameters: dict[str, Array], state: tuple[Array, Array], u: Array) -> tuple[Array, Array]:
        h, c = state
        f, i, g, o = _gates(parameters, h, u)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * self.activation(g)
        return jax.nn.sigmoid(o) * self.activation(c), c


@dataclass(frozen=True)
class GRU:
    """h' = z h + (1 − z) φ((r h) W + u U + b), with the gates z, r = σ(h W + u U + b) of their own kernels."""

    activation: Callable[[Array], Array]

    def __call__(self, parameters: dict[str, Array], h: Array, u: Array) -> Array:
        z, r = jax.nn.sigmoid(_gates({name: leaf[:2] for name, leaf in parameters.items()}, h, u))
        candidate = _gates({name: leaf[2:] for name, leaf in parameters.items()}, r * h, u)[0]
        return z * h + (1 - z) * self.activation(candidate)


def _gates(parameters: dict[str, Array], h: Array, u: Array) -> Array:
    """h W + u U + b of every gate, (gates, size)."""
    from_state = jnp.einsum("i,gij->gj", h, parameters["kernel"])
    return from_state + jnp.einsum("i,gij->gj", u, parameters["input_kernel"]) + parameters["bias"]


GATES = {"rnn": (Vanilla, 1), "lstm": (LSTM, 4), "gru": (GRU, 3), "linear": (Vanilla, 1)}
FORGET = 0  # the gate of the LSTM whose bias starts at `forget_bias`


def recurrent(
    key: Array | int,
    cell: str,
    size: int,
    input_size: int,
    activation: str | Callable = "tanh",
    kernel_init: str | Callable = "orthogonal",
    input_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    forget_bias: float = 1.0,
) -> Partial:
    """A recurrent cell, the callable pytree (state, input) ↦ state that `gradjax.chain.unroll` takes.

    Args:
        key: a random key, or a seed in [0, 2³²).
        cell: 'rnn' (Elman), 'lstm' (state (h, c)), 'gru', or 'linear' (an 'rnn' whose φ is the identity).
        size, input_size: widths of state and input, at least 1.
        activation: φ, by name or callable; 'linear' cells have none.
        kernel_init, input_init, bias_init: of W, U and b, by name or `(key, shape, dtype) -> Array`, for each gate.
        dtype: of the parameters, a floating type.
        forget_bias: added to the bias of the LSTM's forget gate; at 0 it forgets half a step from the start.

    Returns:
        A `Partial` with parameters kernel and input_kernel, (gates, size or input_size, size), and bias, (gates, size).

    Raises:
        ValueError: an unknown cell, activation or initializer, a width below 1, a bad seed.

    References: Hochreiter, Schmidhuber (1997); Gers et al. (2000) for the forget gate; Cho et al. (2014,
    arXiv:1406.1078) for the GRU, with the reset inside the product; Jozefowicz et al. (2015) for the bias 1.

    >>> from gradjax.chain import run, unroll
    >>> cell = recurrent(0, "linear", 2, 2, kernel_init="identity", input_init="identity")
    >>> print(run([unroll(cell, jnp.ones((3, 2)))], jnp.zeros(2)))
    [3. 3.]
    """
    kind, gates = GATES[choice("cell", cell, tuple(GATES))]
    size, input_size, dtype = axis("size", size), axis("input_size", input_size), floating(dtype)
    forget_bias = real("forget_bias", forget_bias)
    draws = {
        "kernel": (kernel_init, (size, size)),
        "input_kernel": (input_init, (input_size, size)),
        "bias": (bias_init, (size,)),
    }
    parameters = {
        name: initializers.stacked(initializers.resolve(init))(k, (gates, *shape), dtype)
        for k, (name, (init, shape)) in zip(jax.random.split(as_key(key), len(draws)), draws.items(), strict=True)
    }
    if kind is LSTM:
        parameters["bias"] = parameters["bias"].at[FORGET].add(forget_bias)
    return Partial(kind(activations.resolve("linear" if cell == "linear" else activation)), parameters)


def initial_state(cell: Partial) -> Array | tuple[Array, Array]:
    """The zero state of a cell that `recurrent` or `state_space` made: h, (h, c) for an LSTM, pairs for the latter.

    >>> print(initial_state(recurrent(0, "gru", 3, 1)))
    [0. 0. 0.]
    """
    if not _is_cell(cell):
        raise ValueError(f"cell is {said(cell)}, expected what `recurrent` or `state_space` makes")
    if isinstance(cell.func, StateSpace):
        return cell.func.start(cell.args[0])
    zeros = jnp.zeros_like(cell.args[0]["bias"][0])
    return (zeros, zeros) if isinstance(cell.func, LSTM) else zeros


def over_time(cell: Partial, *, every: bool = False) -> Partial:
    """A whole sequence as one layer: inputs (time, features) ↦ the last h, or every h with a leading time axis.

    For training: there each example has a sequence of its own, which is then the activation that enters the network.
    The same steps as `gradjax.chain.unroll` from `initial_state`.

    Args:
        cell: what `recurrent` made; its parameters are the layer's.
        every: every h, (time, size), instead of the last, (size,).

    >>> cell = recurrent(0, "linear", 1, 1, kernel_init="identity", input_init="identity")
    >>> print(over_time(cell, every=True)(jnp.ones((3, 1)))[:, 0])
    [1. 2. 3.]
    """
    if not _is_cell(cell):
        raise ValueError(f"cell is {said(cell)}, expected what `recurrent` or `state_space` makes")
    return Partial(_OverTime(flag("every", every)), cell)


def _is_cell(cell) -> bool:
    return isinstance(cell, Partial) and isinstance(cell.func, (StateSpace, Vanilla, LSTM, GRU))


@dataclass(frozen=True)
class _OverTime:
    every: bool

    def __call__(self, cell: Partial, inputs: Array) -> Array:
        def step(state, u):
            state = cell(state, u)
            return state, _output(state)

        last, states = jax.lax.scan(step, initial_state(cell), inputs)
        return states if self.every else _output(last)  # a jitted program drops the states that nobody reads


def _output(state):
    return state[0] if isinstance(state, tuple) else state


def at_each_step(layer: Callable) -> Partial:
    """A layer applied to every entry of a sequence: h_t ↦ layer(h_t) for each t.

    Args:
        layer: a callable pytree, such as a `dense` readout.

    >>> print(at_each_step(Partial(jnp.multiply, jnp.array([2.0])))(jnp.ones((3, 1)))[:, 0])
    [2. 2. 2.]
    """
    return Partial(_each, as_function("layer", layer, "activation -> activation"))


def _each(layer, sequence):
    return jax.vmap(layer)(sequence)
