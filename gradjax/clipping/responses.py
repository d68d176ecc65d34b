"""What a clipper does with inputs at the edge, in one word a case: the table that a test pins and a study prints."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import choice, listed, real
from gradjax.clipping.table import CLIPPERS, Clipper

EXAMPLES = 4  # of a per-example gradient; a power of two, for their sum to be exact
ROUNDING = 4 * 2**-8  # relative, of a result in bfloat16: the division, the product, the cast and the sum

CASES: dict[str, Callable[[], dict]] = {
    "healthy": lambda: _gradient(3.0, 4.0),
    "zero": lambda: _gradient(0.0, 0.0),
    "one inf": lambda: _gradient(jnp.inf, 4.0),
    "one NaN": lambda: _gradient(jnp.nan, 4.0),
    "1e30": lambda: _gradient(3e30, 4e30),
    "1e-30": lambda: _gradient(3e-30, 4e-30),
    "float16 500": lambda: _gradient(300.0, 400.0, "float16"),
    "bfloat16 1e30": lambda: _gradient(3e30, 4e30, "bfloat16"),
    "mixed dtypes": lambda: {**_gradient(3.0, 4.0), "mixed": jnp.full(2, 1.0, "bfloat16")},
    "empty": dict,
}
"""Name -> the gradient, a tree of leaves; made on call, for an import creates no array."""


def _gradient(first: float, second: float, dtype="float32") -> dict:
    # leaves of one entry would not do: a compiler may turn sqrt(x·x) into |x|, which never overflows
    return {"kernel": jnp.full((2, 2), first, dtype), "bias": jnp.full(2, second, dtype)}


def response(clipper: str | Clipper, case: str, threshold: float | None = None) -> str:
    """One word for what a clipper does at its first step with a gradient of `CASES`, parameters being ones.

    'same'; 'bounded' or 'exceeds' (its declared bound); 'changed' (there is no bound); 'zeros' (every entry of a
    nonzero gradient); 'some NaN', 'all NaN'; 'inf'; 'error' (it raises).

    Args:
        clipper: a name of `CLIPPERS` or a `Clipper`.
        case: a name of `CASES`.
        threshold: by default the clipper's own.

    >>> response("optax_global_norm", "1e30"), response("global_norm", "1e30")
    ('zeros', 'bounded')
    """
    clipper = CLIPPERS[choice("clipper", clipper, tuple(CLIPPERS))] if not isinstance(clipper, Clipper) else clipper
    threshold = clipper.default if threshold is None else real("threshold", threshold, "[0, inf]")
    gradient = CASES[choice("case", case, tuple(CASES))]()
    params = jax.tree.map(jnp.ones_like, gradient)
    given = jax.tree.map(lambda g: jnp.stack([g] * EXAMPLES), gradient) if clipper.per_example else gradient
    try:
        with jax.numpy_dtype_promotion("standard"):  # optax adds up leaves of unlike dtypes
            transformation = clipper(threshold)
            result = transformation.update(given, transformation.init(params), params)[0]
            size = None if clipper.size is None or not gradient else float(clipper.size(result, params))
    except Exception:
        return "error"
    examples = EXAMPLES if clipper.per_example else 1
    largest = np.inf if size is None else threshold * examples
    return _word(_flat(result), examples * _flat(gradient), size, largest)


def _word(values: np.ndarray, given: np.ndarray, size: float | None, largest: float) -> str:
    nan = np.isnan(values)
    if nan.any():
        return "all NaN" if nan.all() else "some NaN"
    if np.isinf(values).any():
        return "inf"
    if np.array_equal(values, given):
        return "same"
    if not values.any():
        return "zeros"
    if size is None:
        return "changed"
    return "bounded" if size <= largest * (1 + ROUNDING) else "exceeds"


def _flat(tree) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree))])


def responses(clippers=None) -> dict[str, dict[str, str]]:
    """The whole table: clipper -> case -> word."""
    names = listed("clippers", CLIPPERS if clippers is None else clippers, "names")
    chosen = [choice("clippers", name, tuple(CLIPPERS)) for name in names]
    return {name: {case: response(name, case) for case in CASES} for name in chosen}
