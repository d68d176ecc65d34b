"""Many deep networks as one program: activation, scales and depth are numbers, so that one compilation serves them all.

A network of depth L is made of the first L layers of the deepest one. Every member of an ensemble stands on the same
random numbers, so that two of them differ by what tells them apart and by nothing else.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from gradjax.chain import Constant, Stack
from gradjax.gradients import log_gradient_norms
from gradjax.initializers import mean_field, scaled_orthogonal, stacked
from gradjax.layers import dense


@dataclass(frozen=True)
class Bend:
    """The layer h ↦ φ(h W + b), φ one of the functions by its index; h itself where the layer is left out."""

    functions: tuple[Callable, ...]

    def __call__(self, kernel, bias, choice: Constant, h):
        phi, kept = choice.value
        return jnp.where(kept, jax.lax.switch(phi, self.functions, h @ kernel + bias), h)


class Members(NamedTuple):
    """What tells the networks of an ensemble apart: arrays of one length.

    Args:
        activation: indices into the functions that go with them.
        weight_std, bias_std: σ_w and σ_b: weights of variance σ_w²/width, biases of variance σ_b².
        orthogonal: whether the weights are σ_w times an orthogonal matrix; otherwise they are Gaussian.
    """

    activation: Array | np.ndarray
    weight_std: Array | np.ndarray
    bias_std: Array | np.ndarray
    orthogonal: Array | np.ndarray


KERNELS = (mean_field, scaled_orthogonal)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def gradient_norms_by_depth(
    functions: tuple[Callable, ...], depths: Sequence[int], width: int, members: Members, keys, inputs, labels
) -> Array:
    """ln of the gradient norm of every layer of every network, for the output that is its example's class.

    The example enters through a fixed random projection and leaves by a linear readout, which count as no layers. That
    output itself is differentiated: the gradient of its cross-entropy is exactly 0 once large outputs have saturated.

    Args:
        functions: elementwise activations, a tuple.
        depths: a tuple of layer numbers L, each at least 1.
        width: units a layer.
        members: see `Members`.
        keys, inputs, labels: one random key, one vector and one class in 0 … 9 for each seed.

    Returns:
        (seed, member, depth, layer); −inf for layers beyond a network's depth.

    >>> one = Members(jnp.array([0]), jnp.array([1.0]), jnp.array([0.0]), jnp.array([True]))
    >>> keys, x = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 3))
    >>> logs = gradient_norms_by_depth((jnp.asarray,), (1, 4), 5, one, keys, x, jnp.array([7]))
    >>> print(bool(jnp.ptp(logs[0, 0, 1]) < 1e-5))  # turned four times, stretched never
    True
    """
    deepest = max(depths)
    kept = jnp.asarray(np.arange(deepest) < np.asarray(depths)[:, None])

    def of_seed(seed):
        key, x, label = seed
        keys, shape = jax.random.split(key, 5), (deepest, width, width)
        gaussian, turning = (stacked(draw(1.0))(keys[i], shape, x.dtype) for i, draw in enumerate(KERNELS))
        biases = jax.random.normal(keys[2], shape[:2], x.dtype)
        h = mean_field(1.0)(keys[3], (len(x), width), x.dtype).T @ x
        readout = dense(keys[4], width, 10, dtype=x.dtype)
        loss = Partial(lambda label, outputs: outputs[label], label)

        def of_member(member: Members):
            kernels = member.weight_std * jnp.where(member.orthogonal, turning, gaussian)
            choice = jnp.full(deepest, member.activation)

            def of_depth(kept):
                layer = Partial(Bend(functions), kernels, member.bias_std * biases, Constant((choice, kept)))
                return log_gradient_norms(loss, [Stack(layer), readout], h)[:-1]

            return jax.vmap(of_depth)(kept)

        return jax.lax.map(of_member, members)

    return jax.lax.map(of_seed, (keys, inputs, labels))
