"""What every door asks of its arguments, in one place: a number in an interval, a whole number, a function, arrays.

Each takes the argument's name and what came, and gives it back in its plain form or raises a ValueError that says the
name, what came and what was expected. Without them a string or a tracer comes up again deep inside NumPy or XLA, as an
error that names neither the argument nor the function that it was handed to.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

SQUARABLE = "[0, 1e150]"  # a deviation whose square is a float: Python refuses that of 1e300
DEEPEST = 10**6  # layers that a formula goes through one by one: more is a loop without an end
LONGEST = 80  # characters of a value in a message


def said(value) -> str:
    """What came, in a few characters: arrays by dtype and shape, everything else by its repr.

    >>> said(np.zeros((2, 3))), said("three")
    ('an array float64[2,3]', "'three'")
    """
    if isinstance(value, Tracer):
        return f"a tracer {value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, (np.ndarray, jax.Array)) and (value.ndim or value.dtype == object):
        return f"an array {value.dtype}[{','.join(map(str, value.shape))}]"
    words = repr(value).splitlines()
    return words[0][:LONGEST] if words else type(value).__name__


def is_number(value) -> bool:
    """Whether it is one real number with a value: of Python, NumPy or JAX, no bool, no tracer.

    >>> is_number(np.float32(2)), is_number(True), is_number([2.0])
    (True, False, False)
    """
    if isinstance(value, (bool, Tracer)):
        return False
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return np.ndim(value) == 0 and any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.integer, jnp.floating))
    return isinstance(value, (int, float))


def in_words(interval: str) -> str:
    """What a number in the interval is called.

    >>> in_words("(-inf, inf)"), in_words("[0, 1)")
    ('a finite number', 'a number in [0, 1)')
    """
    return "a finite number" if interval == "(-inf, inf)" else f"a number in {interval}"


def real(name: str, value, interval: str = "(-inf, inf)") -> float:
    """The number as a float, refused where it is none or outside the interval, written as in mathematics.

    >>> real("decay", 0, "[0, 1)")
    0.0
    >>> real("decay", 1.0, "[0, 1)")
    Traceback (most recent call last):
    ValueError: decay is 1.0, expected a number in [0, 1)
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    if is_number(value):
        try:
            number = float(value)
        except OverflowError:  # an int beyond the floats
            number = math.inf if value > 0 else -math.inf
        above = number >= low if interval[0] == "[" else number > low
        below = number <= high if interval[-1] == "]" else number < high
        if above and below:
            return number
    raise ValueError(f"{name} is {said(value)}, expected {in_words(interval)}")


def whole(name: str, value, least: int = 1, most: int | None = None) -> int:
    """The number as an int, refused where it is no whole number from least (to most).

    >>> whole("depth", 3.0)
    3
    """
    # as Python's own: an integer array may not be compared with a float where promotion is strict
    plain = np.asarray(value).item() if is_number(value) and hasattr(value, "dtype") else value
    usable = is_number(value) and abs(plain) < math.inf and int(plain) == plain
    if not usable or int(value) < least or (most is not None and int(value) > most):
        upto = "" if most is None else f" and <= {most}"
        raise ValueError(f"{name} is {said(value)}, expected a whole number >= {least}{upto}")
    return int(value)


def flag(name: str, value) -> bool:
    """The truth value as a bool of Python, refused where it is neither True nor False: a word, a number, an array.

    >>> flag("causal", np.True_), flag("causal", jnp.array(False))
    (True, False)
    >>> flag("causal", np.ones(2))
    Traceback (most recent call last):
    ValueError: causal is an array float64[2], expected True or False
    """
    boolean = isinstance(value, bool) or (hasattr(value, "dtype") and np.shape(value) == () and value.dtype == bool)
    if not boolean or isinstance(value, Tracer):
        raise ValueError(f"{name} is {said(value)}, expected True or False")
    return bool(value)


def as_function(name: str, value, form: str) -> Callable:
    """The callable, refused where it is none; `form` says what it maps to what.

    >>> as_function("loss", 3, "output -> real scalar")
    Traceback (most recent call last):
    ValueError: loss is 3, expected a callable output -> real scalar
    """
    if not callable(value):
        raise ValueError(f"{name} is {said(value)}, expected a callable {form}")
    return value


def choice(name: str, value, names: Sequence[str]) -> str:
    """The word, refused where it is none of the names.

    >>> choice("mode", "fan_in", ("fan_in", "fan_out"))
    'fan_in'
    """
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{name} is {said(value)}, expected one of {', '.join(names)}")
    return value


def floating(dtype) -> Any:
    """The dtype of parameters or data, unchanged, refused where it is no floating type.

    >>> floating("float32")
    'float32'
    """
    try:
        name = said(dtype) if isinstance(dtype, (np.ndarray, jax.Array)) else jnp.dtype(dtype).name
    except (TypeError, ValueError, SyntaxError):  # NumPy reads text as a format of its own
        name = said(dtype)
    else:
        if not isinstance(dtype, (np.ndarray, jax.Array)) and jnp.issubdtype(dtype, jnp.floating):
            return dtype
    raise ValueError(f"dtype is {name}, expected a floating type such as float32")


def numeric(name: str, value, ranks: Sequence[int] | None = None) -> Any:
    """An array of numbers, unchanged (a tracer too) or made of nested lists of them, refused where it is none.

    >>> numeric("x", [1.0, 2.0])
    array([1., 2.])
    """
    try:
        array = value if isinstance(value, (jax.Array, np.ndarray)) else np.asarray(value)
    except (ValueError, TypeError):  # lists of unequal length, tracers within a list
        array = np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise ValueError(f"{name} is {said(value)}, expected an array of numbers")
    if ranks is not None and array.ndim not in ranks:
        raise ValueError(f"{name} has shape {array.shape}, expected {' or '.join(map(str, ranks))} axes")
    return array


def reals(name: str, value, interval: str | None = "(-inf, inf)", ranks: Sequence[int] | None = None) -> np.ndarray:
    """The numbers as a float64 array of NumPy, refused where one is none or outside the interval.

    Without an interval NaN and infinities pass.

    >>> reals("fractions", [0, 0.5], "[0, 1]")
    array([0. , 0.5])
    """
    array = numeric(name, value, ranks)
    if isinstance(array, Tracer) or jnp.iscomplexobj(array) or array.dtype == bool:
        raise ValueError(f"{name} is {said(value)}, expected real numbers{f' in {interval}' if interval else ''}")
    array = np.asarray(array, np.float64)
    if interval is None:
        return array
    low, high = (float(end) for end in interval[1:-1].split(","))
    inside = (array >= low if interval[0] == "[" else array > low) & (
        array <= high if interval[-1] == "]" else array < high
    )
    if not inside.all():
        raise ValueError(f"{name} holds {float(array[~inside].flat[0])!r}, expected numbers in {interval}")
    return array


def arrays(name: str, tree) -> Any:
    """The pytree, unchanged, refused where a leaf is no number, no array of numbers and no random key.

    >>> arrays("batch", {"x": [1.0, "a"]})
    Traceback (most recent call last):
    ValueError: batch['x'][1] is 'a', expected an array of numbers
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not (isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)):
            numeric(name + jax.tree_util.keystr(path), leaf)
    return tree


def listed(name: str, value, what: str = "values") -> list:
    """The values as a list, refused where they cannot be gone through, or are text.

    >>> listed("names", ("a", "b"))
    ['a', 'b']
    """
    try:
        usable = None if isinstance(value, (str, bytes, Tracer)) else list(value)
    except TypeError:
        usable = None
    if usable is None:
        raise ValueError(f"{name} is {said(value)}, expected a sequence of {what}")
    return usable


def wholes(name: str, value, least: int = 1) -> list[int]:
    """The whole numbers as a list of ints, refused where one is none or below least; its index is named.

    >>> wholes("sizes", (3, 2.0))
    [3, 2]
    """
    return [whole(f"{name}[{index}]", one, least) for index, one in enumerate(listed(name, value, "whole numbers"))]


def is_transformation(value) -> bool:
    """Whether it is an optax transformation: a pair of functions, init and update."""
    return not isinstance(value, type) and all(callable(getattr(value, part, None)) for part in ("init", "update"))


def as_transformation(name: str, value) -> Any:
    """The optax transformation, refused where it is none (a factory that was not called, a learning rate)."""
    if not is_transformation(value):
        raise ValueError(f"{name} is {said(value)}, expected an optax transformation such as optax.sgd(0.1)")
    return value
