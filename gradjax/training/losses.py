"""What classification is trained on and judged by."""

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gradjax.arguments import numeric, said
from gradjax.numerics import is_concrete


def cross_entropy(outputs: Array, targets: Array) -> Array:
    """The mean over the batch of −ln softmax(output)[target], finite for all finite outputs.

    Args:
        outputs: (batch, classes), logits.
        targets: (batch,), integers.

    >>> print(f"{cross_entropy(jnp.zeros((1, 4)), jnp.array([2])) / jnp.log(4.0):.4f}")
    1.0000
    """
    outputs, targets = _admitted(outputs, targets)
    if is_concrete(targets) and bool(np.any((np.asarray(targets) < 0) | (np.asarray(targets) >= outputs.shape[-1]))):
        raise ValueError(f"targets holds labels outside 0 ... {outputs.shape[-1] - 1}, the classes of outputs")
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))


def accuracy(outputs: Array, targets: Array) -> Array:
    """The part of the batch whose largest output is the target's, in [0, 1]; a NaN output is never right.

    >>> print(accuracy(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])))
    0.5
    """
    outputs, targets = _admitted(outputs, targets)
    right = jnp.argmax(outputs, axis=-1).astype(targets.dtype) == targets
    whole = jnp.all(jnp.isfinite(outputs), axis=-1)  # argmax takes the first NaN for the largest
    return jnp.mean((right & whole).astype(outputs.dtype))


def _admitted(outputs: Array, targets: Array) -> tuple[Array, Array]:
    outputs, targets = jnp.asarray(numeric("outputs", outputs)), jnp.asarray(numeric("targets", targets))
    if outputs.ndim < 1 or not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(f"outputs is {said(outputs)}, expected (batch, classes) of a floating type")
    if targets.shape != outputs.shape[:-1] or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(f"targets is {said(targets)}, expected integers {outputs.shape[:-1]}, a label for each output")
    return outputs, targets
