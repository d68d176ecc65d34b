"""The table beside a figure holds the numbers that are drawn, to the last digit, whatever draws them."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from gradjax.study import plotting
from gradjax.study.tables import HEADER, figure_in_words, figure_table

X = np.array([1.0, 2.0, 4.0])
Y = np.array([0.1, np.nan, 1e300])


def rows(figure):
    header, *lines = csv.reader(io.StringIO(figure_table(figure).decode()))
    assert tuple(header) == HEADER
    return [dict(zip(header, line, strict=True)) for line in lines]


def column(table, name, **wanted):
    found = [row for row in table if all(row[key] == value for key, value in wanted.items())]
    return np.array([float(row[name] or "nan") for row in found])


@pytest.fixture
def panel():
    figure = Figure()
    return figure, figure.subplots()


def test_lines_and_points(panel):
    figure, ax = panel
    ax.plot(X, Y, label="theory, ½ ln χ")
    ax.plot(X, X, "o", label="measured")
    ax.scatter(X, X**2, c=X / 3, label="scattered")
    ax.semilogx()
    table = rows(figure)
    np.testing.assert_array_equal(column(table, "x", series="theory, ½ ln χ", kind="line"), X)
    np.testing.assert_array_equal(column(table, "y", series="theory, ½ ln χ"), Y)
    np.testing.assert_array_equal(column(table, "y", series="measured", kind="points"), X)
    np.testing.assert_array_equal(column(table, "y", series="scattered", kind="points"), X**2)
    np.testing.assert_array_equal(column(table, "value", series="scattered"), X / 3)


def test_rules_have_no_number_along_themselves(panel):
    figure, ax = panel
    ax.axhline(3.5, label="limit")
    ax.axvline(7.0, label="depth")
    table = rows(figure)
    assert [(r["x"], r["y"]) for r in table if r["series"] == "limit"] == [("", "3.5")] * 2
    assert [(r["x"], r["y"]) for r in table if r["series"] == "depth"] == [("7.0", "")] * 2


def test_error_bars_carry_their_intervals(panel):
    figure, ax = panel
    ax.errorbar(X, X, yerr=[X / 2, X / 4], label="both ways")
    ax.errorbar(X, X, xerr=0.5, fmt="none", label="bars alone")
    table = rows(figure)
    np.testing.assert_array_equal(column(table, "low", series="both ways"), X / 2)
    np.testing.assert_array_equal(column(table, "high", series="both ways"), X * 1.25)
    np.testing.assert_array_equal(column(table, "low", series="bars alone", kind="x interval"), X - 0.5)
    assert len(table) == 3 + 6  # nothing twice


def test_bars_areas_and_segments(panel):
    figure, ax = panel
    ax.bar(X, X**2, bottom=1, label="counts")
    ax.fill_between(X, -X, X, label="band")
    ax.vlines(X, 0, 5, label="marks")
    table = rows(figure)
    np.testing.assert_array_equal(column(table, "x", series="counts", kind="bar"), X)
    np.testing.assert_array_equal(column(table, "y", series="counts"), X**2 + 1)
    np.testing.assert_array_equal(column(table, "low", series="counts"), np.ones(3))
    band = {(float(r["x"]), float(r["y"])) for r in table if r["series"] == "band"}
    assert band >= {(x, sign * x) for x in X for sign in (-1, 1)}
    np.testing.assert_array_equal(column(table, "y", series="marks", kind="line"), [0, 5] * 3)


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_images_give_the_centres_of_their_pixels(panel, origin):
    figure, ax = panel
    values = np.arange(6.0).reshape(2, 3)
    drawn = ax.imshow(values, origin=origin, label="phase")
    figure.colorbar(drawn)
    table = rows(figure)
    assert len(table) == 6  # the colour bar is no panel
    for row in table:
        assert float(row["value"]) == values[int(float(row["y"])), int(float(row["x"]))]


@pytest.mark.parametrize("shading", ["flat", "nearest", "gouraud"])
def test_meshes_give_value_and_place(panel, shading):
    figure, ax = panel
    x, y = np.array([0.0, 2.0, 4.0]), np.array([10.0, 20.0])
    values = np.ma.masked_equal(np.arange(6.0).reshape(2, 3), 4)
    edges = ([-1, 1, 3, 5], [5, 15, 25]) if shading == "flat" else (x, y)
    ax.pcolormesh(*edges, values, shading=shading)
    table = rows(figure)
    np.testing.assert_allclose(column(table, "x"), np.tile(x, 2), rtol=1e-15)
    np.testing.assert_allclose(column(table, "y"), np.repeat(y, 3), rtol=1e-15)
    np.testing.assert_array_equal(column(table, "value"), [0, 1, 2, 3, np.nan, 5])


def test_contours_are_lines_with_their_level(panel):
    figure, ax = panel
    ax.contour([0.0, 1.0], [0.0, 1.0], [[0.0, 1.0], [0.0, 1.0]], levels=[0.25])
    table = rows(figure)
    assert set(column(table, "x")) == {0.25} and set(column(table, "value")) == {0.25}


def test_measured_draws_median_and_spread():
    samples = np.array([[1.0, 5.0, np.nan], [2.0, np.inf, np.nan], [9.0, 7.0, np.nan], [3.0, 6.0, np.nan]])
    figure, axes = plotting.figure(1, 2, "Title")
    plotting.measured(axes[0, 0], X, samples, "range", 0)
    plotting.measured(axes[0, 1], X, samples, "quartiles", 1, spread="quartiles")
    table = rows(figure)
    nan = np.nan
    for name, expected in {"low": [1, 5, nan], "y": [2.5, 6, nan], "high": [9, 7, nan]}.items():
        np.testing.assert_array_equal(column(table, name, series="range"), expected)
    np.testing.assert_array_equal(column(table, "low", series="quartiles"), [1.75, 5.5, nan])


def test_drawing_helpers_refuse_wrong_shapes():
    _, axes = plotting.figure(2, 3, "Title")
    assert axes.shape == (2, 3)
    with pytest.raises(ValueError, match="rows, columns = 0, 1"):
        plotting.figure(0, 1, "Title")
    with pytest.raises(ValueError, match=r"\(3,\) and samples \(3, 2\)"):
        plotting.measured(axes[0, 0], X, np.ones((3, 2)), "label", 0)
    with pytest.raises(ValueError, match="spread is 'all'"):
        plotting.measured(axes[0, 0], X, np.ones((2, 3)), "label", 0, spread="all")


def test_theory_and_measurement_of_one_index_share_a_colour():
    _, axes = plotting.figure(1, 1, "Title")
    for index in range(2 * len(plotting.COLOURS)):
        plotting.theory(axes[0, 0], X, X, "theory", index)
        plotting.measured(axes[0, 0], X, X[None], "measured", index)
        line, points = axes[0, 0].lines[-2:]
        assert line.get_color() == points.get_color() == plotting.COLOURS[index % 8]
        assert line.get_linestyle() != "None" and points.get_linestyle() == "None"


def test_neighbouring_colours_differ_in_grey():
    from matplotlib.colors import to_rgb

    grey = [np.dot([0.299, 0.587, 0.114], to_rgb(colour)) for colour in plotting.COLOURS]
    assert min(abs(np.diff(grey))) > 0.1
    assert len(set(plotting.COLOURS)) == len(set(plotting.MARKERS)) == len(set(plotting.DASHES)) == 8


def test_the_figure_in_words():
    figure, axes = plotting.figure(1, 2, "Gradients with depth.")
    plotting.theory(axes[0, 0], X, X, "slope", 0)
    axes[0, 0].set(title="Slopes", xlabel="depth", ylabel="ln norm")
    assert figure_in_words(figure) == "Gradients with depth. Slopes (ln norm against depth): slope. panel 2."


def test_importing_the_study_package_loads_no_matplotlib():
    late = "{'matplotlib', 'tyro', 'tqdm', 'sklearn'}"
    code = f"import sys, gradjax.study; sys.exit(bool({late} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


class Noisy(ConstrainedLayoutEngine):
    """The usual layout, every edge moved by what no eye sees."""

    def __init__(self, noise):
        super().__init__()
        self.noise, self.ran = noise, False

    def execute(self, fig):
        super().execute(fig)
        for ax in fig.axes:
            moved = ax.get_position(original=True).extents + self.noise
            ax.set_position(Bbox.from_extents(*moved), which="original")
        self.ran = True


def test_the_last_bits_of_a_layout_are_not_drawn():
    places = []
    for noise in (0.0, 3e-13):
        drawn, axes = plotting.figure(1, 2, "Title")
        drawn.colorbar(axes[0, 1].imshow(np.eye(3)), ax=axes[0, 1])
        drawn.set_layout_engine(layout := Noisy(noise))
        plotting.settle(drawn)
        assert layout.ran
        places.append([ax.get_position(original=True).extents.tolist() for ax in drawn.axes])
    assert places[0] == places[1]
