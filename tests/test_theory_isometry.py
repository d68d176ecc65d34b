"""Spectra of wide networks against closed forms, power series, and products of random matrices."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from random_products import random_product
from scipy.special import ndtri

from gradjax.activations import Activation
from gradjax.theory.isometry import (
    fuss_catalan_density,
    fuss_catalan_moment,
    isometric_point,
    largest_squared_singular_value,
    limit_largest_squared_singular_value,
    linear_gaussian_edge,
    lyapunov_spectrum,
    squared_singular_value_density,
    squared_singular_value_moments,
    squared_singular_value_variance,
)

CASES = [
    ("linear", "gaussian", 1, 1.0),
    ("linear", "gaussian", 7, 1.0),
    ("relu", "gaussian", 3, 1.0),
    ("relu", "orthogonal", 16, 1.0),
    ("hard_tanh", "orthogonal", 8, 0.2),  # an atom above the bulk
    ("hard_tanh", "orthogonal", 64, 0.2),
    ("tanh", "gaussian", 4, 1.0),
    ("tanh", "orthogonal", 5, 0.3),
    ("gelu", "orthogonal", 3, 1.0),
    ("selu", "gaussian", 3, 1.0),
    ("leaky_relu", "orthogonal", 3, 1.0),
    ("softplus", "orthogonal", 8, 0.05),  # no edge: the spectrum fades
]


@pytest.mark.parametrize(
    ("depth", "linear", "relu", "orthogonal"),
    [(16, 44.845, 87.013, 42.126), (32, 88.341, 173.984, 85.622), (128, 349.298, 695.884, 346.580)],
)
def test_edges(depth, linear, relu, orthogonal):
    assert round(largest_squared_singular_value("linear", "gaussian", depth, 1.0), 3) == linear
    assert round(largest_squared_singular_value("relu", "gaussian", depth, 1.0), 3) == relu
    assert round(largest_squared_singular_value("relu", "orthogonal", depth, 1.0), 3) == orthogonal
    np.testing.assert_allclose(largest_squared_singular_value("linear", "orthogonal", depth, 1.0), 1, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 10, 1000, 10**6])
def test_linear_gaussian_edge_in_closed_form(depth):
    exact = mpmath.mpf(depth + 1) * (1 + mpmath.mpf(1) / depth) ** depth
    np.testing.assert_allclose(linear_gaussian_edge(depth), float(exact), rtol=1e-9)
    np.testing.assert_allclose(linear_gaussian_edge(depth), np.e * (depth + 0.5), rtol=0.1 / depth**2 + 1e-9)
    if depth <= 1000:
        np.testing.assert_allclose(
            largest_squared_singular_value("linear", "gaussian", depth, 1.0), float(exact), rtol=1e-9
        )


@pytest.mark.parametrize(("depth", "q"), [(3, 0.2), (8, 0.2), (64, 0.2), (3, 1.0)])
def test_hard_tanh_edge_is_a_stationary_point_or_an_atom(depth, q):
    """((1-p)/p) L^L / (L-1)^(L-1) / p^(L-1) in units of chi_1 = 1 where L (1 - p) > 1, and else an atom at p^-L."""
    p = float(mpmath.erf(1 / mpmath.sqrt(2 * q)))
    atoms = dict(squared_singular_value_density("hard_tanh", "orthogonal", depth, q, [1.0]).atoms)
    np.testing.assert_allclose(atoms[0.0], 1 - p, rtol=1e-12)  # at every depth
    edge = largest_squared_singular_value("hard_tanh", "orthogonal", depth, q)
    if depth * (1 - p) > 1:
        # in the document's units the weights are orthogonal and chi_1 = p per layer
        np.testing.assert_allclose(edge, (1 - p) / p * depth**depth / (depth - 1.0) ** (depth - 1), rtol=1e-10)
        assert len(atoms) == 1
    else:
        np.testing.assert_allclose(edge, p**-depth, rtol=1e-12)
        np.testing.assert_allclose(atoms[edge], 1 - depth * (1 - p), rtol=1e-10)


@pytest.mark.parametrize(("name", "weights", "depth", "q"), CASES)
def test_density_has_its_mass_and_moments(name, weights, depth, q):
    """Mass 1 with the atoms, and the first three moments of the power series, by an integral in sqrt(ln(edge / x))."""
    edge = largest_squared_singular_value(name, weights, depth, q)
    root = np.linspace(0, np.sqrt(np.log(edge) + 160), 601)[1:]  # down to x = e^-160
    x = edge * np.exp(-(root**2))
    density = squared_singular_value_density(name, weights, depth, q, x)
    assert (density.values >= 0).all()
    measure = density.values * 2 * root * x * (root[1] - root[0])
    moments = [measure @ x**k + sum(mass * place**k for place, mass in density.atoms) for k in range(4)]
    series = squared_singular_value_moments(name, weights, depth, q, 3)
    # the rectangle rule on 600 points sees square-root ends and inner edges
    np.testing.assert_allclose(moments, [1, *series], rtol=0.02)
    np.testing.assert_allclose(series[1], 1 + squared_singular_value_variance(name, weights, depth, q), rtol=1e-9)


def test_two_gates_follow_the_arcsine_law():
    """Two free projections of rank 1/2: the angle between them is uniform, just as an atom at the top is to appear."""
    assert largest_squared_singular_value("relu", "orthogonal", 2, 1.0) == pytest.approx(4, rel=1e-12)
    x = np.array([0.01, 0.3, 2.0, 3.7, 3.99])
    law = squared_singular_value_density("relu", "orthogonal", 2, 1.0, x)
    np.testing.assert_allclose(law.values, 1 / (2 * np.pi * np.sqrt(x * (4 - x))), rtol=1e-7)
    assert law.atoms == ((0.0, 0.5),)


def test_a_slope_that_is_zero_in_floats_only_is_no_atom():
    assert squared_singular_value_density("tanh", "orthogonal", 4, 30.0, [1.0]).atoms == ()
    assert len(squared_singular_value_density("hard_tanh", "orthogonal", 4, 30.0, [1.0]).atoms) == 1


def test_a_plateau_of_a_single_panel_is_an_atom():
    """Slope 0 on [1, 2] and 1 elsewhere: two atoms, which are the whole spectrum of one orthogonal layer."""
    step = Activation(lambda x: jnp.minimum(x, 1.0) + jnp.maximum(x - 2.0, 0.0), kinks=(1.0, 2.0))
    flat = float(mpmath.ncdf(2) - mpmath.ncdf(1))
    atoms = squared_singular_value_density(step, "orthogonal", 1, 1.0, [1.0]).atoms
    np.testing.assert_allclose(atoms, [(0, flat), (1 / (1 - flat), 1 - flat)], rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_density_of_gaussian_products_is_fuss_catalan(depth):
    angles = np.linspace(0.02, 0.98, 25) * np.pi / (depth + 1)
    x, exact = fuss_catalan_density(depth, angles)
    ours = squared_singular_value_density("linear", "gaussian", depth, 1.0, x).values
    np.testing.assert_allclose(ours, exact, rtol=1e-6)
    moments = squared_singular_value_moments("linear", "gaussian", depth, 1.0, 6)
    np.testing.assert_allclose(moments, [fuss_catalan_moment(depth, k) for k in range(1, 7)], rtol=1e-12)
    assert (
        squared_singular_value_density("linear", "gaussian", depth, 1.0, [linear_gaussian_edge(depth) * 1.01]).values
        == 0
    ).all()


def test_fuss_catalan_integrates_to_its_moments():
    for depth in (1, 3, 10):
        t = (np.arange(20_000) + 0.5) / 20_000 * np.pi / (depth + 1)
        x, density = fuss_catalan_density(depth, t)
        for k in (0, 1, 2):
            moment = -np.trapezoid(density * x ** (k + 1), np.log(x))
            np.testing.assert_allclose(moment, fuss_catalan_moment(depth, k), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "slopes", "weights", "depth", "q"),
    [
        ("linear", lambda z: np.ones_like(z), "gaussian", 4, 1.0),
        ("relu", lambda z: np.sqrt(2) * (z > 0), "orthogonal", 4, 1.0),
        ("tanh", lambda z: 1 / np.cosh(z) ** 2, "gaussian", 3, 1.0),
        ("selu", lambda z: np.where(z > 0, 1.0, 1.6732632423543772 * np.exp(np.minimum(z, 0))), "orthogonal", 3, 1.0),
    ],
)
def test_random_products_by_kolmogorov_smirnov(name, slopes, weights, depth, q):
    """N = 160, three draws: eigenvalues repel, so the distance is about 1/N, not 1/sqrt(N); edges are not compared."""
    values = np.concatenate(
        [random_product(lambda z: slopes(np.sqrt(q) * z), weights, depth, 160, seed) for seed in range(3)]
    )
    mean = np.mean(slopes(np.sqrt(q) * ndtri((np.arange(10**5) + 0.5) / 10**5)) ** 2) ** depth
    points = np.geomspace(1e-7, largest_squared_singular_value(name, weights, depth, q) * 0.9999, 2001)
    law = squared_singular_value_density(name, weights, depth, q, np.sqrt(points[1:] * points[:-1]))
    tail = 1 - np.append(0, np.cumsum((law.values * np.diff(points))[::-1]))[::-1]
    empirical = (values / mean <= points[:, None]).mean(axis=1)
    assert np.abs(empirical - tail).max() < 0.02
    np.testing.assert_allclose(
        np.var(values) / np.mean(values) ** 2, squared_singular_value_variance(name, weights, depth, q), rtol=0.1
    )


def test_critical_variances():
    """Linear and ReLU: L, 2L, L and 0 (Pennington, Schoenholz, Ganguli 2017); the tails e L / p of the edges."""
    for depth in (1, 4, 32):
        variances = [
            squared_singular_value_variance(name, weights, depth, 1.0)
            for name, weights in (
                ("linear", "gaussian"),
                ("relu", "gaussian"),
                ("relu", "orthogonal"),
                ("linear", "orthogonal"),
            )
        ]
        np.testing.assert_allclose(variances, [depth, 2 * depth, depth, 0], atol=1e-10)
    q = 0.7
    p = float(mpmath.erf(1 / mpmath.sqrt(2 * q)))
    np.testing.assert_allclose(
        squared_singular_value_variance("hard_tanh", "orthogonal", 9, q), 9 * (1 - p) / p, rtol=1e-12
    )
    np.testing.assert_allclose(squared_singular_value_variance("hard_tanh", "gaussian", 9, q), 9 / p, rtol=1e-12)
    deep = 2000
    np.testing.assert_allclose(
        largest_squared_singular_value("hard_tanh", "gaussian", deep, q), np.e * deep / p, rtol=2e-3
    )


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"weights( is |=)'uniform'"):
        squared_singular_value_variance("tanh", "uniform", 3, 1.0)
    with pytest.raises(ValueError, match=r"depth( is |=)0"):
        largest_squared_singular_value("tanh", "gaussian", 0, 1.0)
    with pytest.raises(ValueError, match=r"q( is |=)0"):
        squared_singular_value_variance("tanh", "gaussian", 3, 0)
    with pytest.raises(ValueError, match="grid"):
        squared_singular_value_density("tanh", "gaussian", 3, 1.0, [0.0, 1.0])
    with pytest.raises(ValueError, match="one orthogonal layer"):
        squared_singular_value_density("tanh", "orthogonal", 1, 1.0, [0.5])
    with pytest.raises(ValueError, match="fractions"):
        lyapunov_spectrum("tanh", 1.5, 0.1, [1.5])
    with pytest.raises(ValueError, match=r"universality( is |=)'relu'"):
        limit_largest_squared_singular_value("relu", 1.0)
    with pytest.raises(ValueError, match="slope zero almost everywhere"):
        squared_singular_value_variance(Activation(jnp.zeros_like), "gaussian", 3, 1.0)
    with pytest.raises(ValueError, match="angles"):
        fuss_catalan_density(2, [2.0])
    with pytest.raises(ValueError, match="reaches no variance"):
        isometric_point("linear", 3, 0.5)
