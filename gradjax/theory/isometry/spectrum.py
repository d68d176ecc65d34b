"""Edge, atoms and density of the spectrum of J J^T at finite depth, for any activation.

The moment function M(x) = int l / (x - l) rho(l) dl solves x = ((1 + z) / z) / S(z), z = M(x). Written in the
parameter u with z = E[d / (u - d)], d the normalized slope law, no S-transform has to be inverted:

    ln x = ln((1 + z) / z) + depth ln(z u)                 Gaussian weights
    ln x = ln((1 + z) / z) + depth ln(z u / (1 + z))       orthogonal weights

The edge is where this is stationary on the real line, the density the imaginary part of the branch that leaves there.
Pennington, Schoenholz, Ganguli (2017, arXiv:1711.04735; 2018, arXiv:1802.09979).
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import reals
from gradjax.theory.isometry.branch import Branch, edge_of, trace, trace_above
from gradjax.theory.isometry.moments import check
from gradjax.theory.isometry.slopes import SlopeLaw, slope_law

FADED = 1e-9
FAINT = 1e-6  # an edge held by less mass is one that no network of moderate width would show
SCAN = np.linspace(-46.0, 46.0, 369)


class Density(NamedTuple):
    """Density of the eigenvalues of J J^T on a grid, and the (place, mass) of every eigenvalue with a mass."""

    values: np.ndarray
    atoms: tuple[tuple[float, float], ...]


def _branch(law: SlopeLaw, gaussian: bool, depth: int) -> Branch:
    def log_map(u):
        resolvent = law.weights / (u[..., None] - law.values)
        z = (resolvent * law.values).sum(axis=-1)
        beside = u * resolvent.sum(axis=-1)  # 1 + z, which would cancel where z is close to -1
        slope = -(resolvent * law.values / (u[..., None] - law.values)).sum(axis=-1)
        inner = slope / z if gaussian else slope / (z * beside)
        value = np.log(beside / z) + depth * np.log(z * u if gaussian else z * u / beside)
        return value, -slope / (z * beside) + depth * (inner + 1 / u)

    def one_plus_moment(u):
        return u * (law.weights / (u[..., None] - law.values)).sum(axis=-1)

    return Branch(one_plus_moment, log_map)


def _atoms(law: SlopeLaw, gaussian: bool, depth: int) -> tuple[tuple[float, float], ...]:
    """Free products keep a common atom of mass m as 1 - depth (1 - m); an atom at zero keeps its mass."""
    found = []
    for place, mass in law.atoms:
        if place == 0:
            found.append((0.0, mass))
        elif not gaussian and 1 - depth * (1 - mass) > 1e-12:
            found.append((place**depth, 1 - depth * (1 - mass)))
    return tuple(found)


def _edge(law: SlopeLaw, gaussian: bool, depth: int) -> tuple[float, float] | None:
    """The outermost stationary point u of ln x, and ln x there: above the largest slope, or below it if an atom.

    None where there is no clean edge: see `trace_above`.
    """
    common = [1 - depth * (1 - mass) for place, mass in law.atoms if place > 0 and not gaussian]
    top = law.values[-1]
    topmost = bool(law.atoms) and law.atoms[-1][0] == top
    if any(abs(excess) < 1e-9 for excess in common) or any(excess > 0 for excess in common[: len(common) - topmost]):
        return None
    branch = _branch(law, gaussian, depth)
    if not (topmost and common and common[-1] > 0):
        edge = edge_of(branch, top * (1 + np.exp(SCAN[::-1])))
        held = edge and law.weights[law.values > top - 4 * (edge[0] - top)].sum()  # what holds the edge where it is
        return edge if held and held > FAINT else None
    below = law.values[-2]
    return edge_of(branch, below + (top - below) / (1 + np.exp(SCAN)))


def _fading_end(branch: Branch, highest: float) -> float:
    """Where x times the density has fallen to 1e-9, for a spectrum that fades out instead of ending."""
    low, high = 0.0, np.log(highest) + 5.0
    for _ in range(4):
        grid = np.linspace(low, high, 65)
        dense = np.flatnonzero(trace_above(branch, np.exp(grid)) * np.exp(grid) > FADED)
        last = dense[-1] if len(dense) else 0
        low, high = grid[last], grid[min(last + 1, 64)]
    return float(np.exp(low))


def largest_squared_singular_value(activation, weights: str, depth: int, q: float) -> float:
    """Return the upper end of the spectrum of J J^T at infinite width, with chi_1 = 1.

    The stationary point of x(u) above; with orthogonal weights also an atom at (max phi'^2 / E phi'^2)^depth of mass
    1 - depth (1 - m). Where the steepest slopes lie far out in the Gaussian tail (softplus at small q) the spectrum
    fades instead of ending, and the place is returned where x times its density has fallen to 1e-9. Closed forms:
    (L+1)^(L+1) / L^L for a linear Gaussian network, ((1-p)/p) L^L / (L-1)^(L-1) for an orthogonal one whose gates are
    open with probability p.

    Args:
        activation: a callable, an `Activation`, or a name.
        weights: 'gaussian' or 'orthogonal'.
        depth: number of layers L, at least 1.
        q: mean squared pre-activation, above 0.

    Reference: Pennington, Schoenholz, Ganguli (2017, arXiv:1711.04735).

    >>> round(largest_squared_singular_value("linear", "gaussian", 1, 1.0), 9)
    4.0
    """
    gaussian, depth = check(weights, depth)
    law = slope_law(activation, q)
    atoms = _atoms(law, gaussian, depth)
    top = max((place for place, _ in atoms), default=0.0)
    if sum(mass for _, mass in atoms) > 1 - 1e-12:
        return float(top)
    edge = _edge(law, gaussian, depth)
    if edge is not None:
        return float(max(top, np.exp(edge[1])))
    if (
        not gaussian
        and law.atoms
        and abs(1 - depth * (1 - law.atoms[-1][1])) < 1e-9
        and law.atoms[-1][0] == law.values[-1]
    ):
        return float(law.values[-1] ** depth)  # the atom is about to appear there
    return max(top, _fading_end(_branch(law, gaussian, depth), float(law.values[-1]) ** depth))


def linear_gaussian_edge(depth: int) -> float:
    """Return (L+1)^(L+1) / L^L, the largest squared singular value of a product of L Gaussian matrices.

    In logs, so no power overflows; it grows as e (L + 1/2).

    >>> linear_gaussian_edge(1)
    4.0
    """
    _, depth = check("gaussian", depth)
    return float(np.exp(np.log(depth + 1) + depth * np.log1p(1 / depth)))


def squared_singular_value_density(activation, weights: str, depth: int, q: float, grid) -> Density:
    """Return the density of the eigenvalues of J J^T on a grid, and the atoms beside it, with chi_1 = 1.

    Args:
        activation: a callable, an `Activation`, or a name.
        weights: 'gaussian' or 'orthogonal'.
        depth: number of layers, at least 1.
        q: mean squared pre-activation, above 0.
        grid: eigenvalues, above 0, any order.

    Raises:
        ValueError: an argument out of range, or one orthogonal layer with a slope that varies (its spectrum is the
            law of phi'^2 itself).

    Reference: Pennington, Schoenholz, Ganguli (2017, arXiv:1711.04735; 2018, arXiv:1802.09979).

    >>> law = squared_singular_value_density("linear", "gaussian", 1, 1.0, [1.0])  # Marchenko-Pastur
    >>> round(float(law.values[0]) * 2 * np.pi, 9) == round(3 ** 0.5, 9)
    True
    """
    gaussian, depth = check(weights, depth)
    grid = reals("grid", grid, "(0, inf)", ranks=(1,))
    law = slope_law(activation, q)
    atoms = _atoms(law, gaussian, depth)
    if depth == 1 and not gaussian:
        if sum(mass for _, mass in law.atoms) < 1 - 1e-9:
            raise ValueError("one orthogonal layer has the law of phi'^2 itself as its spectrum; ask for depth >= 2")
        return Density(np.zeros_like(grid), atoms)
    if sum(mass for _, mass in atoms) > 1 - 1e-12:
        return Density(np.zeros_like(grid), atoms)
    branch = _branch(law, gaussian, depth)
    edge = _edge(law, gaussian, depth)
    if edge is None:
        return Density(trace_above(branch, grid), atoms)
    return Density(trace(branch, *edge, grid), atoms)
