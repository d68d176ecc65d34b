"""Exact layer Jacobians and the input–output Jacobian: jax.jacfwd, or jax.jacrev where there are fewer outputs.

Where all columns at once would make what stands inside a layer too large they are formed in chunks (`plan`).
Everything runs at the highest matmul precision: a float32 matmul is TF32 on a GPU by default, which moves the
hundredth singular value of a 64-layer product by 7.7 in ln σ.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import arguments
from gradjax.chain import admit, as_layer, fold, layer_of
from gradjax.chain.forward import forward, is_differentiable, over_examples
from gradjax.chain.linearization import flattened, has_forward_mode, nan_where
from gradjax.chain.verdict import raise_at_first, raise_if, raise_where_forward_breaks
from gradjax.jacobians.plan import AT_WORK, MEMORY, JacobianSize, at_work, check_memory, size_of, sizes_of
from gradjax.numerics import HIGHEST, all_finite


def layer_jacobians(
    layers, x, *, batch_axis: int | None = None, model: Callable | None = None, memory: int = MEMORY
) -> list[Array]:
    """The Jacobian of every layer at the activations that x produces: J_l = ∂h_l / ∂h_{l−1}.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation of any shape; token ids (integers) may enter the first layer, whose Jacobian is then
            left out. With `batch_axis=0` a batch of them.
        batch_axis: None, or 0: one Jacobian an example, leading axis batch. Where a layer is `Coupled`, the batch
            is one activation and there is one Jacobian of it all.
        model: the whole model, if there is one: refused where the layers compose to something else.
        memory: bytes that the result and the work on it may take; `gradjax.jacobians.jacobian_sizes` says beforehand
            what they do take.

    Returns:
        One entry a layer: (n_l, n_{l−1}); a `Stack` gives one (depth, n, n). Activations of any rank, and pytrees,
        are flattened in C order.

    Raises:
        ValueError: see `gradjax.chain.admit`; Jacobians beyond `memory`; a NaN or infinity in a layer's output or
            Jacobian (its index is named).

    >>> import jax.numpy as jnp
    >>> [j] = layer_jacobians([lambda h: h**2], jnp.array([1.0, 3.0]))
    >>> print(j.tolist())
    [[2.0, 0.0], [0.0, 6.0]]
    """
    entries, x = admit(layers, x, batch_axis, model=model)
    check_memory(sizes_of(entries, x, memory), memory)
    jacobians, finite = _layer_jacobians(entries, x, at_work(memory) // examples_in(entries, x))
    raise_at_first(entries, [~f for f in finite], "gives a NaN or infinite activation or Jacobian")
    return [j for j in jacobians if j is not None]


def input_output_jacobian(
    layers, x, *, batch_axis: int | None = None, model: Callable | None = None, memory: int = MEMORY
) -> Array:
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
    first = 0 if is_differentiable(x) else 1  # token ids have no Jacobian: start behind their embedding
    h = jax.eval_shape(lambda entries, x: forward(entries[:first], x), entries, x)
    mapped = all(layer_of(entry).mapped for entry in entries)
    check_memory([size_of(Partial(forward, entries[first:]), h, mapped, 1, at_work(memory))], memory)
    raise_where_forward_breaks(entries, x)
    result = _whole_jacobian(entries, x, first, at_work(memory) // examples_in(entries, x))
    raise_if(
        ~all_finite(result),
        f"the input-output Jacobian overflows {result.dtype}: gradjax.spectra.jacobian_spectrum gives its singular "
        "values in log space",
    )
    return result


def jacobian(layer: Callable, h, work: int = AT_WORK) -> Array:
    """One layer's Jacobian at h, (outputs, inputs), both flattened: forward mode unless reverse is cheaper.

    The row of an output that is NaN is NaN.

    Args:
        layer: a callable pytree.
        h: its activation.
        work: bytes; columns (or rows) go through the layer in chunks that take no more.
    """
    if jax.tree_util.all_leaves([layer]):  # a bare function is a leaf that no program takes as an argument
        layer = as_layer(arguments.as_function("layer", layer, "activation -> activation"))
    work = arguments.whole("work", work)
    function, flat = flattened(layer, h)
    if not flat.size:
        raise ValueError(f"h is {arguments.said(h)}, expected no empty axis")
    size = size_of(layer, h, False, 1, work)
    if size.chunk == min(size.inputs, size.outputs):
        derivative = jax.jacfwd if _goes_forward(function, flat, size) else jax.jacrev
        lines, out = derivative(lambda h: (function(h),) * 2, has_aux=True)(flat)  # the value beside it
        return nan_where(out, lines)
    forward, lines = lines_of(function, flat, size, lambda line: line)
    return lines.T if forward else lines


def lines_of(function: Callable, flat, size: JacobianSize, reduce: Callable) -> tuple[bool, Array]:
    """reduce(line) of every column of the Jacobian, or of every row, in chunks; and whether they are columns."""
    forward = _goes_forward(function, flat, size)
    if forward:
        out, push = jax.linearize(function, flat)
        count, unit = size.inputs, jnp.zeros_like(flat)
    else:
        out, pull = jax.vjp(function, flat)
        count, unit, push = size.outputs, jnp.zeros_like(out), lambda u: pull(u)[0]

    def line(i):
        return reduce(nan_where(out if forward else out[i], push(unit.at[i].set(1))))

    return forward, jax.lax.map(line, jnp.arange(count), batch_size=size.chunk)


def _goes_forward(function, flat, size: JacobianSize) -> bool:
    return size.inputs <= size.outputs and has_forward_mode(function, flat)


def examples_in(entries, x) -> int:
    """How many examples are looked at one by one: 1 where the layers take x as it is."""
    return jax.tree.leaves(x)[0].shape[0] if all(layer_of(entry).mapped for entry in entries) else 1


@functools.partial(jax.jit, static_argnums=2)
def _layer_jacobians(entries, x, work: int):
    def step(h, layer, _):
        out = layer(h)
        j = jacobian(layer, h, work) if is_differentiable(h) else None
        return out, (j, all_finite((out, j)))

    def whole(entries, x):
        ys = fold(entries, x, step)[1]
        return [j for j, _ in ys], [finite for _, finite in ys]

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _whole_jacobian(entries, x, first: int, work: int):
    def whole(entries, x):
        return jacobian(Partial(forward, entries[first:]), forward(entries[:first], x), work)

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x)
