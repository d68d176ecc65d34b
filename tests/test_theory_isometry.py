"""Spectra of wide networks against closed forms, power series, and products of random matrices."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.special import ndtri

from gradjax.activations import Activation
from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.theory.isometry import (
    fuss_catalan_density,
    fuss_catalan_moment,
    isometric_point,
    largest_squared_singular_value,
    limit_largest_squared_singular_value,
    limit_squared_singular_value_density,
    linear_gaussian_edge,
    lyapunov_spectrum,
    squared_singular_value_density,
    squared_singular_value_moments,
    squared_singular_value_variance,
    universality_class,
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


def random_product(activation_slopes, weights, depth, width, seed):
    """Squared singular values of prod D W; the slopes take their quantiles in random order, so no share fluctuates."""
    rng = np.random.default_rng(seed)
    quantiles = ndtri((np.arange(width) + 0.5) / width)
    product = np.eye(width)
    for _ in range(depth):
        gaussian = rng.standard_normal((width, width))
        w = gaussian / np.sqrt(width) if weights == "gaussian" else np.linalg.qr(gaussian)[0]
        product = activation_slopes(rng.permutation(quantiles))[:, None] * (w @ product)
    return np.linalg.svd(product, compute_uv=False) ** 2


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


@pytest.mark.parametrize(("name", "variance"), [("hard_tanh", 0.25), ("hard_tanh", 2.0), ("tanh", 0.25), ("erf", 2.0)])
def test_the_double_scaling_limit_is_approached(name, variance):
    """The distance to the limit falls in proportion to q, so as 1/depth (Bernoulli: 1/depth) with the point retuned."""
    universality = universality_class(name)
    limit = limit_largest_squared_singular_value(universality, variance)
    errors = []
    for depth in (256, 4096):
        point = isometric_point(name, depth, variance)
        np.testing.assert_allclose(
            squared_singular_value_variance(name, "orthogonal", depth, point.q), variance, rtol=1e-9
        )
        errors.append(abs(largest_squared_singular_value(name, "orthogonal", depth, point.q) / limit - 1))
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.02


def test_random_product_near_isometry():
    """tanh, variance 0.25 at depth 32, N = 100: second and third moment."""
    point = isometric_point("tanh", 32, 0.25)
    values = random_product(lambda z: point.weight_std / np.cosh(np.sqrt(point.q) * z) ** 2, "orthogonal", 32, 100, 0)
    ratios = [np.mean(values**k) / np.mean(values) ** k for k in (2, 3)]
    np.testing.assert_allclose(
        ratios, squared_singular_value_moments("tanh", "orthogonal", 32, point.q, 3)[1:], rtol=0.03
    )


@pytest.mark.parametrize(
    ("universality", "variance"), [("smooth", 0.25), ("smooth", 2.0), ("bernoulli", 0.25), ("bernoulli", 2.0)]
)
def test_limit_densities(universality, variance):
    """Mass 1 and variance as asked; third moment from the S-transform: exp(-v z) gives 1 + 3v + 1.5 v^2."""
    edge = limit_largest_squared_singular_value(universality, variance)
    root = np.linspace(0, np.sqrt(np.log(edge) + 400), 6001)[1:]
    x = edge * np.exp(-(root**2))
    density = limit_squared_singular_value_density(universality, variance, x)
    measure = density.values * 2 * root * x * (root[1] - root[0])
    moments = [measure @ x**k + sum(mass * place**k for place, mass in density.atoms) for k in range(4)]
    third = 1 + 3 * variance + 1.5 * variance**2 + (0 if universality == "smooth" else -variance)
    np.testing.assert_allclose(moments[1:], [1, 1 + variance, third], rtol=3e-3)
    if universality == "smooth" or variance < 1:
        np.testing.assert_allclose(moments[0], 1, rtol=3e-3)


def test_universality_classes():
    for name in ("tanh", "erf", "scaled_erf"):
        assert universality_class(name) == "smooth"
    assert universality_class("hard_tanh") == "bernoulli"
    for name in ("relu", "leaky_relu", "selu"):
        with pytest.raises(ValueError, match="reaches no isometry"):
            universality_class(name)


def test_lyapunov_spectrum_closed_forms():
    x = np.array([0.0, 0.2, 0.4, 0.499])
    exact = np.log(1.5**2 * (0.5 - x)) / 2
    np.testing.assert_allclose(lyapunov_spectrum("relu", 1.5, 0.1, x), exact, atol=1e-12)
    assert (lyapunov_spectrum("relu", 1.5, 0.1, [0.5, 0.9]) == -np.inf).all()
    np.testing.assert_allclose(lyapunov_spectrum("linear", 1.3, 0.0, x), np.log(1.69 * (1 - x)) / 2, atol=1e-12)
    np.testing.assert_allclose(lyapunov_spectrum("linear", 1.3, 0.0, x, weights="orthogonal"), np.log(1.3), atol=1e-10)
    # the hard tanh is a gate that is open with probability p: (p - x) again
    q = 1.7
    p = float(mpmath.erf(1 / mpmath.sqrt(2 * q)))
    np.testing.assert_allclose(lyapunov_spectrum("hard_tanh", 1.1, 0.1, x, q=q), np.log(1.21 * (p - x)) / 2, atol=1e-12)


def test_lyapunov_spectrum_against_exact_finite_width_and_simulation():
    width = 100
    x = (np.arange(width) + 0.5) / width
    difference = lyapunov_spectrum("linear", 2.0, 0.0, x) - gaussian_product_exponents(width, 2.0)
    # psi(m/2) = ln(m/2) - 1/m + ..., taken at the middle of the rank: a quarter of 1/m
    np.testing.assert_allclose(difference[:90], 0.25 / np.arange(width, 10, -1), rtol=0.15)
    # tanh at g = 3: feed-forward Jacobians with independent Gaussian pre-activations
    from gradjax.theory.meanfield import length_fixed_point

    std, depth = 3.0, 300
    q = length_fixed_point("tanh", std, 0.0)
    rng = np.random.default_rng(0)
    frame, logs = np.eye(width), np.zeros(width)
    for _ in range(depth):
        weights = rng.standard_normal((width, width)) * std / np.sqrt(width)
        slopes = 1 / np.cosh(np.sqrt(q) * rng.standard_normal(width)) ** 2
        frame, r = np.linalg.qr(slopes[:, None] * (weights @ frame))
        logs += np.log(np.abs(np.diag(r)))
    difference = logs / depth - lyapunov_spectrum("tanh", std, 0.0, x)
    # rms over the top 90 %; one direction fluctuates by about 0.5 / sqrt(depth) = 0.03, times the spread of ln phi'
    assert np.sqrt(np.mean(difference[:90] ** 2)) < 0.06


def test_the_first_exponent_is_half_the_log_gain():
    from gradjax.theory.meanfield import gradient_gain

    for name in ("tanh", "erf", "hard_tanh", "elu"):
        top = lyapunov_spectrum(name, 1.3, 0.2, [0.0, 1e-9])
        np.testing.assert_allclose(top, np.log(gradient_gain(name, 1.3, 0.2)) / 2, atol=1e-7)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="weights='uniform'"):
        squared_singular_value_variance("tanh", "uniform", 3, 1.0)
    with pytest.raises(ValueError, match="depth=0"):
        largest_squared_singular_value("tanh", "gaussian", 0, 1.0)
    with pytest.raises(ValueError, match="q=0"):
        squared_singular_value_variance("tanh", "gaussian", 3, 0)
    with pytest.raises(ValueError, match="grid"):
        squared_singular_value_density("tanh", "gaussian", 3, 1.0, [0.0, 1.0])
    with pytest.raises(ValueError, match="one orthogonal layer"):
        squared_singular_value_density("tanh", "orthogonal", 1, 1.0, [0.5])
    with pytest.raises(ValueError, match="fractions"):
        lyapunov_spectrum("tanh", 1.5, 0.1, [1.5])
    with pytest.raises(ValueError, match="universality='relu'"):
        limit_largest_squared_singular_value("relu", 1.0)
    with pytest.raises(ValueError, match="slope zero almost everywhere"):
        squared_singular_value_variance(Activation(jnp.zeros_like), "gaussian", 3, 1.0)
    with pytest.raises(ValueError, match="angles"):
        fuss_catalan_density(2, [2.0])
    with pytest.raises(ValueError, match="reaches no variance"):
        isometric_point("linear", 3, 0.5)
