"""One linearization beneath everything: a layer's Jacobian at one activation, as a pair of products.

Spectra, gradients and diagnoses need no more of a layer than `v -> J v` and `u -> Jᵀ u`. Any activation, a
pytree of arrays of any rank, is one vector here: its leaves in order, each flattened.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from gradjax.arguments import as_function, listed, numeric, said
from gradjax.chain.stack import Stack
from gradjax.numerics import is_inexact


@dataclass(frozen=True)
class Linearization:
    """A layer's derivative J at the activation `h`, a vector of length n: jvp(v) = J v, vjp(u) = Jᵀ u.

    The products have the dtype of v and u, also where the layer works in another: float16 holds no small direction.
    """

    h: Array
    jvp: Callable[[Array], Array]
    vjp: Callable[[Array], Array]


def flattened(layer: Callable, h) -> tuple[Callable[[Array], Array], Array]:
    """The layer as a function of one real vector, and h as that vector; complex numbers as real and imaginary parts.

    So the Jacobian is real and right also where the layer is not holomorphic; where it is, it has the singular values
    of the complex one, each twice. `jax.jacfwd` refuses complex inputs, and with `holomorphic=True` believes it.
    """
    as_function("layer", layer, "activation -> activation")
    leaves = jax.tree.leaves(h)
    if not leaves or not all(is_inexact(leaf) for leaf in leaves):
        raise ValueError(f"h is {said(h)}, expected real or complex arrays")
    flat, rebuild = _real_vector(h)
    return lambda v: _real_vector(layer(rebuild(v)))[0], flat


def _real_vector(tree) -> tuple[Array, Callable]:
    flat, unravel = ravel_pytree(tree)
    if not jnp.iscomplexobj(flat):
        return flat, unravel
    return jnp.concatenate([jnp.real(flat), jnp.imag(flat)]), lambda v: unravel(jax.lax.complex(*jnp.split(v, 2)))


def nan_where(out: Array, derivatives: Array) -> Array:
    """Derivatives of `out` by rows, NaN in those whose output is: to JAX the slope of a ReLU at a NaN is 0."""
    return jnp.where(jnp.isnan(out).reshape(out.shape + (1,) * (derivatives.ndim - out.ndim)), jnp.nan, derivatives)


def has_forward_mode(function: Callable[[Array], Array], h: Array) -> bool:
    """Whether jvp can go through: a `jax.custom_vjp` anywhere inside forbids it."""
    try:  # a vmap on top, for jvp alone only leaves a mark that fails later
        jax.eval_shape(jax.vmap(lambda v: jax.jvp(function, (h,), (v,))[1]), jnp.zeros((1, *h.shape), h.dtype))
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        return False
    return True


def linearize(layer: Callable, h) -> Linearization:
    """The layer's linearization at h, forward products by transposing the reverse ones where jvp is forbidden.

    >>> import jax.numpy as jnp
    >>> square = linearize(lambda h: h**2, jnp.array([1.0, 3.0]))
    >>> print(square.jvp(jnp.ones(2)), square.vjp(jnp.ones(2)))
    [2. 6.] [2. 6.]
    """
    function, flat = flattened(layer, h)
    out, pullback = jax.vjp(function, flat)

    def vjp(u):
        broken = jnp.any(jnp.isnan(out) & (u != 0))
        return jnp.where(broken, jnp.nan, pullback(u.astype(out.dtype))[0].astype(u.dtype))

    def jvp(v):
        return nan_where(out, jax.jvp(function, (flat,), (v.astype(flat.dtype),))[1].astype(v.dtype))

    def transposed(v):
        moved = jax.linear_transpose(lambda u: pullback(u)[0], out)(v.astype(flat.dtype))[0]
        return nan_where(out, moved.astype(v.dtype))

    return Linearization(flat, jvp if has_forward_mode(function, flat) else transposed, vjp)


def factors_as_layers(factors) -> tuple[list, Array]:
    """Raw Jacobian factors as a linear network, and the zero activation that enters it.

    Args:
        factors: (depth, n, n), or a sequence of (n_l, n_{l−1}) matrices, the first applied first.

    Raises:
        ValueError: neither; shapes that do not follow from one another (the index is named).
    """
    if isinstance(factors, (np.ndarray, jax.Array)) and factors.ndim == 3:
        numeric("factors", factors)
        if factors.shape[1] != factors.shape[2] or not factors.size:
            raise ValueError(f"factors has shape {factors.shape}, expected (depth, n, n) with no empty axis")
        stacked = jnp.asarray(factors)
        return [Stack(Partial(jnp.matmul, stacked))], jnp.zeros(stacked.shape[-1], stacked.dtype)
    matrices = [jnp.asarray(numeric("factors", a)) for a in listed("factors", factors, "matrices")]
    if not matrices:
        raise ValueError("factors is empty, expected at least one matrix")
    for i, a in enumerate(matrices):
        if a.ndim != 2 or (i and a.shape[1] != matrices[i - 1].shape[0]):
            before = matrices[i - 1].shape[0] if i else "any"
            raise ValueError(f"factors[{i}] has shape {a.shape}, expected (n, {before}): one matrix a layer")
    return [Partial(jnp.matmul, a) for a in matrices], jnp.zeros(matrices[0].shape[1], matrices[0].dtype)
