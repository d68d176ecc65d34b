"""Residual blocks: in which order a branch acts, and what keeps many of them from adding up.

x ← x + a F(x) multiplies the mean squared gradient by about 1 + a² a block: 2^depth for a = 1, at most e for
a = 1/√depth. Fixup, SkipInit and ReZero start as the identity instead and learn how much of each branch they want.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import initializers
from gradjax.layers.composition import compose
from gradjax.layers.residual import residual


@dataclass(frozen=True)
class Plan:
    """What all layers of a network of equal blocks share.

    Args:
        width: units or channels that enter and leave a block.
        activation: φ, callable.
        kernel_init, bias_init: by name or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.
        depth: blocks of the network.
        layer: draws a layer, with the arguments of `gradjax.layers.dense`.
    """

    width: int
    activation: Callable
    kernel_init: str | Callable
    bias_init: str | Callable
    dtype: Any
    depth: int
    layer: Callable

    def draw(self, key: Array, activation: str | Callable | None = None) -> Partial:
        """One layer of constant width, with φ unless another activation is named."""
        phi = self.activation if activation is None else activation
        return self.layer(key, self.width, self.width, phi, self.kernel_init, self.bias_init, self.dtype)


def ordered(before: bool, key: Array, plan: Plan) -> Callable:
    """h + V φ(W φ(h)), the activations in front of the weights, or φ(h + V φ(W h)), behind them and the sum."""
    inner, last = jax.random.split(key)
    body = [plan.draw(inner), plan.draw(last, "linear")]
    phi = Partial(plan.activation)
    return residual([phi, *body]) if before else compose([residual(body), phi])


def scaled(power: float, key: Array, plan: Plan) -> Callable:
    """h + a φ(h W + b) with a = depth^−power, a constant."""
    return residual(plan.draw(key), plan.depth**-power)


def rezero(key: Array, plan: Plan) -> Callable:
    """h + a φ(h W + b) with a learnt a that starts at 0 (Bachlechner et al. 2020, arXiv:2003.04887)."""
    return residual(plan.draw(key), 0.0, learned=True, dtype=plan.dtype)


def skip_init(key: Array, plan: Plan) -> Callable:
    """h + a V φ(W φ(h)) with a learnt a that starts at 0 (De and Smith 2020, arXiv:2002.10444)."""
    inner, last = jax.random.split(key)
    branch = [Partial(plan.activation), plan.draw(inner), plan.draw(last, "linear")]
    return residual(branch, 0.0, learned=True, dtype=plan.dtype)


def fixup(key: Array, plan: Plan) -> Callable:
    """h + a V φ(W (h + b_1) + b_2) with W times depth^(−1/2), V = 0 and learnt scalars (Zhang et al. 2019).

    Of two layers a branch, arXiv:1901.09321: the first is scaled by depth^(−1/(2·2 − 2)), the last starts at zero; b_1
    is a scalar in front of it, the layers' own biases are the others, and a, a learnt multiplier, starts at 1. So at
    the first step only V and its bias have a gradient: by design, not by a fault.
    """
    inner, last = jax.random.split(key)
    draw = initializers.resolve(plan.kernel_init)
    small = replace(plan, kernel_init=lambda *drawn: draw(*drawn) * plan.depth**-0.5)
    zero = replace(plan, kernel_init="zeros", bias_init="zeros")
    branch = [Partial(_shift, jnp.zeros((), plan.dtype)), small.draw(inner), zero.draw(last, "linear")]
    return residual(branch, 1.0, learned=True, dtype=plan.dtype)


def _shift(bias: Array, h: Array) -> Array:
    return h + bias
