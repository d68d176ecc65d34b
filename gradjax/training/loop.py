"""Training as one pure program: a `lax.scan` over the steps of any optax optimizer, with its trace.

Nothing in it is a Python number that could not be traced, so `jax.vmap` runs a whole grid (seeds, scales of the
initialization, thresholds, learning rates) as one compiled program. Matrix products have jax's default precision: a
training step is no exact gradient, and one that must be can run within `jax.default_matmul_precision("highest")`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gradjax.arguments import as_transformation, flag, numeric, whole
from gradjax.chain import Stack, admit, as_layers, depth_of, layer_of, untied
from gradjax.chain.forward import forward
from gradjax.numerics import all_finite, as_key, is_concrete, log_norm, norm_dtype
from gradjax.recorder.norms import joined, row_log_norms
from gradjax.room import axis
from gradjax.training.losses import accuracy


class Trace(NamedTuple):
    """What a training run left behind, step by step; under `vmap` every array has further leading axes.

    Args:
        loss: (steps,), of each step's batch before the step.
        accuracy: (steps,), the part of the batch classified right; NaN where the targets are no class labels.
        log_gradient_norms: (steps, depth), ln of each layer's gradient norm, Stacks unrolled, as this arithmetic finds
            the gradient: −inf where it has underflowed, inf or NaN where it has broken. Before any clip.
        log_global_norm: (steps,), ln of the norm of the gradient that the optimizer was given.
        first_nonfinite: (), the first step at which loss, gradient or updated parameters held a NaN or an infinity;
            the number of steps where none did.
    """

    loss: Array
    accuracy: Array
    log_gradient_norms: Array
    log_global_norm: Array
    first_nonfinite: Array


class Run(NamedTuple):
    """A finished training.

    Args:
        layers: the trained network, layers that every analysis takes.
        trace: see `Trace`.
        opt_state: the optimizer's last state; what a clip counted or `gradjax.recorder` recorded is in it.
    """

    layers: list
    trace: Trace
    opt_state: Any


def train(
    layers,
    loss: Callable,
    optimizer: optax.GradientTransformation,
    data: tuple[Array, Array],
    *,
    steps: int,
    batch_size: int | None = None,
    key: Array | int = 0,
    per_example: bool = False,
    parameters: Callable | None = None,
) -> Run:
    """Train a network for a number of steps and return it with its trace: θ ← θ + optimizer(∂ loss / ∂ θ).

    Args:
        layers: a sequence of callable pytrees (see `gradjax.chain.as_layers`); only parameters are trained.
        loss: `(outputs, targets) -> real scalar`, of a batch; `cross_entropy` is one.
        optimizer: any optax optimizer, clippers and all; it may hold traced numbers. One that takes the loss as
            `value=` is given it.
        data: (inputs, targets), arrays with one leading axis of examples.
        steps: the number of steps, at least 1.
        batch_size: examples a step; None takes all of them at every step. Epochs are drawn without replacement, what
            is left over from a whole number of batches is left out.
        key: of the batches: a random key, or a seed in [0, 2³²).
        per_example: hand the optimizer one gradient for each example, along a leading axis, as differentially private
            clippers want them. `loss` then sees batches of one. The trace's norms are those of their mean.
        parameters: as in `gradjax.chain.as_layers`.

    Returns:
        A `Run`. Under `vmap`, one for each member.

    Raises:
        ValueError: see `gradjax.chain.admit`; data of unequal length, a batch larger than the data, steps below 1, a
            loss that returns no real scalar. A run that diverges raises nothing: its trace says so.

    >>> from jax.tree_util import Partial
    >>> halve = train(  # the loss (w·1 − 0)²/2 has gradient w: each step of 0.5 halves w
    ...     [Partial(jnp.multiply, jnp.array([8.0]))], lambda out, y: jnp.sum((out - y) ** 2) / 2, optax.sgd(0.5),
    ...     (jnp.ones((1, 1)), jnp.zeros((1, 1))), steps=3)
    >>> print(halve.trace.loss, halve.layers[0].parameters[0])
    [32.  8.  2.] [1.]
    """
    steps, optimizer = axis("steps", steps), as_transformation("optimizer", optimizer)
    inputs, targets = _admit_data(data)
    entries = as_layers(layers) if parameters is None else as_layers(layers, parameters)
    entries = _admit(entries, inputs)
    order = _batches(as_key(key), len(inputs), batch_size, steps)
    _admit_loss(loss, entries, inputs, targets, order)
    gradient = _per_example_gradient if flag("per_example", per_example) else _mean_gradient
    theta, guided = _parameters(entries), optax.with_extra_args_support(optimizer)

    def step(carry, batch):
        theta, state = carry
        x, y = (inputs, targets) if batch is None else (inputs[batch], targets[batch])
        network = [_at(entry, p) for entry, p in zip(entries, theta, strict=True)]
        (value, outputs), given, mean = gradient(loss, [_untied(entry) for entry in network], x, y)
        update, state = guided.update(_tied(entries, given, int(per_example)), state, theta, value=value)
        theta: Any = optax.apply_updates(theta, update)
        norms, whole = _log_norms(entries, mean)
        good = jnp.isfinite(value) & (whole < jnp.inf) & all_finite(theta)
        return (theta, state), (value, _accuracy(outputs, y), norms, whole, good)

    carry, (*curves, good) = jax.lax.scan(step, (theta, optimizer.init(theta)), order, length=steps)
    first_nonfinite = jnp.where(jnp.all(good), steps, jnp.argmin(good))
    layers = [_single(_at(entry, p)) for entry, p in zip(entries, carry[0], strict=True)]
    return Run(layers, Trace(*curves, first_nonfinite=first_nonfinite), carry[1])


def predict(layers, inputs: Array) -> Array:
    """The network's outputs for a batch of inputs: f(x) for every example x.

    >>> print(predict([lambda h: 2 * h], jnp.ones((2, 1)))[:, 0])
    [2. 2.]
    """
    inputs = numeric("inputs", inputs)
    return forward(_admit(layers, inputs), jnp.asarray(inputs))


def _admit(layers, inputs) -> list:
    """The layers, mapped over the examples, once it is known that they take these inputs."""
    # a jax array that a surrounding trace holds as a constant has a value, but none that admit could look at there
    return admit(layers, np.asarray(inputs) if is_concrete(inputs) else inputs, batch_axis=0)[0]


def _mean_gradient(loss, network, x, y):
    """Loss and outputs, and the gradient of the batch's loss: as it is handed on, and for the trace."""

    def objective(theta):
        outputs = forward([_at(entry, p) for entry, p in zip(network, theta, strict=True)], x)
        return loss(outputs, y), outputs

    result, gradient = jax.value_and_grad(objective, has_aux=True)(_parameters(network))
    return result, gradient, gradient


def _per_example_gradient(loss, network, x, y):
    """The same with one gradient for each example, along a leading axis, and their mean for the trace."""
    (values, outputs), gradients, _ = jax.vmap(lambda x, y: _mean_gradient(loss, network, x[None], y[None]))(x, y)
    mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
    return (jnp.mean(values), outputs[:, 0]), gradients, mean


def _untied(entry):
    """Each depth with parameters of its own, so that each has a gradient of its own."""
    return untied(entry) if isinstance(entry, Stack) else entry


def _batches(key: Array, examples: int, batch_size: int | None, steps: int) -> Array | None:
    """The examples of every step, (steps, batch_size): epochs of a new order each."""
    if batch_size is None:
        return None
    size = whole("batch_size", batch_size)
    if size > examples:
        raise ValueError(f"batch_size is {size}, expected at most the {examples} examples of the data")
    a_epoch = examples // size
    keys = jax.random.split(key, -(-steps // a_epoch))
    orders = jax.vmap(lambda key: jax.random.permutation(key, examples)[: a_epoch * size])(keys)
    return orders.reshape(-1, size)[:steps]


def _tied(entries, gradients, axis: int) -> list:
    """The contributions of the depths summed where they share their parameters; `axis` is that of depth."""
    summed = []
    for entry, gradient in zip(entries, gradients, strict=True):
        tied = _tied_flags(entry)
        summed.append(tuple(jnp.sum(g, axis=axis) if t else g for g, t in zip(gradient, tied, strict=True)))
    return summed


def _tied_flags(entry) -> tuple[bool, ...]:
    count = len(layer_of(entry).parameters)
    return ((isinstance(entry, Stack) and entry.tied) or (False,) * count)[:count]


def _log_norms(entries, gradients) -> tuple[Array, Array]:
    """ln of each layer's gradient norm, (depth,), and of the whole gradient's, shared parameters counted once."""
    stacks = [isinstance(entry, Stack) for entry in entries]
    leaves = [g if s else g[None] for s, layer in zip(stacks, gradients, strict=True) for g in layer]
    widest = norm_dtype(leaves)
    rows = iter([row.astype(widest) for row in row_log_norms(leaves)])
    none = [jnp.full((depth_of(entry), 1), -jnp.inf, widest) for entry in entries]
    parts = [[next(rows)[:, None] for _ in layer] for layer in gradients]
    norms = jnp.concatenate([joined(jnp.concatenate([n, *p], axis=1)) for n, p in zip(none, parts, strict=True)])
    if any(any(_tied_flags(entry)) for entry in entries):
        return norms, log_norm(_tied(entries, gradients, 0)).astype(widest)
    return norms, joined(norms)


def _parameters(entries) -> list[tuple]:
    return [layer_of(entry).parameters for entry in entries]


def _with_layer(entry, layer):
    return replace(entry, layer=layer) if isinstance(entry, Stack) else layer


def _at(entry, parameters):
    return _with_layer(entry, layer_of(entry).with_parameters(parameters))


def _single(entry):
    """The entry as a layer of one activation again."""
    return _with_layer(entry, replace(layer_of(entry), mapped=False))


def _accuracy(outputs, targets) -> Array:
    labels = outputs.ndim == 2 and targets.ndim == 1 and jnp.issubdtype(targets.dtype, jnp.integer)
    return accuracy(outputs, targets) if labels else jnp.full((), jnp.nan, outputs.dtype)


def _admit_data(data) -> tuple[Array, Array]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"data is a {type(data).__name__}, expected a pair (inputs, targets)")
    inputs, targets = (jnp.asarray(numeric(f"data[{i}]", part)) for i, part in enumerate(data))
    if inputs.ndim == 0 or not len(inputs) or inputs.shape[:1] != targets.shape[:1]:
        raise ValueError(f"data has shapes {inputs.shape} and {targets.shape}, expected one leading axis of examples")
    return inputs, targets


def _admit_loss(loss: Callable, entries, inputs, targets, order) -> None:
    if not callable(loss):
        raise ValueError(f"loss is a {type(loss).__name__}, expected a callable (outputs, targets) -> real scalar")
    pick = slice(None) if order is None else slice(order.shape[1])
    try:
        out = jax.eval_shape(lambda x, y: loss(forward(entries, x), y), inputs[pick], targets[pick])
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss does not give one real scalar of outputs and targets: {error}") from error
    found = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(out)]
    if len(found) != 1 or found[0][0] != () or not jnp.issubdtype(found[0][1], jnp.floating):
        raise ValueError(f"loss returns {found}, expected one real scalar of shape ()")
