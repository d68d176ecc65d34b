"""Lines through points, against NumPy's own and against sampling; arrows drawn where the numbers say."""

import numpy as np
import pytest

from gradjax.study import fits, plotting
from gradjax.study.tables import figure_table


def test_the_slope_is_numpy_s():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 30))
    assert fits.slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-12)


def test_the_standard_error_is_that_of_sampling():
    random, x = np.random.default_rng(1), np.arange(8.0)
    slopes = [fits.slope(x, 3 * x + random.normal(scale=0.2, size=8)) for _ in range(2000)]
    # a standard deviation from 2000 samples errs by 1 / sqrt(4000) = 1.6 %
    assert np.std(slopes) == pytest.approx(fits.slope_error(x, 0.2), rel=4 / 4000**0.5)


def test_a_power_law_gives_its_power():
    x = np.array([0.1, 1.0, 7.0])
    assert fits.power(x, 4 * x**-1.5) == pytest.approx(-1.5, rel=1e-13)


def test_what_has_no_line_is_refused():
    with pytest.raises(ValueError, match="two different numbers"):
        fits.slope([1.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"shape \(3,\), y \(2,\)"):
        fits.slope([0, 1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"y holds 0\.0; expected numbers above 0"):
        fits.power([1.0, 2.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="x holds nan"):
        fits.power([np.nan, 2.0], [1.0, 1.0])


def test_arrows_stand_in_data_coordinates():
    figure, axes = plotting.figure(1, 1, "Wind", width=2, height=2)
    plotting.arrows(
        axes[0, 0], np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 2.0], [4.0, 0.0]]), "wind", scale=0.5
    )
    rows = [row.split(",") for row in figure_table(figure).decode().splitlines()[1:]]
    points = np.array([[float(row[3]), float(row[4])] for row in rows])
    assert {row[1] for row in rows} == {"wind"}
    np.testing.assert_array_equal(points[:2], [[1, 0], [1, 2]])  # foot and tip of the first
    np.testing.assert_array_equal(points[6:8], [[2, 0], [3, 0]])
    np.testing.assert_array_equal(np.isnan(points[:, 0]), [False] * 5 + [True] + [False] * 5 + [True])


def test_arrows_of_other_shapes_are_refused():
    _, axes = plotting.figure(1, 1, "Wind", width=2, height=2)
    with pytest.raises(ValueError, match=r"arrows: feet has shape \(2, 3\) and vectors \(2, 4\)"):
        plotting.arrows(axes[0, 0], np.zeros((2, 3)), np.zeros((2, 4)), "wind")
