"""Initial weights in the contract `(key, shape, dtype)` of `jax.nn.initializers`: theirs, and those they lack.

Kernels are (in, out), convolutions (..., in, out). Every entry of `INITIALIZERS` declares what it promises, the
variance of its entries or the value that all its nonzero singular values share, and one common test holds it to that.
16-bit weights are drawn in float32 and cast: QR does not exist there, and a direct bfloat16 normal takes 128 values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers as theirs

from gradjax import tables
from gradjax.arguments import SQUARABLE, as_function, choice, floating, real, wholes
from gradjax.numerics import as_key
from gradjax.room import fitting

TRUNCATED_VARIANCE = 0.7737413035502987  # of N(0, 1) cut at -2 and 2: 1 - 4 pdf(2) / (2 cdf(2) - 1)


@dataclass(frozen=True)
class Initializer:
    """A callable `(key, shape, dtype) -> Array` that says what it draws.

    Args:
        draw: the initializer itself, in the contract of `jax.nn.initializers`.
        distribution: in words, for records: he_* and lecun_* of jax are truncated normals, and a result must say so.
        variance: shape -> variance of one entry; None where the entries are not identically distributed.
        singular_value: the value that every nonzero singular value has; None where they differ.
        ranks: the numbers of dimensions that a shape may have; empty for any.

    >>> INITIALIZERS["identity"](jax.random.key(0), (2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    draw: Callable
    distribution: str
    variance: Callable[[tuple[int, ...]], float] | None = None
    singular_value: float | None = None
    ranks: tuple[int, ...] = ()

    def __call__(self, key: Array, shape: tuple[int, ...], dtype=float) -> Array:
        """Return an array of this shape and dtype; 16-bit floats are drawn in float32 and cast."""
        shape = tuple(wholes("shape", shape, 0))
        if self.ranks and len(shape) not in self.ranks:
            raise ValueError(
                f"shape={shape} has {len(shape)} dimensions; this {self.distribution} initializer needs "
                f"{' or '.join(map(str, self.ranks))}; for a stack of matrices use stacked(initializer)"
            )
        dtype = jnp.result_type(floating(dtype))
        fitting("shape", shape, dtype)
        if self.variance is not None:
            self.variance(shape)  # raises where there are no fans: jax divides by them, whatever they are
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        return self.draw(as_key(key), shape, wide).astype(dtype)


def _fans(shape: tuple[int, ...]) -> dict[str, float]:
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"shape={shape} has no fans, expected (..., in, out) with no empty axis")
    receptive_field = math.prod(shape[:-2])
    fan_in, fan_out = receptive_field * shape[-2], receptive_field * shape[-1]
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}


def _positive(name: str, value: float) -> float:
    return real(name, value, "[0, inf)")


def variance_scaling(scale: float, mode: str = "fan_in", distribution: str = "normal") -> Initializer:
    """Return weights with variance scale / fan.

    Args:
        scale: variance times fan, at least 0.
        mode: 'fan_in', 'fan_out' or 'fan_avg'.
        distribution: 'normal' (untruncated), 'truncated_normal' (at two deviations, variance corrected), 'uniform'.
    """
    scale = _positive("scale", scale)
    mode = choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
    distribution = choice("distribution", distribution, ("normal", "truncated_normal", "uniform"))
    draw = theirs.variance_scaling(scale, mode, distribution)  # pyright: ignore[reportArgumentType]
    return Initializer(draw, distribution.replace("_", " "), lambda shape: scale / _fans(shape)[mode])


def mean_field(weight_std: float) -> Initializer:
    """Return kernels with entries N(0, weight_std^2 / fan_in), untruncated: the scaling of mean field theory.

    weight_std is sigma_w of the theory (Poole et al. 2016, arXiv:1606.05340); biases are `normal(bias_std)`.

    >>> mean_field(2.0).variance((400, 100))
    0.01
    """
    return variance_scaling(real("weight_std", weight_std, SQUARABLE) ** 2)


def normal(std: float) -> Initializer:
    """Return entries N(0, std^2), whatever the shape: biases of mean field theory take std = sigma_b."""
    std = real("std", std, SQUARABLE)
    return Initializer(theirs.normal(std), "normal", lambda shape: std**2)


def truncated_normal(std: float) -> Initializer:
    """Return entries of N(0, std^2) cut at two deviations, so their own deviation is 0.8796 std (jax's convention)."""
    std = real("std", std, SQUARABLE)
    return Initializer(theirs.truncated_normal(std), "truncated normal", lambda shape: TRUNCATED_VARIANCE * std**2)


def uniform(limit: float) -> Initializer:
    """Return entries uniform on [-limit, limit]; jax's own `uniform` is [0, scale), whose mean alone explodes."""
    limit = real("limit", limit, SQUARABLE)
    return Initializer(
        lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit),
        "uniform",
        lambda shape: limit**2 / 3,
    )


def constant(value: float) -> Initializer:
    """Return entries that all equal value."""
    return Initializer(theirs.constant(real("value", value)), "constant", lambda shape: 0.0)


def constant_scale(std: float) -> Initializer:
    """Return entries N(0, std^2) whatever the width: deliberately bad, the choice that He et al. argue against.

    The gain per layer is then std sqrt(fan_in), which only one width can balance. With std = 0.01 the gradient of
    the 30-layer network of He et al. (2015, arXiv:1502.01852, section 2.2) vanishes.
    """
    return normal(std)


def scaled_orthogonal(gain: float) -> Initializer:
    """Return (semi-)orthogonal matrices times gain: all min(in, out) singular values equal gain.

    Saxe, McClelland, Ganguli (2014, arXiv:1312.6120). On a shape of more than two dimensions it is the flattened
    (-1, out) matrix that is orthogonal; a stack of layers needs `stacked`.
    """
    gain = _positive("gain", gain)
    return Initializer(theirs.orthogonal(gain), "orthogonal", singular_value=gain, ranks=(2, 3, 4, 5))


def delta_orthogonal(gain: float) -> Initializer:
    """Return convolution kernels (..., in, out) that are zero but for an orthogonal centre tap times gain.

    Xiao et al. (2018, arXiv:1806.05393): with circular padding all singular values of the convolution equal gain.
    Needs in <= out.
    """
    gain = _positive("gain", gain)
    return Initializer(theirs.delta_orthogonal(gain), "delta orthogonal", singular_value=gain, ranks=(3, 4, 5))


def identity(gain: float) -> Initializer:
    """Return gain on the diagonal and zero beside it: all min(in, out) singular values equal gain."""
    gain = _positive("gain", gain)
    return Initializer(
        lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype) * gain, "identity", singular_value=gain, ranks=(2,)
    )


def looks_linear(gain: float = 1.0, mirror: str = "both") -> Initializer:
    """Return mirrored orthogonal blocks under which a ReLU network computes a linear, orthogonal map.

    relu(u) - relu(-u) = u, so a hidden layer that holds [u, -u] before its ReLU passes u on exactly, and the
    input-output Jacobian is a product of orthogonal matrices. It needs ReLU (or CReLU), zero biases and even widths:

    - a plain ReLU network: first kernel mirror='output' = [W, -W], hidden kernels 'both' = [[W, -W], [-W, W]],
      last kernel 'input' = [W; -W];
    - a CReLU network (x -> [relu(x), relu(-x)], which doubles the width): 'input' behind every CReLU.

    The first layer under 'both' keeps only the difference of the two halves of the input.

    Args:
        gain: gain of the linear map per layer, at least 0.
        mirror: 'input', 'output' or 'both': which side of the (in, out) kernel is mirrored, and so must be even.

    Reference: Balduzzi et al. (2017, arXiv:1702.08591).
    """
    gain = _positive("gain", gain)
    signs = {"input": ((1,), (-1,)), "output": ((1, -1),), "both": ((1, -1), (-1, 1))}
    mirror = choice("mirror", mirror, tuple(signs))
    rows, columns = len(signs[mirror]), len(signs[mirror][0])

    def draw(key, shape, dtype):
        if shape[0] % rows or shape[1] % columns:
            raise ValueError(f"shape={shape}: looks_linear(mirror={mirror!r}) needs even mirrored sides (in, out)")
        block = theirs.orthogonal(gain)(key, (shape[0] // rows, shape[1] // columns), dtype)
        return jnp.kron(jnp.array(signs[mirror], dtype), block)

    return Initializer(draw, "looks linear", singular_value=gain * math.sqrt(rows * columns), ranks=(2,))


def stacked(initializer: Callable) -> Callable:
    """Return the initializer of a stack of layers, shape (depth, ...), that draws every layer on its own.

    On (depth, n, n) `orthogonal` is not depth orthogonal matrices, and a fan counts the depth: off by sqrt(depth).

    >>> stacked(INITIALIZERS["orthogonal"])(jax.random.key(0), (3, 4, 4)).shape
    (3, 4, 4)
    """
    as_function("initializer", initializer, "(key, shape, dtype) -> Array")

    def draw(key, shape, dtype=float):
        depth, *layer_shape = shape
        return jax.vmap(lambda key: initializer(key, tuple(layer_shape), dtype))(jax.random.split(key, depth))

    return draw


def resolve(initializer: str | Callable) -> Callable:
    """Return the initializer that a name of `INITIALIZERS` or a callable stands for.

    Raises:
        ValueError: an unknown name; the message lists the known ones.

    >>> resolve("zeros")(jax.random.key(0), (2,)).tolist()
    [0.0, 0.0]
    """
    return tables.resolve(INITIALIZERS, initializer, "initializer")


INITIALIZERS: dict[str, Initializer] = {
    "zeros": constant(0.0),
    "ones": constant(1.0),
    "normal": normal(0.01),
    "truncated_normal": truncated_normal(0.01),
    "uniform": uniform(0.01),
    "he_normal": variance_scaling(2.0, "fan_in", "truncated_normal"),
    "he_uniform": variance_scaling(2.0, "fan_in", "uniform"),
    "glorot_normal": variance_scaling(1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": variance_scaling(1.0, "fan_avg", "uniform"),
    "lecun_normal": variance_scaling(1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": variance_scaling(1.0, "fan_in", "uniform"),
    "variance_scaling": variance_scaling(1.0),
    # U[-1/sqrt(n), 1/sqrt(n)]: the gradient's variance falls threefold per layer (Glorot and Bengio 2010)
    "standard_uniform": variance_scaling(1 / 3, "fan_in", "uniform"),
    "mean_field": mean_field(1.0),
    "mean_field_he": mean_field(math.sqrt(2)),
    "orthogonal": scaled_orthogonal(1.0),
    "scaled_orthogonal": scaled_orthogonal(math.sqrt(2)),
    "delta_orthogonal": delta_orthogonal(1.0),
    "identity": identity(1.0),
    "looks_linear": looks_linear(),
    "constant_scale": constant_scale(0.01),
    "too_large": constant_scale(0.2),
}
