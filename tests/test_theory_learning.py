"""Learning times against integrated dynamics and gradient descent; clipped against constant steps."""

import mpmath
import numpy as np
import pytest

from gradjax.theory.learning import (
    clipped_complexity,
    clipped_step,
    cosh_constant_steps,
    cosh_steps,
    largest_stable_step,
    mode_strength,
    mode_time,
)


@pytest.mark.parametrize(("layers_of_neurons", "time"), [(3, 3.4534), (5, 15.5292), (10, 30.909), (30, 23.1177)])
def test_recorded_times(layers_of_neurons, time):
    """Saxe et al. (2014) count layers of neurons: N_l = 3 has two weight matrices."""
    np.testing.assert_allclose(mode_time(1.0, 1e-3, 0.5, layers_of_neurons - 1), time, atol=5e-4)


@pytest.mark.parametrize("weights", [1, 2, 3, 7, 50])
def test_time_against_arbitrary_precision(weights):
    s, u0, uf = mpmath.mpf(2), mpmath.mpf("0.01"), mpmath.mpf("1.9")
    exact = mpmath.quad(lambda u: 1 / (weights * u ** (2 - mpmath.mpf(2) / weights) * (s - u)), [u0, 0.05, 0.3, 1, uf])
    np.testing.assert_allclose(mode_time(2.0, 0.01, 1.9, weights), float(exact), rtol=1e-11)


def test_many_weights():
    """D times the time tends to the closed form of infinite depth."""
    limit = mode_time(1.0, 0.1, 0.9, np.inf)
    gaps = [abs(weights * mode_time(1.0, 0.1, 0.9, weights) / limit - 1) for weights in (100, 1000)]
    np.testing.assert_allclose(gaps[0] / gaps[1], 10, rtol=0.05)
    assert gaps[1] < 0.01


@pytest.mark.parametrize("weights", [2, 4])
def test_gradient_descent_on_a_balanced_chain(weights):
    """The product of D equal scalars trained on (s - u)^2 / 2: steps times learning rate, to first order in it."""
    rate, s, a, steps = 1e-3, 1.0, 1e-3 ** (1 / weights), 0
    while a**weights < 0.5:
        a += rate * a ** (weights - 1) * (s - a**weights)
        steps += 1
    np.testing.assert_allclose(steps * rate, mode_time(s, 1e-3, 0.5, weights), rtol=2e-3)


def test_strength_inverts_time():
    times = [mode_time(1.7, 0.01, u, 2, time_constant=3.0) for u in (0.02, 0.8, 1.69)]
    np.testing.assert_allclose(mode_strength(1.7, 0.01, times, time_constant=3.0), [0.02, 0.8, 1.69], rtol=1e-12)
    assert mode_strength(1.0, 0.5, 1e6) == 1.0  # no overflow


@pytest.mark.parametrize("weights", [2, 5])
def test_the_largest_stable_step_is_sharp(weights):
    """One scalar mode of equal factors: below the limit a small error shrinks, above it grows."""
    s = 1.5
    for factor, stable in ((0.99, True), (1.01, False)):
        rate = factor * largest_stable_step(s, weights)
        factors = np.full(weights, s ** (1 / weights)) + 1e-6
        for _ in range(400):
            product = factors.prod()
            factors = factors + rate * (s - product) * product / factors
        assert (abs(s - factors.prod()) < 1e-6) == stable


def test_clipped_descent_needs_linearly_many_steps():
    """Recorded: exactly 2 x0 + 8 clipped, 24 to 618532 at the largest constant step."""
    constant = {2: 24, 4: 202, 6: 1526, 8: 11321}
    for start in (2, 4, 6, 8, 10, 12):
        assert cosh_steps(start, 1e-3, clipped=True) == 2 * start + 8
        if start in constant:
            assert cosh_steps(start, 1e-3, clipped=False) == constant[start]
            np.testing.assert_allclose(cosh_constant_steps(start, 1e-3), constant[start], atol=9)
    np.testing.assert_allclose(cosh_constant_steps(12, 1e-3), 618532, atol=9)


def test_clipped_step_is_safe_and_the_published_bound_holds():
    for x in np.linspace(0.1, 12, 25):
        gradient = np.sinh(x)
        assert np.cosh(x - gradient * clipped_step(gradient, 1.0, 1.0)) < np.cosh(x)
    assert clipped_step(0.0, 2.0, 1.0) == 0.25
    for start in (2, 8):
        assert cosh_steps(start, 1e-3, clipped=True) < clipped_complexity(1.0, 1.0, np.cosh(start) - 1, 1e-3)


def test_bad_arguments_are_refused():
    for arguments in ((0.0, 0.1, 0.2, 2), (1.0, 0.0, 0.2, 2), (1.0, 0.1, 1.0, 2), (1.0, 0.1, 0.2, 0)):
        with pytest.raises(ValueError, match=r"must|expected"):
            mode_time(*arguments)
    with pytest.raises(ValueError, match=r"start( is |=)20"):
        cosh_steps(20, 1e-3, clipped=True)
    with pytest.raises(ValueError, match=r"tolerance( is |=)2"):
        cosh_steps(2, 2, clipped=True)
    with pytest.raises(ValueError, match=r"tolerance( is |=)9"):
        cosh_constant_steps(2, 9)
    with pytest.raises(ValueError, match=r"curvature( is |=)0"):
        clipped_step(1.0, 0, 1.0)
    with pytest.raises(ValueError, match=r"gradient_norm( is |=)-1"):
        clipped_step(-1, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"gap( is |=)0"):
        clipped_complexity(1.0, 1.0, 0, 1.0)
