"""Exact gradients by layer, and their norms in log space where the norms themselves over- or underflow.

At depth 10 000 and a gain of 1.5 a layer a gradient's norm is e^4055. The log routes carry the signal backward as
û · 2^e, û of ordinary size and e an integer: a product with J is linear, so nothing is lost by rescaling, and
multiplying by a power of two rounds nothing.

The norms are those of the network linearized at the activations that its own arithmetic produces. Where the forward
pass itself over- or underflows there is no such network: that layer is named (inside a trace: NaN).
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.arguments import as_function
from gradjax.chain import Layer, Stack, admit, as_layer, fold, layer_of, linearize, untied
from gradjax.chain.forward import forward, is_differentiable
from gradjax.chain.verdict import raise_at_first, raise_if, raise_where_forward_breaks
from gradjax.numerics import (
    HIGHEST,
    all_finite,
    exponent,
    largest,
    log_norm,
    scale_by_power_of_two,
)


def layer_gradients(loss: Callable, layers, x, *, batch_axis: int | None = None, model: Callable | None = None) -> list:
    """The exact gradient of the loss with respect to every layer's parameters, by jax.grad: ∂ loss(f(x)) / ∂ θ_l.

    Args:
        loss: a function of the whole output (of the whole batch, with `batch_axis=0`) that returns a real scalar.
        layers: a sequence of callable pytrees (see `gradjax.chain.as_layers`).
        x: one activation, or with `batch_axis=0` a batch.
        batch_axis: None or 0.
        model: the whole model, if there is one: refused where the layers compose to something else.

    Returns:
        One pytree a layer, of the layer's own structure, None at every leaf that is no parameter. A `Stack` gives
        leaves with a depth axis, an unrolled cell one contribution a step, whose sum is the tied gradient.

    Raises:
        ValueError: see `gradjax.chain.admit`; a loss that is no real scalar; a NaN or infinity in an activation, in
            the loss or in a gradient (the layer is named).

    >>> import jax.numpy as jnp
    >>> from jax.tree_util import Partial
    >>> [g] = layer_gradients(jnp.sum, [Partial(jnp.multiply, jnp.array([2.0, 3.0]))], jnp.array([5.0, 7.0]))
    >>> print(g.args[0])
    [5. 7.]
    """
    entries, x = admit(layers, x, batch_axis, model=model)
    loss = admit_loss(loss, entries, x)
    raise_where_forward_breaks(entries, x)
    entries = [untied(entry) if isinstance(entry, Stack) else entry for entry in entries]
    value, gradients = _gradients(loss, entries, x)
    raise_if(~jnp.isfinite(value), "the loss is NaN or infinite at the network's (finite) output")
    raise_at_first(
        entries,
        [_flags(entry, g) for entry, g in zip(entries, gradients, strict=True)],
        "gets a gradient that overflows its dtype: log_gradient_norms gives its norm in log space",
        backward=True,
    )
    like = [layer_of(entry).like(g) for entry, g in zip(entries, gradients, strict=True)]
    return [Stack(g) if isinstance(entry, Stack) else g for entry, g in zip(entries, like, strict=True)]


def log_gradient_norms(
    loss: Callable, layers, x, *, batch_axis: int | None = None, model: Callable | None = None
) -> Array:
    """The natural log of each layer's gradient norm, at any depth: ln ‖∂ loss / ∂ θ_l‖_F.

    Arguments as in `layer_gradients`.

    Returns:
        (depth,), Stacks unrolled; −inf for an exact zero or a layer without parameters. float32 or wider.

    Raises:
        ValueError: as in `layer_gradients`; also where the forward pass over- or underflows (the layer is named).

    >>> import jax.numpy as jnp
    >>> from jax.tree_util import Partial
    >>> print(log_gradient_norms(jnp.sum, [Partial(jnp.multiply, jnp.ones(2))], jnp.array([3.0, 4.0])) - jnp.log(5.0))
    [0.]
    """
    return _log_norms(loss, layers, x, batch_axis, model)[0]


def log_signal_norms(
    loss: Callable, layers, x, *, batch_axis: int | None = None, model: Callable | None = None
) -> Array:
    """The natural log of the backward signal's norm at every activation: ln |∂ loss / ∂ h_l|, h_0 = x.

    Arguments and errors as in `log_gradient_norms`.

    Returns:
        (depth + 1,), from the input to the output; where token ids enter, from the first real activation on.

    >>> import jax.numpy as jnp
    >>> print(log_signal_norms(jnp.sum, [lambda h: h / 2], jnp.array([1.0])) / jnp.log(2.0))
    [-1.  0.]
    """
    return _log_norms(loss, layers, x, batch_axis, model)[1]


def _log_norms(loss, layers, x, batch_axis, model):
    entries, x = admit(layers, x, batch_axis, model=model)
    loss = admit_loss(loss, entries, x)
    forward_bad, backward_bad, loss_bad, parameters, signals = _log_norms_core(loss, entries, x)
    raise_at_first(entries, forward_bad, "over- or underflows in the forward pass: rescale it or widen the dtype (x64)")
    raise_if(loss_bad, "the loss or its gradient is NaN or infinite at the network's (finite) output")
    raise_at_first(entries, backward_bad, "has a NaN or infinite derivative at a finite activation", backward=True)
    return parameters, signals


def admit_loss(loss: Callable, entries, x) -> Layer:
    """The loss behind the door; refused where it does not give one real scalar of the output."""
    loss = as_layer(as_function("loss", loss, "output -> real scalar"), index="loss")
    try:
        out = jax.eval_shape(lambda loss, entries, x: loss(forward(entries, x)), loss, entries, x)
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss does not give one real scalar of the output: {error}") from error
    leaves = jax.tree.leaves(out)
    if len(leaves) != 1 or leaves[0].shape != () or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        found = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
        raise ValueError(f"loss returns {found}, expected one real scalar of shape ()")
    return loss


@jax.jit
def _gradients(loss, entries, x):
    def objective(parameters):
        return loss(forward([_at(entry, p) for entry, p in zip(entries, parameters, strict=True)], x))

    with jax.default_matmul_precision(HIGHEST):
        value, gradients = jax.value_and_grad(objective)([layer_of(entry).parameters for entry in entries])
    # in a trace a NaN loss goes on to here, and to JAX a ReLU's slope at a NaN is 0
    return value, jax.tree.map(lambda leaf: jnp.where(jnp.isnan(value), jnp.nan, leaf), gradients)


def _at(entry, parameters):
    layer = layer_of(entry).with_parameters(parameters)
    return replace(entry, layer=layer) if isinstance(entry, Stack) else layer


def _flags(entry, gradient) -> Array:
    finite = jax.vmap(all_finite) if isinstance(entry, Stack) and gradient else all_finite
    return ~finite(gradient) if gradient else jnp.zeros(len(entry) if isinstance(entry, Stack) else 1, bool)


@jax.jit
def _log_norms_core(loss, entries, x):
    """One pass forward that keeps the activations, one backward that keeps û · 2^e."""
    with jax.default_matmul_precision(HIGHEST):
        out, kept = fold(entries, x, _forward_step)
        value, u = jax.value_and_grad(lambda h: loss(h))(out)
        states, forward_bad = [h for h, _ in kept], [bad for _, bad in kept]
        e = exponent(u)
        signal = (scale_by_power_of_two(u, -e), e)
        loss_bad = ~(jnp.isfinite(value) & all_finite(u))
        _, results = fold(entries, signal, _backward_step, states, reverse=True)
    parameters = _joined([p for p, _, _ in results])
    signals = _joined([*(s for _, s, _ in results if s is not None), log_norm(*signal)])
    # a trace cannot raise: there a broken forward pass makes every norm a NaN, for all of them rest on it
    broken = loss_bad | jnp.any(jnp.concatenate([jnp.atleast_1d(bad) for bad in forward_bad]))
    mark = jnp.where(broken, jnp.nan, 0).astype(parameters.dtype)
    backward_bad = [bad for _, _, bad in results]
    return forward_bad, backward_bad, loss_bad, parameters + mark, signals + mark.astype(signals.dtype)


def _joined(parts) -> Array:
    """The entries' values as one array over depth, in the widest of their dtypes."""
    dtype = max((part.dtype for part in parts), key=lambda dtype: dtype.itemsize)
    return jnp.concatenate([jnp.atleast_1d(part).astype(dtype) for part in parts])


def _forward_step(h, layer, _):
    out = layer(h)
    return out, (h, ~all_finite(out) | _underflows(layer, h, out))


def _underflows(layer, h, out) -> Array:
    """Whether a nonzero activation became zero (or subnormal) though its own linear part is not: lost, not dead.

    A dead ReLU layer has J h = 0 as well, and a layer that subtracts its own input returns an exact zero of
    ordinary operands; neither is an underflow.
    """
    if not is_differentiable(h):
        return jnp.array(False)
    tiny = float(
        jnp.finfo(jax.tree.leaves(out)[0].dtype).tiny
    )  # of NumPy's type it has a dtype: float16's is no float32
    lost = (largest(out) < tiny) & (largest(h) > 0)

    def linear_part_is_lost():
        linear = linearize(layer, h)
        e = exponent(linear.h)
        image = linear.jvp(scale_by_power_of_two(linear.h, -e))
        return (largest(image) > 0) & (log_norm(image, e) < float(np.log(tiny)) + 1)

    return jax.lax.cond(lost, linear_part_is_lost, lambda: jnp.array(False))


def _backward_step(signal, layer, h):
    u, e = signal
    differentiable = is_differentiable(h)

    def call(parameters, h):
        return layer.with_parameters(parameters)(h)

    if differentiable:
        _, pullback = jax.vjp(call, layer.parameters, h)
        of_parameters, of_input = pullback(u)
        step = exponent(of_input)
        before = (scale_by_power_of_two(of_input, -step), e + step)
        log_signal = log_norm(*before)
    else:
        of_parameters = jax.vjp(lambda p: call(p, h), layer.parameters)[1](u)[0]
        of_input, before, log_signal = None, None, None
    # the loss of a dead layer's NaN inside a trace: its own results alone, and those behind it
    bad = ~all_finite((of_parameters, of_input))
    return before, (log_norm(of_parameters, e), log_signal, bad)
