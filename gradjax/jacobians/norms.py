"""The Frobenius norm of every layer's Jacobian, exact at any size: columns are summed up and never kept."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.chain import Stack, admit, fold
from gradjax.chain.forward import is_differentiable, one_by_one, over_examples
from gradjax.chain.linearization import flattened
from gradjax.chain.verdict import raise_where_forward_breaks
from gradjax.jacobians.exact import lines_of
from gradjax.jacobians.plan import MEMORY, at_work, size_of
from gradjax.numerics import HIGHEST, log_norm


def log_jacobian_norms(
    layers, x, *, batch_axis: int | None = None, model: Callable | None = None, memory: int = MEMORY
) -> Array:
    """The natural log of the Frobenius norm of every layer's Jacobian: ln ‖J_l‖_F = ½ ln Σ_i σ_i².

    As many passes through a layer as it has inputs (or outputs, if fewer), in chunks; no Jacobian is kept.

    Args:
        layers, x, batch_axis, model: as in `gradjax.jacobians.layer_jacobians`.
        memory: bytes; a chunk takes an eighth of it, and 128 MiB at most.

    Returns:
        (depth,), Stacks unrolled, −inf for a Jacobian of zeros; a layer that integers enter is left out. With
        `batch_axis=0` the batch leads.

    Raises:
        ValueError: see `gradjax.chain.admit`; a NaN or infinite activation (the layer is named).

    >>> import jax.numpy as jnp
    >>> print(log_jacobian_norms([lambda h: h * jnp.array([3.0, 4.0])], jnp.ones(2)) - jnp.log(5.0))
    [0.]
    """
    entries, x = admit(layers, x, batch_axis, model=model)
    raise_where_forward_breaks(entries, x)
    return _norms(entries, x, at_work(memory))


@functools.partial(jax.jit, static_argnums=2)
def _norms(entries, x, work: int) -> Array:
    def step(h, layer, _):
        return layer(h), _log_norm(layer, h, work) if is_differentiable(h) else None

    def whole(entries, x):
        return joined(entries, fold(entries, x, step)[1])

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x, one_by_one)


def _log_norm(layer, h, work: int) -> Array:
    function, flat = flattened(layer, h)
    logs = lines_of(function, flat, size_of(layer, h, False, 1, work), log_norm)[1]
    return jax.nn.logsumexp(2 * logs) / 2


def joined(entries, values: list):
    """One array over depth from one a layer, and one with a depth axis a Stack; entries without one are left out."""
    parts = [v if isinstance(e, Stack) else v[None] for e, v in zip(entries, values, strict=True) if v is not None]
    dtype = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return jnp.concatenate([part.astype(dtype) for part in parts])
