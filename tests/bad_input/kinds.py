"""Kinds of arguments: for each a value that is right, the values that are not, and what must come of those.

A bad value is `refused` (a ValueError or TypeError of gradjax's own that names the argument), the `same` as the right
one (NumPy's 3.0 for 3), or `sound`: refused so, or taken without a NaN in what is returned.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from jax.tree_util import Partial

from gradjax.chain import Stack


class Own(Exception):
    """What a caller's own function raises: it reaches the caller, or is wrapped in words that name the function."""


class Bad(NamedTuple):
    """One bad value: in words, made anew at every use (a generator is used up), and what must come of it."""

    label: str
    make: Callable[[], Any]
    verdict: str


class Argument(NamedTuple):
    """An argument: the right value, the bad ones, and what an error may call it beside its own name."""

    make: Callable[[], Any]
    bad: tuple[Bad, ...]
    words: tuple[str, ...] = ()


class Tracer(NamedTuple):
    """Stands for a tracer of this shape and dtype, which only a call within a trace can make."""

    shape: tuple[int, ...] = ()
    dtype: Any = np.float32


def bad(verdict: str, **values) -> tuple[Bad, ...]:
    """Bad values by their labels; a value is given as a function without arguments where it must be made."""
    return tuple(Bad(label, value, verdict) for label, value in values.items())


def raises(*_, **__):
    raise Own("raised by the caller's function")


JUNK = {
    "none": lambda: None,
    "text": lambda: "banana",
    "bytes": lambda: b"\x00",
    "object": object,
    "empty list": list,
    "empty dict": dict,
    "dict": lambda: {"a": object()},
    "generator": lambda: (i for i in range(3)),
    "array of objects": lambda: np.array([object()]),
    "array of text": lambda: np.array(["a", "b"]),
    "class": lambda: dict,
    "function": lambda: jnp.tanh,
}


def junk(*without: str) -> tuple[Bad, ...]:
    """Objects of a wrong Python type, refused everywhere but where the labels left out have a meaning."""
    return tuple(Bad(label, make, "refused") for label, make in JUNK.items() if label not in without)


NOT_ONE_NUMBER = (
    *junk(),
    *bad(
        "refused", complex=lambda: 2j, pair=lambda: [1.0, 2.0], array=lambda: np.ones(2), jax=lambda: jnp.ones((2, 1))
    ),
    *bad("refused", true=lambda: True, nan=lambda: float("nan"), numpy_nan=lambda: np.float32("nan")),
)
TRACED = bad("refused", tracer=Tracer)
MAYBE_TRACED = bad("sound", tracer=Tracer)


def optional(argument: Argument) -> Argument:
    """The same where None has a meaning."""
    return argument._replace(bad=tuple(b for b in argument.bad if b.label != "none"))


def also(argument: Argument, *more: Bad, words: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Argument:
    """The same with further bad values, or without some."""
    kept = tuple(b for b in argument.bad if b.label not in without)
    return Argument(argument.make, kept + more, argument.words + words)


def whole(right: int, least: int = 1, traced: tuple[Bad, ...] = TRACED) -> Argument:
    """A whole number from `least` on."""
    wrong = {"less": least - 1, "negative": -7, "half": right + 0.5, "inf": float("inf"), "-inf": -float("inf")}
    same = {"numpy": np.int64, "0-d": np.array, "int32": np.int32, "float": float, "jax": jnp.asarray}
    huge = {"10^12": lambda: 10**12, "huge int": lambda: 10**30}
    return Argument(
        lambda: right,
        NOT_ONE_NUMBER
        + traced
        + bad("refused", **{label: lambda value=value: value for label, value in wrong.items()})
        + bad("sound", **huge)
        + bad("same", **{label: lambda cast=cast: cast(right) for label, cast in same.items()}),
    )


def real(right: float, interval: str = "(-inf, inf)", traced: tuple[Bad, ...] = TRACED) -> Argument:
    """A number in an interval; its ends are refused where they do not belong to it, extremes within are sound."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    ends = {"low end": (low, interval[0] == "["), "high end": (high, interval[-1] == "]")}
    beyond = {"below": low - 1, "above": high + 1, "-inf": -np.inf, "inf": np.inf, "-1e300": -1e300}
    extremes = {"subnormal": 5e-324, "tiny": 1e-300, "huge": 1e300, "huge int": 10**400, "zero": 0.0}
    same = {"numpy": np.float64, "0-d": np.array, "float32": np.float32, "jax": jnp.asarray}

    def inside(value):
        return (low < value < high) or any(value == end for end, closed in ends.values() if closed)

    wrong = {label: end for label, (end, closed) in ends.items() if not closed}
    wrong |= {label: value for label, value in (beyond | extremes).items() if not inside(value)}
    kept = {label: value for label, value in extremes.items() if inside(value)}
    kept |= {label: end for label, (end, closed) in ends.items() if closed}
    return Argument(
        lambda: right,
        NOT_ONE_NUMBER
        + traced
        + bad("refused", **{label: lambda value=value: value for label, value in wrong.items()})
        + bad("sound", **{label: lambda value=value: value for label, value in kept.items()})
        + bad("same", **{label: lambda cast=cast: cast(right) for label, cast in same.items()}),
    )


def word(right: str, *without: str) -> Argument:
    """A name out of a few."""
    wrong = {"unknown": lambda: "nonsense", "no word": str, "number": lambda: 3, "list": lambda: [right]}
    return Argument(lambda: right, junk("text", *without) + bad("refused", **wrong, tracer=Tracer))


def method(right: str, kind: str) -> Argument:
    """A name of a table, or a callable."""
    return also(word(right, "class", "function"), *bad("sound", raising=lambda: raises), words=(kind,))


def called(right: Callable, *without: str, words: tuple[str, ...] = ()) -> Argument:
    """A callable."""
    wrong = {"number": lambda: 3.0, "list": lambda: [right], "array": lambda: np.ones(2), "tracer": Tracer}
    more = bad("refused", **wrong) + bad("sound", raising=lambda: raises)
    return Argument(lambda: right, junk("class", "function", *without) + more, words)


def activation(right: str = "tanh") -> Argument:
    """An activation where theory evaluates it: by name or callable, elementwise, finite."""
    wrong = {
        "pair": lambda: lambda x: jnp.stack([x, x]),
        "to integers": lambda: lambda x: x.astype(jnp.int32),
        "to complex": lambda: lambda x: x + 1j,
        "to nothing": lambda: lambda x: None,
        "to text": lambda: lambda x: "y",
        "to NaN": lambda: lambda x: x * jnp.nan,
        "pole": lambda: lambda x: 1 / x,
    }
    return also(
        word(right, "class", "function"),
        *bad("refused", **wrong),
        *bad("sound", raising=lambda: raises, class_=lambda: dict),
    )


KEY_WORDS = ("seed", "key")


def seed(right: int = 0) -> Argument:
    """A random key, or a seed in [0, 2³²)."""
    wrong = {
        "negative": lambda: -1,
        "2**32": lambda: 2**32,
        "huge": lambda: 10**30,
        "half": lambda: 0.5,
        "nan": lambda: float("nan"),
        "true": lambda: True,
        "numbers": lambda: jnp.zeros(3),
        "many keys": lambda: jax.random.split(jax.random.key(0), 3),
        "old key of a wrong shape": lambda: jnp.zeros(3, jnp.uint32),
    }
    same = {"numpy": lambda: np.int64(right), "uint32": lambda: np.uint32(right), "key": lambda: jax.random.key(right)}
    return Argument(lambda: right, junk() + bad("refused", **wrong, tracer=Tracer) + bad("same", **same), KEY_WORDS)


def plain_seed(right: int = 0) -> Argument:
    """A seed that is no key."""
    return also(seed(right), without=("key", "many keys"))


def dtype(right="float32") -> Argument:
    """A floating type."""
    wrong = {
        "int": lambda: "int32",
        "bool": lambda: bool,
        "complex": lambda: jnp.complex64,
        "unknown": lambda: "banana",
        "datetime": lambda: "datetime64[s]",
        "number": lambda: 3,
        "object dtype": lambda: np.dtype(object),
    }
    return Argument(
        lambda: right,
        junk("none", "text", "bytes") + bad("refused", **wrong, tracer=Tracer) + bad("sound", none=lambda: None),
    )


def flag(right: bool = False) -> Argument:
    """True or False, and nothing that merely has a truth value."""
    wrong = {
        "number": lambda: 3,
        "one": lambda: 1.0,
        "array": lambda: np.ones(2, bool),
        "jax": lambda: jnp.ones(1, bool),
    }
    same = {"numpy": lambda: np.bool_(right), "0-d": lambda: jnp.array(right)}
    return Argument(lambda: right, junk() + bad("refused", **wrong, tracer=Tracer) + bad("same", **same))


SPECIALS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def numbers(shape: tuple[int, ...], interval: str = "(-inf, inf)", fill: float | None = None, values: bool = True):
    """A float array of NumPy's: other shapes, dtypes and, where `values`, special values are refused."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    at = fill if fill is not None else 0.5
    right = np.linspace(at, at * 1.1, max(1, int(np.prod(shape)))).reshape(shape)

    def one(value):
        array = right.copy()
        array.flat[0] = value
        return array

    wrong = {"complex": lambda: right + 1j, "ragged": lambda: [[1.0], [1.0, 2.0]], "bool": lambda: right > 0}
    special = {label: lambda value=value: one(value) for label, value in SPECIALS.items()}
    beyond = {f"one {value}": lambda value=value: one(value) for value in (low - 1, high + 1) if np.isfinite(value)}
    same = {"list": right.tolist, "jax": lambda: jnp.asarray(right, jnp.float32)}
    return Argument(
        lambda: right.copy(),
        junk()
        + bad("refused", **wrong, tracer=lambda: Tracer(shape))
        + (bad("refused", **special, **beyond) if values else ())
        + bad("same", **same),
    )


def array_of(right: float, interval: str = "(-inf, inf)") -> Argument:
    """Numbers of any shape, one among them."""
    return also(numbers((3,), interval, right), *bad("sound", one=lambda: right, none=list), without=("empty list",))


def activations_in(shape: tuple[int, ...] = (3,), dtype=np.float32) -> Argument:
    """x, what enters a network."""
    right = np.linspace(0.4, 0.9, int(np.prod(shape)), dtype=dtype).reshape(shape)

    def one(value):
        array = right.copy()
        array.flat[0] = value
        return array

    wrong = {
        "empty": lambda: np.zeros((0, *shape[1:]), dtype),
        "wider": lambda: np.ones((*shape[:-1], 9), dtype),
        "set": lambda: {1, 2},
        "dates": lambda: np.zeros(shape, "datetime64[s]"),
        "ragged": lambda: [[1.0], "a"],
        **{label: lambda value=value: one(value) for label, value in SPECIALS.items()},
        "all nan, jax": lambda: jnp.full(shape, jnp.nan),
    }
    maybe = {
        "integers": lambda: np.ones(shape, np.int32),
        "booleans": lambda: np.ones(shape, bool),
        "complex": lambda: right.astype(np.complex64),
        "float16": lambda: right.astype(np.float16),
        "bfloat16": lambda: right.astype(ml_dtypes.bfloat16),
        "higher rank": lambda: right[None],
        "subnormal": lambda: one(1e-42),
        "huge": lambda: one(1e38),
    }
    return Argument(
        lambda: right.copy(),
        junk() + bad("refused", **wrong) + bad("sound", **maybe) + bad("same", jax=lambda: jnp.asarray(right)),
        ("layers",),  # shapes that do not fit are told by the layer that does not accept them
    )


def weights(seed: int = 0, size: int = 3) -> Partial:
    """A linear layer, well conditioned."""
    matrix = np.eye(size) + 0.2 * np.random.default_rng(seed).standard_normal((size, size))
    return Partial(jnp.matmul, jnp.asarray(matrix, jnp.float32))


def network() -> list:
    """Two layers, 3 → 3."""
    return [weights(), jnp.tanh]


def layers(values: bool = True, right: Callable = network) -> Argument:
    """A sequence of layers; where `values`, one that returns a NaN is refused too."""
    wrong = {
        "number": lambda: 3,
        "bare function": lambda: jnp.sin,
        "array": lambda: np.zeros(3),
        "no layers": tuple,
        "None within": lambda: [jnp.tanh, None],
        "number within": lambda: [jnp.tanh, 3.0],
        "name within": lambda: ["relu"],
        "numbers generated": lambda: (i for i in range(2)),
        "raising": lambda: [jnp.tanh, raises],
        "two arguments": lambda: [lambda h, g: h],
        "to nothing": lambda: [lambda h: None],
        "to text": lambda: [lambda h: "h"],
        "to integers": lambda: [lambda h: h.astype(jnp.int32)],
        "to booleans": lambda: [lambda h: h > 0],
        "branching on values": lambda: [lambda h: h if h[0] > 0 else -h],
        "to NumPy": lambda: [lambda h: np.asarray(h)],
        "Stack without leaves": lambda: [Stack(jnp.tanh)],
        "Stack of unequal leaves": lambda: [Stack(Partial(lambda p, h: h, (jnp.ones(2), jnp.ones(3))))],
        "Stack of no depth": lambda: [Stack(Partial(jnp.multiply, jnp.ones((0, 3))))],
        "Stack that narrows": lambda: [Stack(Partial(lambda w, h: (w * h)[:2], jnp.ones((2, 3))))],
        "Stack that changes dtype": lambda: [
            Stack(Partial(lambda w, h: (w * h).astype(jnp.float16), jnp.ones((2, 3), jnp.float32)))
        ],
    }
    breaking = {
        "to NaN": lambda: [jnp.tanh, lambda h: h * jnp.nan],
        "to inf": lambda: [jnp.tanh, lambda h: h / 0],
        "NaN parameters": lambda: [Partial(jnp.multiply, jnp.full(3, jnp.nan))],
    }
    same = {"tuple": lambda: tuple(right()), "generated": lambda: (layer for layer in right())}
    maybe = {
        "to float16": lambda: [*right(), lambda h: h.astype(jnp.float16)],
        "to an empty array": lambda: [lambda h: h[:0]],
    }
    return Argument(
        right,
        junk("class", "function")
        + bad("refused", **wrong)
        + bad("refused" if values else "sound", **breaking)
        + bad("same", **same)
        + bad("sound", **maybe),
    )


def loss(values: bool = True) -> Argument:
    """Of the output, one real scalar."""
    wrong = {
        "to a vector": lambda: lambda out: out,
        "to an integer": lambda: lambda out: jnp.argmax(out),
        "to complex": lambda: lambda out: jnp.sum(out) + 1j,
        "to nothing": lambda: lambda out: None,
        "to text": lambda: lambda out: "loss",
        "to two": lambda: lambda out: (jnp.sum(out), jnp.sum(out)),
    }
    return also(
        called(jnp.sum, "dict"),
        *bad("refused", **wrong),
        *bad("refused" if values else "sound", **{"to NaN": lambda: lambda out: jnp.sum(out) * jnp.nan}),
    )


def batch_axis() -> Argument:
    """None or 0."""
    wrong = {
        "1": lambda: 1,
        "-1": lambda: -1,
        "word": lambda: "0",
        "half": lambda: 0.5,
        "list": lambda: [0],
        "tracer": Tracer,
    }
    return Argument(lambda: None, bad("refused", **wrong))


def model() -> Argument:
    """The whole model."""
    wrong = {
        "number": lambda: 3,
        "text": lambda: "model",
        "another": lambda: lambda x: jnp.sin(3 * x),
        "another shape": lambda: lambda x: x[:2],
        "to nothing": lambda: lambda x: None,
        "to text": lambda: lambda x: "y",
        "tracer": Tracer,
    }
    return Argument(lambda: None, bad("refused", **wrong) + bad("sound", raising=lambda: raises), ("layers",))


def factors(values: bool = True) -> Argument:
    """Matrices, (depth, n, n) or a sequence of them."""
    right = np.random.default_rng(0).standard_normal((3, 2, 2))

    def one(value):
        array = right.copy()
        array[1, 0, 0] = value
        return array

    wrong = {
        "number": lambda: 3.0,
        "vector": lambda: np.ones(3),
        "no layers": lambda: np.ones((0, 2, 2)),
        "no rows": lambda: np.ones((3, 0, 0)),
        "not square": lambda: np.ones((3, 2, 4)),
        "chain that does not fit": lambda: [np.ones((2, 3)), np.ones((2, 3))],
        "list of text": lambda: ["a", "b"],
        "list of None": lambda: [None],
        "ragged": lambda: [[[1.0, 2.0], [1.0]]],
        "dates": lambda: np.zeros((3, 2, 2), "datetime64[s]"),
    }
    special = {label: lambda value=value: one(value) for label, value in SPECIALS.items()}
    maybe = {
        "integers": lambda: np.arange(12).reshape(3, 2, 2),
        "float16": lambda: right.astype(np.float16),
        "complex": lambda: right + 0j,
        "subnormal": lambda: one(5e-324),
        "huge": lambda: one(1e300),
        "zeros": lambda: np.zeros((3, 2, 2)),
    }
    same = {"list": lambda: list(right), "tuple": lambda: tuple(right)}
    return Argument(
        right.copy,
        junk()
        + bad("refused", **wrong)
        + bad("refused" if values else "sound", **special)
        + bad("sound", **maybe)
        + bad("same", **same),
    )


def tree(values: bool = False) -> Argument:
    """A gradient: a pytree of arrays; leaves that are no inexact arrays do not count."""
    right = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    maybe = {"zeros": lambda: {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}}
    maybe |= {"float16": lambda: {"w": np.full((2, 2), 300, np.float16), "b": np.full(2, 300, np.float16)}}
    maybe |= {"complex": lambda: {"w": np.ones((2, 2), np.complex64), "b": np.ones(2, np.complex64)}}
    maybe |= {"huge": lambda: {"w": np.full((2, 2), 1e38, np.float32), "b": np.ones(2, np.float32)}}
    return Argument(lambda: right, bad("sound", **maybe))


def optimizer(right: Callable = lambda: optax.sgd(0.1), *without: str) -> Argument:
    """An optax transformation."""
    wrong = {"number": lambda: 0.1, "list": lambda: [optax.sgd(0.1)], "tracer": Tracer}
    return Argument(right, junk("function", "class", *without) + bad("refused", **wrong, factory=lambda: optax.sgd))
