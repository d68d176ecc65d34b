"""Sequences that ask a recurrent network to remember: pure functions of a key, so that no study needs a file.

Each returns inputs (examples, length, features) and targets. What is asked for stands a known number of steps back: the
gradient must pass that many Jacobians.
"""

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.arguments import floating, whole
from gradjax.numerics import as_key
from gradjax.room import axis

SYMBOLS = 6  # of temporal order: two that count, four that distract


def adding_problem(key: Array | int, examples: int, length: int, dtype=jnp.float32) -> tuple[Array, Array]:
    """Numbers of which two are marked, one in each half, and their sum: y = x_i + x_j.

    Always answering 1 gives the mean squared error 1/6.

    Args:
        key: a random key, or a seed in [0, 2³²).
        examples: at least 1.
        length: at least 2.
        dtype: of both results, a floating type.

    Returns:
        Inputs (examples, length, 2), a number of [0, 1) and a mark 0 or 1 at each step; targets (examples, 1).

    Raises:
        ValueError: a count below its least value.

    Reference: Hochreiter, Schmidhuber (1997), Long short-term memory.

    >>> x, y = adding_problem(0, 4, 10)
    >>> print(x.shape, x[..., 1].sum(axis=1).tolist(), bool((y[:, 0] == (x[..., 0] * x[..., 1]).sum(1)).all()))
    (4, 10, 2) [2.0, 2.0, 2.0, 2.0] True
    """
    length, dtype = axis("length", length, 2), floating(dtype)
    examples = axis("examples", examples, each=2 * length)
    values, first, second = jax.random.split(as_key(key), 3)
    numbers = jax.random.uniform(values, (examples, length), dtype)
    half = length // 2
    one = jax.random.randint(first, (examples,), 0, half)
    other = jax.random.randint(second, (examples,), half, length)
    marks = jax.nn.one_hot(one, length, dtype=dtype) + jax.nn.one_hot(other, length, dtype=dtype)
    return jnp.stack([numbers, marks], axis=-1), jnp.sum(numbers * marks, axis=1)[:, None]


def temporal_order(key: Array | int, examples: int, length: int, dtype=jnp.float32) -> tuple[Array, Array]:
    """Symbols among which A or B stand twice, and in which order: one class of AA, AB, BA, BB.

    The first stands in the second tenth of the sequence, the second in the fifth; all else are four distractors.

    Args:
        key: a random key, or a seed in [0, 2³²).
        examples: at least 1.
        length: at least 10.
        dtype: of the inputs, a floating type.

    Returns:
        Inputs (examples, length, 6), one-hot with A and B in front; targets (examples,), int32: 2·(first is B) +
        (second is B).

    Raises:
        ValueError: a count below its least value.

    Reference: Hochreiter, Schmidhuber (1997); positions as in Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063.

    >>> x, y = temporal_order(0, 3, 20)
    >>> print(x.shape, x[..., :2].sum(axis=(1, 2)).tolist())
    (3, 20, 6) [2.0, 2.0, 2.0]
    """
    length, dtype = axis("length", length, 10), floating(dtype)
    examples = axis("examples", examples, each=length)
    keys = jax.random.split(as_key(key), 4)
    symbols = jax.random.randint(keys[0], (examples, length), 2, SYMBOLS)
    asked = jax.random.randint(keys[1], (examples, 2), 0, 2)
    tenth = length // 10
    places = [
        jax.random.randint(k, (examples,), start * tenth, (start + 1) * tenth)
        for k, start in zip(keys[2:], (1, 4), strict=True)
    ]
    rows = jnp.arange(examples)
    for i, place in enumerate(places):
        symbols = symbols.at[rows, place].set(asked[:, i])
    return jax.nn.one_hot(symbols, SYMBOLS, dtype=dtype), (2 * asked[:, 0] + asked[:, 1]).astype(jnp.int32)


def delayed_copy(key: Array | int, examples: int, length: int, delay: int, dtype=jnp.float32) -> tuple[Array, Array]:
    """Random numbers, and the same numbers a number of steps later: y_t = x_(t − delay).

    Always answering 0 gives the mean squared error 1 over the steps that can be known.

    Args:
        key: a random key, or a seed in [0, 2³²).
        examples: at least 1.
        length: above `delay`.
        delay: the steps that must be bridged, at least 0.
        dtype: of both results, a floating type.

    Returns:
        Inputs (examples, length, 1), N(0, 1); targets (examples, length, 1), zero at the first `delay` steps, where
        nothing is asked yet.

    Raises:
        ValueError: a count below its least value.

    Reference: Engelken (2023, arXiv:2312.17306), which trains it with gradient flossing; the inputs here are normal.

    >>> x, y = delayed_copy(0, 2, 7, 3)
    >>> print(bool((y[:, 3:] == x[:, :-3]).all()), float(jnp.abs(y[:, :3]).max()))
    True 0.0
    """
    delay, dtype = whole("delay", delay, 0), floating(dtype)
    length = axis("length", length, delay + 1)
    examples = axis("examples", examples, each=length)
    inputs = jax.random.normal(as_key(key), (examples, length, 1), dtype)
    return inputs, jnp.pad(inputs[:, : length - delay], ((0, 0), (delay, 0), (0, 0)))
