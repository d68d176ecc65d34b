"""Exact layer Jacobians and the input–output Jacobian: jax.jacfwd, or jax.jacrev where there are fewer outputs.

Everything runs at the highest matmul precision: a float32 matmul is TF32 on a GPU by default, which moves the
hundredth singular value of a 64-layer product by 7.7 in ln σ.
"""

from collections.abc import Callable

import jax
from jax import Array

from gradjax.chain import admit, fold
from gradjax.chain.forward import forward, is_differentiable, over_examples
from gradjax.chain.linearization import flattened, has_forward_mode
from gradjax.chain.verdict import raise_at_first, raise_if, raise_where_forward_breaks
from gradjax.numerics import HIGHEST, all_finite


def layer_jacobians(layers, x, *, batch_axis: int | None = None, model: Callable | None = None) -> list[Array]:
    """The Jacobian of every layer at the activations that x produces: J_l = ∂h_l / ∂h_{l−1}.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation of any shape; token ids (integers) may enter the first layer, whose Jacobian is then
            left out. With `batch_axis=0` a batch of them.
        batch_axis: None, or 0: one Jacobian an example, leading axis batch. Where a layer is `Coupled`, the batch
            is one activation and there is one Jacobian of it all.
        model: the whole model, if there is one: refused where the layers compose to something else.

    Returns:
        One entry a layer: (n_l, n_{l−1}); a `Stack` gives one (depth, n, n). Activations of any rank, and pytrees,
        are flattened in C order.

    Raises:
        ValueError: see `gradjax.chain.admit`; a NaN or infinity in a layer's output or Jacobian (its index is named).

    >>> import jax.numpy as jnp
    >>> [j] = layer_jacobians([lambda h: h**2], jnp.array([1.0, 3.0]))
    >>> print(j.tolist())
    [[2.0, 0.0], [0.0, 6.0]]
    """
    entries, x = admit(layers, x, batch_axis, model=model)
    jacobians, finite = _layer_jacobians(entries, x)
    raise_at_first(entries, [~f for f in finite], "gives a NaN or infinite activation or Jacobian")
    return [j for j in jacobians if j is not None]


def input_output_jacobian(layers, x, *, batch_axis: int | None = None, model: Callable | None = None) -> Array:
    """The Jacobian of the whole network at x: J = J_L … J_1.

    Arguments, flattening and errors as in `layer_jacobians`; with token ids, from the first real activation on.

    Returns:
        (n_L, n_0). Its entries over- or underflow where the network is deep: `gradjax.spectra.jacobian_spectrum`
        gives its singular values there.

    Raises:
        ValueError: also where the Jacobian overflows its dtype.

    >>> import jax.numpy as jnp
    >>> print(input_output_jacobian([lambda h: 2 * h, jnp.sum], jnp.ones(3)))
    [[2. 2. 2.]]
    """
    entries, x = admit(layers, x, batch_axis, model=model)
    raise_where_forward_breaks(entries, x)
    result = _whole_jacobian(entries, x)
    raise_if(
        ~all_finite(result),
        f"the input-output Jacobian overflows {result.dtype}: gradjax.spectra.jacobian_spectrum gives its singular "
        "values in log space",
    )
    return result


def jacobian(layer: Callable, h) -> Array:
    """One layer's Jacobian at h, (outputs, inputs), both flattened: forward mode unless reverse is cheaper."""
    function, flat = flattened(layer, h)
    outputs = jax.eval_shape(function, flat).size
    forward = flat.size <= outputs and has_forward_mode(function, flat)
    return (jax.jacfwd if forward else jax.jacrev)(function)(flat)


@jax.jit
def _layer_jacobians(entries, x):
    def step(h, layer, _):
        out = layer(h)
        j = jacobian(layer, h) if is_differentiable(h) else None
        return out, (j, all_finite((out, j)))

    def whole(entries, x):
        ys = fold(entries, x, step)[1]
        return [j for j, _ in ys], [finite for _, finite in ys]

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x)


@jax.jit
def _whole_jacobian(entries, x):
    def whole(entries, x):
        first = 0 if is_differentiable(x) else 1  # token ids have no Jacobian: start behind their embedding
        h = forward(entries[:first], x)
        return jacobian(lambda h: forward(entries[first:], h), h)

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x)
