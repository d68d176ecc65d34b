"""The largest, the median and the smallest singular value of every layer's Jacobian, each with its error.

Up to 2²⁴ entries a Jacobian is formed, one layer at a time, and its singular values are computed. Beyond that they are
estimated from products with random vectors, which is said, and by how much they may be off.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.arguments import whole
from gradjax.chain import admit, fold, linearize
from gradjax.chain.forward import is_differentiable, one_by_one, over_examples
from gradjax.chain.linearization import flattened, has_forward_mode
from gradjax.chain.verdict import raise_where_forward_breaks
from gradjax.jacobians.bidiagonal import Nodes, quadrature
from gradjax.jacobians.exact import jacobian
from gradjax.jacobians.norms import joined
from gradjax.jacobians.plan import MEMORY, at_work
from gradjax.numerics import HIGHEST, as_key, norm_dtype
from gradjax.room import axis

LIMIT = 2**24  # entries of a Jacobian that is formed
UNLIKELY = 1e-3  # the chance that an estimate is off by more than its error
APART = 0x6A61636F  # folded into the key
DEVIATIONS = 4.0  # of a random vector's weight below the median: a chance of 6e-5


class SingularValueSummary(NamedTuple):
    """Three singular values of each layer's Jacobian, natural logs, an entry a layer; a batch leads.

    Args:
        log_largest: ln σ_1. Estimated: from below, too small by its error at most.
        log_median: ln of the value that half of all min(inputs, outputs) reach. Estimated: within its error.
        log_smallest: ln of the least; −inf where rows or columns are zero. Estimated: an upper bound, its error inf.
        error_of_largest, error_of_median, error_of_smallest: absolute, in the log. Of an estimate: except with a
            chance of 0.1 %. Of values from a formed Jacobian: a bound on rounding, inf where a value is lost in it.
        estimated: whether the layer's values are estimates.
    """

    log_largest: Array
    log_median: Array
    log_smallest: Array
    error_of_largest: Array
    error_of_median: Array
    error_of_smallest: Array
    estimated: Array


def singular_value_summary(
    layers,
    x,
    *,
    batch_axis: int | None = None,
    model: Callable | None = None,
    limit: int = LIMIT,
    steps: int = 48,
    probes: int = 2,
    key: Array | int = 0,
    memory: int = MEMORY,
) -> SingularValueSummary:
    """The largest, the median and the smallest singular value of every layer's Jacobian at x, in log, with errors.

    Args:
        layers, x, batch_axis, model: as in `gradjax.jacobians.layer_jacobians`.
        limit: entries up to which a Jacobian is formed; larger ones are estimated.
        steps, probes: of the estimates: products with J and Jᵀ for each random vector, and how many vectors.
        key: of the random vectors, a key or a seed in [0, 2³²).
        memory: bytes that work on a chunk of columns may take, times eight.

    Returns:
        A `SingularValueSummary` of arrays (depth,), Stacks unrolled; a layer that integers enter is left out.

    Raises:
        ValueError: see `gradjax.chain.admit`; a NaN or infinite activation (the layer is named); limit, steps or
            probes out of range.

    Reference: Kuczyński, Woźniakowski (1992) for the error of the largest; Golub, Meurant (2010) for the median.

    >>> import jax.numpy as jnp
    >>> found = singular_value_summary([lambda h: h * jnp.array([8.0, 2.0, 1.0])], jnp.ones(3))
    >>> print((jnp.exp(found.log_median) * 1000).astype(int), found.log_smallest.round(4), found.estimated)
    [2000] [0.] [False]
    """
    limit, steps, probes = whole("limit", limit, 0), whole("steps", steps, 2), axis("probes", probes)
    entries, x = admit(layers, x, batch_axis, model=model)
    raise_where_forward_breaks(entries, x)
    # networks are drawn from small seeds too, and a vector that is a row of the weights is not random
    key = jax.random.fold_in(as_key(key), APART)
    return _summary(entries, x, key, limit, steps, probes, at_work(memory))


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _summary(entries, x, key, limit: int, steps: int, probes: int, work: int) -> SingularValueSummary:
    def step(h, layer, _):
        own = layer_summary(layer, h, key, limit, steps, probes, work) if is_differentiable(h) else None
        return layer(h), own

    def whole(entries, x):
        found = fold(entries, x, step)[1]
        fields = zip(*[f or [None] * len(SingularValueSummary._fields) for f in found], strict=True)
        return SingularValueSummary(*(joined(entries, list(values)) for values in fields))

    with jax.default_matmul_precision(HIGHEST):
        return over_examples(whole, entries, x, one_by_one)


def layer_summary(layer, h, key, limit: int, steps: int, probes: int, work: int) -> SingularValueSummary:
    """Of one layer at one activation, in a trace; NaN in gives NaN (see `singular_value_summary`).

    It would not by itself: the slope of a ReLU at a NaN is 0 to JAX, and its singular values nothing but zeros.
    """
    function, flat = flattened(layer, h)
    out = jax.eval_shape(function, flat)
    if out.size * flat.size <= limit:
        found = _from_values(jacobian(layer, h, work))
    else:
        starts = jax.random.normal(key, (probes, min(out.size, flat.size)), norm_dtype(flat))
        unit = max(float(jnp.finfo(dtype).eps) for dtype in (flat.dtype, out.dtype))
        found = _from_nodes(_nodes(layer, h, starts, steps), starts.shape[1], unit)
    broken = jnp.any(jnp.isnan(flat))
    marks = (*(jnp.nan,) * 3, *(jnp.inf,) * 3, found.estimated)
    return SingularValueSummary(*(jnp.where(broken, mark, value) for mark, value in zip(marks, found, strict=True)))


def _from_values(matrix: Array) -> SingularValueSummary:
    """Of a formed Jacobian; zero rows and columns are rank that is lost for certain, as dead units make it."""
    matrix = matrix.astype(norm_dtype(matrix))  # no SVD takes 16 bits
    values = jnp.linalg.svd(matrix, compute_uv=False)
    count = values.size
    rank = jnp.minimum(*(jnp.sum(jnp.any(matrix != 0, axis=axis)) for axis in (0, 1)))
    values = jnp.where(jnp.arange(count) < rank, values, 0)
    rounding = max(matrix.shape) * float(jnp.finfo(values.dtype).eps) * values[0]
    chosen = values[jnp.array([0, (count - 1) // 2, count - 1])]
    off = jnp.where(chosen > rounding, -jnp.log1p(-rounding / jnp.where(chosen > rounding, chosen, jnp.inf)), jnp.inf)
    logs, errors = jnp.log(chosen), jnp.where(chosen == 0, 0, off)
    return SingularValueSummary(logs[0], logs[1], logs[2], errors[0], errors[1], errors[2], jnp.array(False))


def _nodes(layer, h, starts: Array, steps: int) -> Nodes:
    """What each random vector sees, from the side of J that is the smaller one."""
    at, (function, flat) = linearize(layer, h), flattened(layer, h)
    one_dtype = flat.dtype == starts.dtype == jax.eval_shape(function, flat).dtype  # if not, `at` casts
    plain = one_dtype and has_forward_mode(function, flat)
    forward = jax.linearize(function, flat)[1] if plain else at.jvp
    there, back = (forward, at.vjp) if flat.size == starts.shape[1] else (at.vjp, forward)
    return jax.lax.map(lambda start: quadrature(there, back, start, min(steps, start.size)), starts)


def _from_nodes(nodes: Nodes, count: int, unit: float) -> SingularValueSummary:
    """The estimates, and their errors, from what some random vectors saw of `count` values, to the layer's rounding."""
    probes, steps = nodes.values.shape
    done, tiny = jnp.any(nodes.exhausted), count * unit
    largest = jnp.max(nodes.values[:, -1])
    nodes = nodes._replace(values=jnp.where(nodes.values > 8 * tiny / count**0.5 * largest, nodes.values, 0))
    smallest = jnp.min(nodes.values[:, 0])
    # relative error of the squared value, exceeded by all probes at once with the chance UNLIKELY
    share = np.log(1.648 * count**0.5 / UNLIKELY ** (1 / probes)) / (2 * steps - 1)
    of_largest = jnp.where(done, tiny, float(-np.log1p(-min(share**2, 1 - 1e-9)) / 2))
    low, middle, high = _median(nodes, count, largest * jnp.exp(of_largest))
    beside = jnp.maximum(jnp.log(high / middle), jnp.log(middle / low))
    of_median = jnp.where(high > low, jnp.where(low > 0, beside, jnp.inf), tiny)
    exact = jnp.where(smallest > 0, tiny * largest / jnp.where(smallest > 0, smallest, 1), 0)
    of_smallest = jnp.where((smallest == 0) | (done & (exact < 1)), exact, jnp.inf)
    logs, errors = jnp.log(jnp.stack([largest, middle, smallest])), jnp.stack([of_largest, of_median, of_smallest])
    return SingularValueSummary(logs[0], logs[1], logs[2], errors[0], errors[1], errors[2], jnp.array(True))


def _median(nodes: Nodes, count: int, most: Array) -> tuple[Array, Array, Array]:
    """Below, at and above the median: a random unit vector has half of its weight below it, to 1 / √(2 count + 4)."""
    values, sums, done = nodes.values, jnp.cumsum(nodes.weights, axis=1), nodes.exhausted[:, None]
    slack = DEVIATIONS / (2 * count + 4) ** 0.5

    def reaching(part):
        """The first node at which the sum of weights is that large."""
        return jnp.min(jnp.where(sums >= part, values, most), axis=1, keepdims=True)

    # the distribution function lies between the sums before and behind a node; where all values were seen, on them
    below = jnp.max(jnp.where(sums < 0.5 - slack, values, 0), axis=1, keepdims=True)
    above = jnp.min(jnp.where(sums - nodes.weights >= 0.5 + slack, values, most), axis=1, keepdims=True)
    low = jnp.max(jnp.where(done, reaching(0.5 - slack), below))
    high = jnp.min(jnp.where(done, reaching(0.5 + slack), above))
    # between nodes it is taken to rise evenly, from the middle of one weight to that of the next
    even = jax.vmap(lambda x, f: jnp.interp(0.5, f, x))(values, sums - nodes.weights / 2)[:, None]
    return low, jnp.clip(jnp.mean(jnp.where(done, reaching(0.5), even)), low, high), high
