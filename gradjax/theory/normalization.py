"""How fast gradients explode through batch-norm, which normalizes the signal and amplifies what comes back.

At the fixed point of a deep network the pre-activations of one unit over a batch of B are, after centring, isotropic
in B - 1 dimensions, so batch-norm puts them on a sphere: y = sqrt(B) n. Its Jacobian is (sqrt(B) / r)(G - n n^T) with
r^2 a scaled chi-squared of B - 1 degrees, independent of n, and the gradients' covariance over the batch settles to a
multiple of the centring projection G = I - 11^T / B. Hence the rate, by averages over one and two coordinates of the
sphere (Yang et al. 2019, arXiv:1902.08129, who do this for ReLU and the identity; here for any activation).
"""

import numpy as np

from gradjax.activations import Activation
from gradjax.arguments import is_number, whole
from gradjax.theory.meanfield.moments import mean_over_gaussian
from gradjax.theory.quadrature import (
    GAUSS_NODES,
    GAUSS_WEIGHTS,
    as_activation,
    evaluate,
    partition_for,
)

PANELS = 24
WIDEST = 14.0  # deviations beyond which cos^k is below the rounding of anything
NEGLIGIBLE = 1e-22
TOWARDS = np.concatenate([-(0.25 ** np.arange(1, 13)), [0.0], 0.25 ** np.arange(1, 13)])


def batchnorm_gradient_rate(activation, batch_size: float) -> float:
    """Return the factor per layer, going back, of the squared gradient norm in a deep network with batch-norm.

    rate = B E tr[(G - n n^T) D G D] / ((B - 1)(B - 3)(E phi(y1)^2 - E phi(y1) phi(y2))), D = diag phi'(y), y on the
    sphere; E phi'(z)^2 / Var phi(z) for an infinite batch. It is never below 1, the weights' scale drops out, and the
    norm itself grows by its square root: sqrt(pi / (pi - 1)) = 1.211 per layer for ReLU and large batches.

    Args:
        activation: a callable, an `Activation`, or a name; applied after batch-norm without shift and scale.
        batch_size: B, a whole number, at least 4 (below, the mean of 1 / r^2 is infinite), or infinity.

    Raises:
        ValueError: a batch size out of range, or an activation that is constant.

    Reference: Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz (2019, arXiv:1902.08129).

    >>> round(batchnorm_gradient_rate("linear", 8), 9)  # (B - 2) / (B - 3)
    1.2
    """
    activation = as_activation(activation)
    if is_number(batch_size) and batch_size == np.inf:
        return _infinite_batch(activation)
    size = whole("batch_size", batch_size, 4, 2**53)
    one, two = _single_averages(activation, size), _pair_averages(activation, size)
    spread = one["square"] - two["product"]
    _require_spread(activation, spread, one["square"])
    open_, radial = one["slope_square"], one["radial"]
    traced = size * (open_ * (1 - 1 / size) - radial)
    shared = size * open_ - (open_ + (size - 1) * two["slopes"]) - size * (radial + (size - 1) * two["radial"])
    return float(size / ((size - 1) * (size - 3) * spread) * (traced - shared / size))


def _infinite_batch(activation: Activation) -> float:
    def integrand(_, x):
        phi = evaluate(activation, x)
        return np.stack([phi, phi**2, evaluate(activation, x, order=1) ** 2])

    mean, square, slope_square = mean_over_gaussian(activation, 1.0, integrand)
    _require_spread(activation, square - mean**2, square)
    return float(slope_square / (square - mean**2))


def _require_spread(activation: Activation, spread: float, square: float) -> None:
    if not spread > 1e-14 * square:
        raise ValueError(f"activation {activation.__name__} is constant: there is nothing to normalize")


def _arc_rule(edges: np.ndarray, power: int, centre: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes y = centre + radius sin(a) and weights of the density cos(a)^power, split where y meets an edge."""
    centre, radius = (np.asarray(value, np.float64)[..., None] for value in (centre, radius))
    end = min(np.pi / 2, WIDEST / np.sqrt(max(power, 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.arcsin(np.clip(np.nan_to_num((edges - centre) / radius), -1, 1))
    even = np.broadcast_to(np.linspace(-end, end, PANELS + 1), (*own.shape[:-1], PANELS + 1))
    cuts = np.sort(np.concatenate([np.clip(own, -end, end), even], axis=-1), axis=-1)
    half, middle = np.diff(cuts)[..., None] / 2, (cuts[..., 1:] + cuts[..., :-1])[..., None] / 2
    angle = (middle + half * GAUSS_NODES).reshape(*cuts.shape[:-1], -1)
    with np.errstate(divide="ignore"):
        weights = (half * GAUSS_WEIGHTS).reshape(angle.shape) * np.exp(power * np.log(np.cos(angle)))
    return centre + radius * np.sin(angle), weights / weights.sum(axis=-1, keepdims=True)


def _single_averages(activation: Activation, size: int) -> dict[str, float]:
    """E phi^2, E phi'^2 and E n1^2 phi'^2 over one coordinate y1 = sqrt(B - 1) t of the sphere, n1^2 = y1^2 / B."""
    radius = np.sqrt(size - 1)
    y, weights = _arc_rule(partition_for(activation, radius).edges, size - 3, np.array(0.0), np.array(radius))
    phi, slope = evaluate(activation, y), evaluate(activation, y, order=1)
    averages = {"square": phi**2, "slope_square": slope**2, "radial": y**2 * slope**2 / size}
    return {name: float(values @ weights) for name, values in averages.items()}


def _pair_averages(activation: Activation, size: int) -> dict[str, float]:
    """E phi1 phi2, E phi1' phi2' and E n1 n2 phi1' phi2' over two coordinates, whose correlation is -1 / (B - 1)."""
    radius, c = np.sqrt(size - 1), -1 / (size - 1)
    edges, kinks = partition_for(activation, radius)
    # where the circle of y2 just touches a kink the inner average has a root of the distance, for small batches
    touching = np.sqrt((1 - c**2) * np.maximum(radius**2 - kinks**2, 0.0))
    touching = np.concatenate([c * kinks + touching, c * kinks - touching])[:, None] + TOWARDS
    y1, outer = _arc_rule(np.union1d(edges, touching), size - 3, np.array(0.0), np.array(radius))
    y1, outer = y1[outer > NEGLIGIBLE], outer[outer > NEGLIGIBLE]
    across = radius * np.sqrt((1 - c**2) * np.maximum(1 - (y1 / radius) ** 2, 0.0))
    y2, inner = _arc_rule(edges, size - 4, c * y1, across)
    phi1, slope1 = evaluate(activation, y1), evaluate(activation, y1, order=1)
    phi2, slope2 = evaluate(activation, y2), evaluate(activation, y2, order=1)
    averages = {
        "product": phi1 * (phi2 * inner).sum(axis=-1),
        "slopes": slope1 * (slope2 * inner).sum(axis=-1),
        "radial": y1 * slope1 * (y2 * slope2 * inner).sum(axis=-1) / size,
    }
    return {name: float(values @ outer) for name, values in averages.items()}
