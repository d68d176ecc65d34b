"""Very deep orthogonal networks near isometry: the spectrum depends on one number and on the activation's class.

depth -> infinity with variance = depth (mu_2 / mu_1^2 - 1) held fixed. S(z) becomes exp(-variance z) for smooth
activations (tanh, erf) and exp(-variance z / (1 + z)) for those exactly linear around zero (hard tanh): the smooth and
the Bernoulli universality class of Pennington, Schoenholz, Ganguli (2018, arXiv:1802.09979).
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import choice, real, reals, whole
from gradjax.theory.isometry.branch import Branch, edge_of, trace
from gradjax.theory.isometry.moments import squared_singular_value_variance
from gradjax.theory.isometry.spectrum import SCAN, Density
from gradjax.theory.meanfield.length import bracketed_root
from gradjax.theory.meanfield.moments import moments
from gradjax.theory.quadrature import as_activation, evaluate, partition_for

CLASSES = ("smooth", "bernoulli")


class IsometricPoint(NamedTuple):
    """Length and weights at which gradients neither grow nor shrink and the spectrum has the variance asked for."""

    q: float
    weight_std: float
    bias_std: float


def _check(universality: str, variance: float) -> float:
    choice("universality", universality, CLASSES)
    return real("variance", variance, "(0, inf)")


def universality_class(activation) -> str:
    """Return 'bernoulli' for an activation exactly linear around zero, 'smooth' for one that bends there.

    Raises:
        ValueError: the slope jumps at zero or is zero there (ReLU): no length brings it near isometry.

    >>> universality_class("hard_tanh"), universality_class("tanh")
    ('bernoulli', 'smooth')
    """
    activation = as_activation(activation)
    partition_for(activation, 1.0)  # refuses what is not finite there
    near, at = (
        evaluate(activation, np.array([-1e-3, -1e-4, 1e-4, 1e-3]), order=1),
        evaluate(activation, np.zeros(1), 1)[0],
    )
    if at == 0 or np.abs(near / at - 1).max() > 0.05:
        raise ValueError(f"activation {activation.__name__} is not close to linear around zero; it reaches no isometry")
    return "bernoulli" if (near == near[0]).all() and at == near[0] else "smooth"


def limit_largest_squared_singular_value(universality: str, variance: float) -> float:
    """Return the largest squared singular value in the limit of depth at fixed variance.

    Bernoulli: e variance above variance 1, else an atom at e^variance. Smooth: ((1+z)/z) e^(variance z) at
    z = (sqrt(1 + 4 / variance) - 1) / 2.

    Reference: Pennington, Schoenholz, Ganguli (2018, arXiv:1802.09979).

    >>> limit_largest_squared_singular_value("bernoulli", 1.0) == np.e
    True
    """
    variance = _check(universality, variance)
    if universality == "bernoulli":
        return float(np.e * variance if variance > 1 else np.exp(variance))
    z = (np.sqrt(1 + 4 / variance) - 1) / 2
    return float((1 + 1 / z) * np.exp(variance * z))


def limit_squared_singular_value_density(universality: str, variance: float, grid) -> Density:
    """Return the density of the eigenvalues of J J^T in the limit of depth at fixed variance, and its atom.

    Args:
        universality: 'smooth' or 'bernoulli'.
        variance: of the eigenvalues over their squared mean, above 0.
        grid: eigenvalues, above 0.

    Reference: Pennington, Schoenholz, Ganguli (2018, arXiv:1802.09979).

    >>> limit_squared_singular_value_density("bernoulli", 0.25, [1.0]).atoms[0][1]
    0.75
    """
    variance, grid = _check(universality, variance), reals("grid", grid, "(0, inf)", ranks=(1,))
    smooth = universality == "smooth"

    def log_map(z):
        exponent, slope = (z, 1.0) if smooth else (z / (1 + z), 1 / (1 + z) ** 2)
        return np.log((1 + z) / z) + variance * exponent, -1 / (z * (1 + z)) + variance * slope

    # the density sits on the lower half plane of z, the conjugate branch has the same size
    branch = Branch(lambda z: 1 + z, log_map)
    edge = edge_of(branch, np.exp(SCAN))
    if edge is None:
        edge = edge_of(branch, -1 - np.exp(SCAN[::-1]))
    atoms = ((float(np.exp(variance)), 1 - variance),) if not smooth and variance < 1 else ()
    return Density(np.zeros_like(grid) if edge is None else trace(branch, *edge, grid), atoms)


def isometric_point(activation, depth: int, variance: float) -> IsometricPoint:
    """Return the critical orthogonal network whose J J^T has this variance: length q, weight_std and bias_std.

    depth (mu_2 / mu_1^2 - 1) = variance fixes q; chi_1 = 1 fixes weight_std, and q' = q the bias.

    Args:
        activation: near linear around zero (see `universality_class`).
        depth: number of layers, at least 1.
        variance: of the eigenvalues over their squared mean, above 0.

    Raises:
        ValueError: an argument out of range, or no such q.

    >>> isometric_point("hard_tanh", 64, 0.25).weight_std < 1.01
    True
    """
    activation = as_activation(activation)
    depth, variance = whole("depth", depth), real("variance", variance, "(0, inf)")
    universality_class(activation)  # refuses what bends at zero

    def excess(q):
        return squared_singular_value_variance(activation, "orthogonal", depth, q) / variance - 1

    lengths = np.geomspace(1e-8, 1e8, 65)
    above = np.flatnonzero(np.array([excess(q) for q in lengths]) > 0)
    if not len(above) or above[0] == 0:
        raise ValueError(f"{activation.__name__} reaches no variance {variance:g} at depth {depth}")
    low, high = float(lengths[above[0] - 1]), float(lengths[above[0]])
    q = bracketed_root(lambda q: (excess(q), (excess(q * 1.00001) - excess(q / 1.00001)) / 2e-5), low, high)
    m = moments(activation, q)
    return IsometricPoint(q, float(m.slope_square**-0.5), float(np.sqrt(max(q - m.square / m.slope_square, 0.0))))
