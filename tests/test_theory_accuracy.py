"""1e-8 in q* and in ln chi_1 for anything that can be an activation, against arbitrary precision: the promised digits.

Every named activation with dropout; bare lambdas with kinks and jumps where no rule expects them; several fixed points,
each with its stability; none at all.
"""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mp
from test_theory_meanfield import EXACT, exact_mean

from gradjax.activations import ACTIVATIONS
from gradjax.theory.meanfield import correlation_map, gradient_gain, length_fixed_point, length_fixed_points

DIGITS = 1e-8
BARE = {  # name -> (bare callable, the same in arbitrary precision, its slope, its kinks)
    "shifted ReLU": (
        lambda x: jnp.maximum(x - 0.37, 0.0), lambda x: max(x - mp.mpf("0.37"), 0), lambda x: int(x > mp.mpf("0.37")),
        [0.37],
    ),
    "two far kinks": (
        lambda x: jnp.clip(x, -2.91, 1.13), lambda x: max(mp.mpf("-2.91"), min(mp.mpf("1.13"), x)),
        lambda x: int(mp.mpf("-2.91") < x < mp.mpf("1.13")), [-2.91, 1.13],
    ),
    "a bent sine": (
        lambda x: jnp.abs(jnp.sin(x)), lambda x: abs(mp.sin(x)), lambda x: mp.cos(x) * mp.sign(mp.sin(x)),
        [k * np.pi for k in range(-5, 6)],
    ),
    "a jump": (
        lambda x: jnp.where(x > 0.71, 1.0 + 0.1 * x, 0.2 * x),
        lambda x: 1 + x / 10 if x > mp.mpf("0.71") else x / 5, lambda x: mp.mpf(1) / (10 if x > mp.mpf("0.71") else 5),
        [0.71],
    ),
}  # fmt: skip


def check(activation, phi, slope, kinks, weight_std, bias_std, keep):
    """q* solves its equation, and chi_1 is that of q*, both in arbitrary precision."""
    q = length_fixed_point(activation, weight_std, bias_std, keep_probability=keep)
    image = weight_std**2 / keep * exact_mean(lambda x: phi(x) ** 2, q, kinks) + bias_std**2
    # an error e of q leaves |image - q| = (1 - dq'/dq) e; a twentieth of the promise allows for a slope of 0.95
    np.testing.assert_allclose(image, q, rtol=DIGITS / 20)
    gain = weight_std**2 / keep * exact_mean(lambda x: slope(x) ** 2, q, kinks)
    ours = gradient_gain(activation, weight_std, bias_std, keep_probability=keep)
    np.testing.assert_allclose(np.log(ours), np.log(gain), atol=DIGITS)


@pytest.mark.parametrize("name", EXACT)
def test_every_activation_with_dropout(name):
    check(name, *EXACT[name], ACTIVATIONS[name].kinks, 0.8, 0.4, 0.85)


@pytest.mark.parametrize("keep", [1.0, 0.7])
@pytest.mark.parametrize("name", BARE)
def test_a_bare_lambda_with_a_kink_anywhere(name, keep):
    check(*BARE[name], 0.9, 0.6, keep)


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_both_fixed_points_and_their_stability(name):
    phi, weight_std, bias_std = EXACT[name][0], 1.6, 0.05
    points = length_fixed_points(name, weight_std, bias_std)
    assert points.stable.tolist() == [True, False] and points.escapes

    def excess(q):
        return weight_std**2 * exact_mean(lambda x: phi(x) ** 2, q, ()) + bias_std**2 - q

    for q, sign in zip(points.values, (1, -1), strict=True):
        assert np.sign(excess(q * (1 - DIGITS))) == sign == -np.sign(excess(q * (1 + DIGITS)))


def test_no_fixed_point_is_said_and_the_gain_is_still_exact():
    with pytest.raises(ValueError, match="no stable length, lengths grow without bound"):
        length_fixed_point(lambda x: jnp.where(x > 0.2, 3 * x, 0.0), 1.5, 0.1)
    np.testing.assert_allclose(gradient_gain("relu", 2.0, 0.1), 2.0, rtol=DIGITS)


@pytest.mark.parametrize("keep", [1.0, 0.8])
def test_the_slope_of_the_correlation_of_a_kinked_lambda(keep):
    """clip(x, -a, a): E phi' phi' is the chance that both inputs lie inside: an integral of two error functions."""
    a, q, c = mp.mpf("0.83"), 0.9, 0.6
    with mp.workdps(20):
        root = mp.sqrt(1 - mp.mpf(c) ** 2)
        edge = a / mp.sqrt(q)

        def inside(z):
            return (mp.ncdf((edge - c * z) / root) - mp.ncdf((-edge - c * z) / root)) * mp.npdf(z)

        both = mpmath.quad(inside, [-edge, 0, edge])
        square = mpmath.quad(lambda z: q * z**2 * mp.npdf(z), [-edge, edge]) + 2 * a**2 * mp.ncdf(-edge)
    after = 1.44 / keep * float(square) + 0.09
    slope = correlation_map(lambda x: jnp.clip(x, -0.83, 0.83), 1.2, 0.3, c, q=q, keep_probability=keep)[1]
    np.testing.assert_allclose(slope, 1.44 * float(both) * q / after, rtol=DIGITS)
