"""The leading singular values of a Jacobian too large to form, by jvp and vjp alone.

Simultaneous iteration on PᵀP with P = J_L … J_1: a block of k + 8 vectors goes forward through all layers and back,
made orthonormal after each of them, so that nothing over- or underflows at any depth; the triangular factors that this
leaves are a product of small matrices with the same leading singular values, which `gradjax.products` takes. A pass
shrinks the error in ln σ_i by (σ_{k+9} / σ_i)⁴: one or two passes where the network is deep, many where its spectrum
is flat.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.chain import Stack, admit, fold, linearize
from gradjax.chain.forward import forward, is_differentiable
from gradjax.chain.verdict import raise_where_forward_breaks
from gradjax.numerics import HIGHEST, as_key, is_concrete
from gradjax.products import Runs, log_singular_values

OVERSAMPLE = 8
PASSES_IN_A_TRACE = 16
MOST_PASSES = 1024


def leading_log_singular_values(
    layers, x, k: int, *, tolerance: float = 1e-6, passes: int | None = None, key: Array | int = 0
) -> Array:
    """The k largest singular values of the input–output Jacobian at x, in log: ln σ_1 ≥ … ≥ ln σ_k.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation; for a batch, `jax.vmap`.
        k: how many, from 1 to the smaller of inputs and outputs.
        tolerance: in ln σ: passes are doubled until two results in a row differ by less. Outside a trace only.
        passes: a fixed number of passes instead; inside a trace 16 unless given.
        key: of the first block, a key or a seed in [0, 2³²).

    Returns:
        (k,), descending; −inf beyond the rank, to rounding. Memory: the activations, and (k + 8) · width.

    Raises:
        ValueError: see `gradjax.chain.admit`; k out of range; no agreement within 1024 passes (a spectrum so flat
            that its values at k and k + 9 are within 1 %: raise `tolerance`, k, or form the Jacobian).

    Source: Rutishauser (1970), simultaneous iteration; Halko, Martinsson, Tropp (2011, arXiv:0909.4061).

    >>> import jax.numpy as jnp
    >>> values = leading_log_singular_values([lambda h: h * jnp.array([1.0, 8.0, 2.0])], jnp.ones(3), 2)
    >>> print((values / jnp.log(2.0)).round(4))
    [3. 1.]
    """
    entries, x = admit(layers, x)
    entries, x = _from_the_first_real_activation(entries, x)
    raise_where_forward_breaks(entries, x)
    inputs, outputs = _size(x), _size(jax.eval_shape(lambda x: forward(entries, x), x))
    if not (isinstance(k, (int, np.integer)) and 1 <= k <= min(inputs, outputs)):
        raise ValueError(f"k is {k!r}, expected 1 <= k <= {min(inputs, outputs)}, the number of singular values")
    block = jax.random.normal(as_key(key), (inputs, min(k + OVERSAMPLE, inputs)), _dtype(x))
    if passes is not None or not is_concrete((entries, x, block)):
        factors, _ = _iterate(entries, x, block, PASSES_IN_A_TRACE if passes is None else passes)
        return log_singular_values(Runs(tuple(factors)))[:k]
    return _until_they_agree(entries, x, block, k, tolerance)


def _until_they_agree(entries, x, block, k: int, tolerance: float) -> Array:
    before, count = None, 1
    while count <= MOST_PASSES:
        factors, block = _iterate(entries, x, block, count)
        values = log_singular_values(Runs(tuple(factors)))[:k]
        # where both are −inf they agree
        if before is not None and bool(jnp.all((values == before) | (jnp.abs(values - before) < tolerance))):
            return values
        before, count = values, 2 * count
    raise ValueError(
        f"the leading {k} values do not agree to tolerance={tolerance} within {MOST_PASSES} passes: the spectrum is "
        "flat around them; raise tolerance or k, or form it with gradjax.spectra.jacobian_spectrum"
    )


def _from_the_first_real_activation(entries, x):
    if is_differentiable(x):
        return entries, x
    return entries[1:], entries[0](x)


def _size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _dtype(tree):
    return jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(tree)) else jnp.float32


@jax.jit
def _iterate(entries, x, block, passes):
    """`passes` times forward and back; the last forward pass's small factors as runs, and the block it began with."""

    def forward_pass(block):
        (_, last), kept = fold(entries, (x, _orthonormal(block)[0]), _forward_step)
        return last, kept

    def backward_pass(last, states):
        return fold(entries, last, _backward_step, states, reverse=True)[0]

    def once(_, block):
        last, kept = forward_pass(block)
        return _padded(backward_pass(last, [h for h, _ in kept]), block.shape[1])

    with jax.default_matmul_precision(HIGHEST):
        block = jax.lax.fori_loop(0, passes, once, block)
        _, kept = forward_pass(block)
    factors = [r if isinstance(e, Stack) else r[None] for e, (_, r) in zip(entries, kept, strict=True)]
    return factors, block


def _forward_step(carry, layer, _):
    h, block = carry
    block, factor = _orthonormal(jax.vmap(linearize(layer, h).jvp, 1, 1)(block))
    return (layer(h), block), (h, factor)


def _backward_step(block, layer, h):
    return _orthonormal(jax.vmap(linearize(layer, h).vjp, 1, 1)(block))[0], None


def _orthonormal(block: Array) -> tuple[Array, Array]:
    """Q and R of the block; a row of R at the level of rounding is zero: that direction did not get through."""
    q, r = jnp.linalg.qr(block)
    rounding = 8 * block.shape[0] * float(jnp.finfo(block.dtype).eps)
    sizes = jnp.max(jnp.abs(r), axis=0, initial=0)[: r.shape[0]]
    lost = jnp.abs(jnp.diagonal(r)) <= rounding * sizes
    return q, jnp.where(lost[:, None], 0, r)


def _padded(block: Array, columns: int) -> Array:
    """Behind a bottleneck the block is narrower: zero columns, which the next pass makes orthonormal, fill it up."""
    return jnp.pad(block, ((0, 0), (0, columns - block.shape[1])))
