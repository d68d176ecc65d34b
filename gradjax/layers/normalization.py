"""Normalization: the activation's size is taken out, so that no product of sizes can build up over depth.

One formula, y = γ (h − μ) / √(σ² + ε) + β, in three ways: over the units of one example (layer-norm), the same without
subtracting the mean (RMS-norm), and over the examples of a batch, unit by unit (batch-norm).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import flag, floating, real
from gradjax.chain import Coupled
from gradjax.numerics import norm_dtype
from gradjax.room import axis


@dataclass(frozen=True)
class Normalization:
    """The pure function (parameters, h) ↦ γ (h − μ) / √(σ² + ε) + β, units on the last axis of h.

    Args:
        over_examples: average over all axes but the last (batch-norm), otherwise over the last.
        centred: subtract the mean; otherwise μ = 0 (RMS-norm).
        epsilon: ε, keeps a constant activation from dividing by zero.
    """

    over_examples: bool
    centred: bool
    epsilon: float

    def __call__(self, parameters: dict[str, Array], h: Array) -> Array:
        axes = tuple(range(h.ndim - 1)) if self.over_examples else -1
        wide = h.astype(norm_dtype(h))  # squares of float16 overflow at 256, sums of bfloat16 stop growing
        # σ² overflows where h > 1e19, and y would be a silent 0: y depends on h, μ and √ε only by their ratios
        peak = jax.lax.stop_gradient(jnp.maximum(1.0, jnp.max(jnp.abs(wide), axis=axes, keepdims=True)))
        z = wide / peak
        z = z - jnp.mean(z, axis=axes, keepdims=True) if self.centred else z
        variance = jnp.mean(z * z, axis=axes, keepdims=True)
        y = (z / jnp.sqrt(variance + self.epsilon / peak**2)).astype(h.dtype)
        y = y * jnp.broadcast_to(parameters["gain"], h.shape) if "gain" in parameters else y
        return y + jnp.broadcast_to(parameters["shift"], h.shape) if "shift" in parameters else y


def layer_norm(size: int, *, epsilon: float = 1e-5, affine: bool = True, dtype=jnp.float32) -> Partial:
    """Layer normalization, the callable pytree h ↦ γ (h − mean h) / √(var h + ε) + β over the units of one example.

    Args:
        size: units, the length of the activation's last axis.
        epsilon: ε > 0.
        affine: whether it has the parameters γ (at the start 1) and β (0).
        dtype: of the parameters.

    Raises:
        ValueError: a size below 1, or an epsilon that is not positive.

    Reference: Ba, Kiros, Hinton (2016), arXiv:1607.06450.

    >>> print(layer_norm(2)(jnp.array([1e20, 3e20])).round(3))
    [-1.  1.]
    """
    return Partial(Normalization(False, True, _admit(size, epsilon)), _parameters(size, "gain shift", affine, dtype))


def rms_norm(size: int, *, epsilon: float = 1e-5, affine: bool = True, dtype=jnp.float32) -> Partial:
    """RMS normalization, the callable pytree h ↦ γ h / √(mean h² + ε) over the units of one example.

    Arguments and errors as in `layer_norm`; there is no β.

    Reference: Zhang and Sennrich (2019), arXiv:1910.07467.

    >>> print((rms_norm(2)(jnp.array([3.0, 4.0])) * jnp.sqrt(12.5)).round(4))  # the mean of 9 and 16 is 12.5
    [3. 4.]
    """
    return Partial(Normalization(False, False, _admit(size, epsilon)), _parameters(size, "gain", affine, dtype))


def batch_norm(size: int, *, epsilon: float = 1e-5, affine: bool = True, dtype=jnp.float32) -> Coupled:
    """Batch normalization, a `Coupled` layer: h ↦ γ (h − mean h) / √(var h + ε) + β, unit by unit over the examples.

    It couples the examples: its activation is the whole batch, (examples, …, size), and its statistics are those of
    that batch, as in training. A single example has no spread and gives β.

    Arguments and errors as in `layer_norm`.

    Reference: Ioffe and Szegedy (2015), arXiv:1502.03167.

    >>> print(batch_norm(1)(jnp.array([[1.0], [3.0]])).round(3)[:, 0])
    [-1.  1.]
    """
    norm = Normalization(True, True, _admit(size, epsilon))
    return Coupled(Partial(norm, _parameters(size, "gain shift", affine, dtype)))


def _admit(size: int, epsilon: float) -> float:
    axis("size", size)
    return real("epsilon", epsilon, "(0, inf)")  # at 0 a constant activation would give NaN


def _parameters(size: int, names: str, affine: bool, dtype) -> dict[str, Array]:
    size, dtype, start = axis("size", size), floating(dtype), {"gain": jnp.ones, "shift": jnp.zeros}
    return {name: start[name]((size,), dtype) for name in names.split()} if flag("affine", affine) else {}
