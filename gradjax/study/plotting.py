"""Drawing without pyplot and without global state: a figure, theory as a line, measurement as points with their spread.

matplotlib takes about a second to import, so it is imported inside the functions that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours (2008), told apart by colour-blind readers; in this order neighbours also differ in lightness,
# so that they survive a grey print. Yellow comes last: it is faint on white.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (2, 2)),
    (0, (8, 2, 1, 2)),
)
SPREADS = {"quartiles": (25.0, 75.0), "range": (0.0, 100.0)}
GRID = 99991  # of the figure's width and height
PANEL = (4.2, 3.3)  # inches: two panels beside each other fill a page's text width


def style() -> dict[str, Any]:
    """The rcParams that the runner draws and saves every figure with, by ``rc_context``: none of them leaks."""
    return {
        "font.size": 9.0,
        "axes.titlesize": 10.0,
        "axes.titlelocation": "left",
        "axes.labelsize": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#d9d9d9",
        "grid.linewidth": 0.5,
        "axes.axisbelow": True,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "legend.fontsize": 8.0,
        "legend.frameon": True,
        "legend.framealpha": 0.85,
        "legend.edgecolor": "none",
        "figure.titlesize": 11.0,
        "figure.titleweight": "bold",
        "figure.facecolor": "white",
        "image.cmap": "cividis",
        "savefig.dpi": 160,
        "pdf.fonttype": 42,
    }


def figure(
    rows: int, columns: int, title: str, *, width: float | None = None, height: float | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure with its title and its axes, an array of shape (rows, columns).

    Args:
        rows, columns: at least 1 each.
        title: above all panels.
        width, height: of the whole figure in inches; by default 4.2 × 3.3 for each panel.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"figure: rows, columns = {rows}, {columns}; expected at least 1 each")
    from matplotlib.figure import Figure

    size = (width or PANEL[0] * columns, height or PANEL[1] * rows + 0.3)
    drawn = Figure(figsize=size, layout="constrained")
    drawn.suptitle(title)
    return drawn, drawn.subplots(rows, columns, squeeze=False)


def stamp(drawn: Figure, words: str) -> None:
    """Writes in what precision and on what device the numbers were made, small, below everything else."""
    height = drawn.get_size_inches()[1]
    engine: Any = drawn.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0.12 / height, 1, 1 - 0.12 / height))  # room of its own, below the axes' words
    drawn.text(0.995, 0.03 / height, words, ha="right", va="bottom", fontsize=5.5, color="#666666")


def settle(drawn: Figure) -> None:
    """Fixes the axes where the layout has put them, on a grid.

    The layout's solver is right to the last bit only, which changes with the addresses of its variables; a PDF writes
    ten decimals, and a tie among them shows that bit. The grid is a prime's: no usual number lies between two of its
    points.
    """
    if drawn.get_layout_engine() is None:
        return
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    for ax in drawn.axes:
        ends = ax.get_position(original=True).extents
        left, bottom, right, top = (round(float(end) * GRID) / GRID for end in ends)
        ax.set_position((left, bottom, right - left, top - bottom), which="original")


def theory(ax: Axes, x: Any, y: Any, label: str, index: int, **options: Any) -> None:
    """Draws what theory says: a line in the colour and the dashes of ``index``."""
    look = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], "label": label}
    ax.plot(np.asarray(x), np.asarray(y), **{**look, **options})


def measured(ax: Axes, x: Any, samples: Any, label: str, index: int, spread: str = "range", **options: Any) -> None:
    """Draws what was measured: the median over seeds as points, its spread as bars.

    Args:
        ax: the panel.
        x: (points,).
        samples: (seeds, points); NaN samples are left out, a point of NaN alone is not drawn.
        label: in the legend and in the CSV.
        index: chooses colour and marker, the same colour as ``theory`` of this index.
        spread: ``"range"`` (least to greatest) or ``"quartiles"``.
        options: go to ``Axes.errorbar``.
    """
    x, samples = np.asarray(x), np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2 or x.shape != samples.shape[1:]:
        raise ValueError(
            f"measured: x has shape {x.shape} and samples {samples.shape}; expected (points,) and (seeds, points)"
        )
    if spread not in SPREADS:
        raise ValueError(f"measured: spread is {spread!r}; expected one of {', '.join(SPREADS)}")
    low, middle, high = _percentiles(samples, (SPREADS[spread][0], 50.0, SPREADS[spread][1]))
    look = {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": "none",
        "elinewidth": 0.9,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
        "label": label,
    }
    ax.errorbar(x, middle, yerr=np.stack([middle - low, high - middle]), **{**look, **options})


def arrows(ax: Axes, feet: Any, vectors: Any, label: str, scale: float = 1.0, **options: Any) -> None:
    """Draws vectors as arrows of ``scale`` times their length, as one line in data coordinates.

    matplotlib's own quiver keeps its shapes in units of the page: the table of plotted numbers would hold those.

    Args:
        ax: the panel.
        feet, vectors: (2, arrows), x and y of each.
        label: in the legend and in the CSV.
        scale: drawn length of a vector of length 1.
        options: go to ``Axes.plot``.
    """
    feet, vectors = np.asarray(feet, np.float64), np.asarray(vectors, np.float64) * scale
    if feet.ndim != 2 or feet.shape[0] != 2 or feet.shape != vectors.shape:
        raise ValueError(f"arrows: feet has shape {feet.shape} and vectors {vectors.shape}; expected (2, arrows) twice")
    tips, across = feet + vectors, vectors[::-1] * np.array([[-1.0], [1.0]])
    barbs = [tips - vectors / 3 + side * across / 5 for side in (1, -1)]
    corners = np.stack([feet, tips, barbs[0], tips, barbs[1], np.full_like(tips, np.nan)], axis=-1)
    ax.plot(*corners.reshape(2, -1), **{"color": COLOURS[2], "linewidth": 0.9, "label": label, **options})


def _percentiles(samples: np.ndarray, percents: tuple[float, ...]) -> np.ndarray:
    """Percentiles over the first axis without NaN samples; NaN where nothing else is there (NumPy would warn)."""
    result = np.full((len(percents), samples.shape[1]), np.nan)
    for point in range(samples.shape[1]):
        values = samples[:, point]
        values = values[np.isfinite(values)]
        if values.size:
            result[:, point] = np.percentile(values, percents)
    return result
