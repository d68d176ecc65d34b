"""What classification is trained on and judged by."""

import jax.numpy as jnp
import optax
from jax import Array


def cross_entropy(outputs: Array, targets: Array) -> Array:
    """The mean over the batch of −ln softmax(output)[target], finite for all finite outputs.

    Args:
        outputs: (batch, classes), logits.
        targets: (batch,), integers.

    >>> print(f"{cross_entropy(jnp.zeros((1, 4)), jnp.array([2])) / jnp.log(4.0):.4f}")
    1.0000
    """
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, targets))


def accuracy(outputs: Array, targets: Array) -> Array:
    """The part of the batch whose largest output is the target's, in [0, 1]; a NaN output is never right.

    >>> print(accuracy(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1])))
    0.5
    """
    right = jnp.argmax(outputs, axis=-1).astype(targets.dtype) == targets
    whole = jnp.all(jnp.isfinite(outputs), axis=-1)  # argmax takes the first NaN for the largest
    return jnp.mean((right & whole).astype(outputs.dtype))
