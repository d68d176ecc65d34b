"""The handwritten digits: real data that ships with a package, so that no study needs a network connection."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.arguments import floating, real, whole

DIGIT_COUNT = 1797


class Dataset(NamedTuple):
    """Inputs (examples, features) and integer labels (examples,), for training and for testing."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def digits(*, seed: int = 0, test_fraction: float = 0.2, dtype=float) -> Dataset:
    """Return the 1797 handwritten digits of scikit-learn, 8 x 8 pixels each, standardized and split.

    Every pixel has mean 0 and variance 1 over the training part; the few pixels that never change there are 0.

    Args:
        seed: of the split, in [0, 2**32); the same seed gives the same split on every machine.
        test_fraction: part held out, in (0, 1).
        dtype: of the inputs, a floating type; labels are int32.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: a seed or fraction outside its range.

    Reference: Alpaydin and Kaynak (1998), UCI optical recognition of handwritten digits.
    """
    seed = whole("seed", seed, 0, 2**32 - 1)
    test_fraction, dtype = real("test_fraction", test_fraction, "(0, 1)"), floating(dtype)
    pixels, labels = _load()
    order = np.random.default_rng(seed).permutation(DIGIT_COUNT)
    test, train = np.split(order, [math.ceil(test_fraction * DIGIT_COUNT)])
    mean, std = pixels[train].mean(axis=0), pixels[train].std(axis=0)
    # A pixel that is constant in the training part tells nothing; dividing by its deviation would give NaN or 1e16.
    standardized = np.where(std > 0, (pixels - mean) / np.where(std > 0, std, 1.0), 0.0)
    x, y = jnp.asarray(standardized, dtype), jnp.asarray(labels, jnp.int32)
    return Dataset(x[train], y[train], x[test], y[test])


def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        # Imported here: it takes seconds, and it is no dependency of the core.
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("The digits come with scikit-learn: pip install -e '.[studies]'") from error
    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(labels)
