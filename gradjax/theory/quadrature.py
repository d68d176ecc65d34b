"""Gaussian averages of any scalar function, to rounding: where it bends sharply the integral is split.

Plain Gauss-Hermite is not accurate here: with 200 nodes chi_1 of tanh at (4, 0.3) is off by 0.3 %, of hard tanh by up
to 17 %. So the line is cut once per activation, in the activation's own coordinate, into panels on which phi, phi' and
phi'' are polynomials of degree 16 to 12 digits; bisection towards a kink finds it to rounding. For every Gaussian
these panels are merged with unit panels of the standardized variable, and each carries a Gauss-Legendre rule.

Functions are evaluated by JAX in float64 whatever the x64 flag; only NumPy arrays cross the boundary, because a JAX
array that leaks out of the context is demoted by the next operation.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from gradjax.activations import Activation, resolve
from gradjax.arguments import real, reals, said, whole
from gradjax.platforms import in_doubles

CUTOFF = 13.0  # the standard normal density there is 8e-38
DEGREE = 16
RESOLUTION = 1e-12
NARROWEST = 4e-13  # a kink is bracketed to this width, relative to max(1, |x|)
SINGULAR = 1e-6  # panels that had to be narrower than this surround a kink, not a feature
PANEL_LIMIT = 8192
SMALLEST_CALL = 1024

GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(DEGREE)
CHEBYSHEV_NODES = -np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)
TO_COEFFICIENTS = np.linalg.inv(np.polynomial.chebyshev.chebvander(CHEBYSHEV_NODES, DEGREE))
APPROACHING_NODES = np.concatenate([s * (1 - 10.0 ** -np.arange(8)) for s in (-1, 1)])  # narrow features at an end
UNIT_EDGES = np.arange(-CUTOFF, CUTOFF + 1)


class Partition(NamedTuple):
    """The line cut where an activation changes its polynomial: ascending edges, and the kinks among them."""

    edges: np.ndarray
    kinks: np.ndarray


class Rule(NamedTuple):
    """Nodes z ~ N(0, 1), x = mean + std z, and the weights that average over them; nodes along the last axis."""

    z: np.ndarray
    x: np.ndarray
    weights: np.ndarray


def as_activation(activation: str | Callable) -> Activation:
    """Return the activation as a hashable `Activation`, looked up by name or wrapped.

    >>> as_activation("hard_tanh").kinks
    (-1.0, 1.0)
    """
    activation = resolve(activation)
    try:
        hash(activation)
    except TypeError as error:
        raise ValueError(f"activation={activation!r} must be hashable; wrap it in a lambda") from error
    return activation if isinstance(activation, Activation) else Activation(activation)


def _admitted(activation: Activation) -> Activation:
    if not isinstance(activation, Activation):
        raise ValueError(f"activation is {said(activation)}, expected an Activation, which as_activation makes")
    return activation


@functools.lru_cache(maxsize=256)
def _compiled(activation: Activation, order: int) -> Callable:
    function = activation.fn
    for _ in range(order):
        function = jax.grad(function)
    return jax.jit(jax.vmap(function))


def evaluate(activation: Activation, x: np.ndarray, order: int = 0) -> np.ndarray:
    """Return the derivative of this order (0, 1, 2) of an activation at every element of x, in float64.

    >>> evaluate(as_activation("linear"), np.array([0.5, 2.0]), order=1)
    array([1., 1.])
    """
    activation = _admitted(activation)
    x, order = reals("x", x, None), whole("order", order, 0, 2)
    # lengths in powers of two, filled up with what is there already: every other length would be compiled anew
    padded = np.resize(x, max(SMALLEST_CALL, 1 << (x.size - 1).bit_length())) if x.size else np.zeros(SMALLEST_CALL)
    try:
        with in_doubles():
            values = np.asarray(_compiled(activation, order)(padded))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"activation {activation.__name__} or its derivative cannot be taken at a float64 scalar ({error}); "
            "expected an elementwise function that keeps shape and dtype"
        ) from error
    if values.dtype != np.float64 or values.shape != padded.shape:
        raise ValueError(
            f"activation {activation.__name__} maps a float64 scalar to {values.dtype} of shape {values.shape[1:]}; "
            "expected an elementwise function that keeps shape and dtype"
        )
    return values[: x.size].reshape(x.shape)


def _samples(activation: Activation, x: np.ndarray) -> np.ndarray:
    """Phi, phi' and phi'', stacked."""
    return np.stack([evaluate(activation, x, order) for order in range(3)])


def _bisect(activation: Activation, edges: np.ndarray, narrowest: float, inset: float) -> np.ndarray:
    """Halve panels until phi, phi', phi'' are resolved on each, relative to their size up to four times as far out.

    Relative to the panel alone it would not end: 1 - tanh^2 is rounding noise beyond x = 19. That size is learnt as
    narrow features come to light.
    """
    left, right, root, done = edges[:-1], edges[1:], np.arange(len(edges) - 1), []
    reach = np.maximum(abs(left), abs(right))
    near = reach[:, None] <= 4 * reach
    middle, half = (left + right) / 2, (right - left) / 2
    peak = np.abs(_samples(activation, middle[:, None] + half[:, None] * APPROACHING_NODES)).max(axis=-1)
    while len(left):
        size = np.maximum(1.0, np.maximum(abs(left), abs(right)))
        # an edge that is a kink belongs to one side only: stepping inside keeps the other side's panel smooth
        middle, half = (left + right) / 2, (right - left) / 2 - inset * size
        values = _samples(activation, middle[:, None] + half[:, None] * CHEBYSHEV_NODES)
        _require_finite(activation, middle, values)
        for order in range(3):
            np.maximum.at(peak[order], root, np.abs(values[order]).max(axis=-1))
        scale = np.where(near, peak[:, :, None], 0.0).max(axis=1)[:, root]
        tail = np.abs(values @ TO_COEFFICIENTS.T)[..., -3:].max(axis=-1)
        keep = (tail <= RESOLUTION * scale).all(axis=0) | (right - left <= narrowest * size)
        done.append(left[keep])
        left, middle, right, root = left[~keep], middle[~keep], right[~keep], np.tile(root[~keep], 2)
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        if sum(map(len, done)) + len(left) > PANEL_LIMIT:
            raise ValueError(
                f"activation {activation.__name__} has too much structure on [{edges[0]:g}, {edges[-1]:g}] "
                f"for {PANEL_LIMIT} panels of degree {DEGREE}"
            )
    return np.append(np.sort(np.concatenate(done)), edges[-1])


def _require_finite(activation: Activation, middle: np.ndarray, values: np.ndarray) -> None:
    finite = np.isfinite(values[:2]).all(axis=(0, 2))
    if not finite.all():
        where = middle[~finite][0]
        raise ValueError(f"activation {activation.__name__} or its derivative is not finite near x = {where:.6g}")


def _singular_points(edges: np.ndarray, declared: tuple[float, ...]) -> np.ndarray:
    """One point for each cluster of panels that had to be very narrow, rounded where a short decimal fits."""
    widths, middles = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    size = np.maximum(1.0, abs(middles))
    points = list(declared)
    for index in np.argsort(widths / size):
        if widths[index] > SINGULAR * size[index]:
            break
        point = round(float(middles[index]), 9)
        point = point if abs(point - middles[index]) <= widths[index] else float(middles[index])
        if all(abs(point - other) > 8 * SINGULAR * size[index] for other in points):
            points.append(point)
    return np.sort(points) + 0.0  # -0.0 becomes 0.0


def partition(activation: Activation, reach: float) -> Partition:
    """Return the panels of [-reach, reach] on which an activation and two derivatives are smooth, and its kinks.

    Undeclared kinks are found; a declared one outside the reach is left out.

    >>> partition(Activation(lambda x: abs(x - 0.3)), 16.0).kinks
    array([0.3])
    """
    return _partition(_admitted(activation), real("reach", reach, "(0, inf)"))


@functools.lru_cache(maxsize=256)
def _partition(activation: Activation, reach: float) -> Partition:
    powers = 2.0 ** np.arange(0, np.log2(max(reach, 1.0)) + 1)
    roots = np.concatenate([-powers[::-1], [0.0], powers])
    declared = tuple(kink for kink in activation.kinks if abs(kink) < reach)
    kinks = _singular_points(_bisect(activation, np.union1d(roots, declared), NARROWEST, 0.0), declared)
    return Partition(_bisect(activation, np.union1d(roots, kinks), SINGULAR, 1e-13), kinks)


def partition_for(activation: Activation, largest: float) -> Partition:
    """Return a partition that covers |x| <= largest; reaches come in powers of four, so few are ever computed."""
    largest = real("largest", largest, "[0, inf)")
    return partition(activation, 16.0 * 4.0 ** max(0, np.ceil(np.log(max(largest, 1e-300) / 16) / np.log(4))))


def gaussian_rule(edges: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float) -> Rule:
    """Return nodes and weights of E f(mean + std z), z ~ N(0, 1), split at edges; mean and std are arrays alike.

    >>> rule = gaussian_rule(np.array([0.0]), 0.0, 2.0)
    >>> bool(abs(rule.weights @ abs(rule.x) - 2 * (2 / np.pi) ** 0.5) < 1e-14)
    True
    """
    edges, mean, std = reals("edges", edges), reals("mean", mean)[..., None], reals("std", std, "(0, inf)")[..., None]
    own = np.clip((edges - mean) / std, -CUTOFF, CUTOFF)
    unit = np.broadcast_to(UNIT_EDGES, (*own.shape[:-1], len(UNIT_EDGES)))
    cuts = np.sort(np.concatenate([own, unit], axis=-1), axis=-1)
    half, middle = np.diff(cuts)[..., None] / 2, (cuts[..., 1:] + cuts[..., :-1])[..., None] / 2
    z = (middle + half * GAUSS_NODES).reshape(*cuts.shape[:-1], (cuts.shape[-1] - 1) * DEGREE)
    weights = (half * GAUSS_WEIGHTS).reshape(z.shape) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return Rule(z, mean + std * z, weights)
