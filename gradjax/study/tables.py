"""The plotted numbers: read off the figure itself, so that the table cannot say anything but what is drawn.

One row a point: the panel, the series, how it is drawn, x, y, and where there is one the interval (low, high) or the
value that colours it. A coordinate that is no data (the x of a horizontal rule) is left empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER = ("panel", "series", "kind", "x", "y", "low", "high", "value")
Row = tuple[Any, ...]  # what HEADER names, from the series on


def figure_table(figure: Figure) -> bytes:
    """Every number drawn in the figure as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for panel, axes in named_panels(figure):
        for series, kind, *numbers in _rows(axes):
            writer.writerow(
                [panel, series, kind, *("" if number is None else repr(float(number)) for number in numbers)]
            )
    return buffer.getvalue().encode()


def figure_in_words(figure: Figure) -> str:
    """The figure's text alternative: its title, and for each panel what is drawn against what."""
    title = figure.get_suptitle()
    panels = []
    for panel, axes in named_panels(figure):
        series = [label for label in axes.get_legend_handles_labels()[1] if label]
        shown = f": {', '.join(dict.fromkeys(series))}" if series else ""
        x, y = axes.get_xlabel(), axes.get_ylabel()
        against = f" ({y} against {x})" if x and y else ""
        panels.append(f"{panel}{against}{shown}")
    return ". ".join(part.rstrip(".") for part in [title, *panels] if part) + "."


def named_panels(figure: Figure) -> list[tuple[str, Axes]]:
    """Each panel but colour bars with its title, or its number where it has none."""
    panels = []
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            continue
        titles = (axes.get_title(loc) for loc in ("left", "center", "right"))
        panels.append((next((title for title in titles if title), f"panel {len(panels) + 1}"), axes))
    return panels


def _rows(axes: Axes) -> Iterator[Row]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    drawn: set[int] = set()
    for container in axes.containers:
        drawn.update(id(artist) for artist in _leaves(container))
        if isinstance(container, ErrorbarContainer):
            yield from _error_bars(container)
        elif isinstance(container, BarContainer):
            yield from _bars(container)
    for line in axes.lines:
        if id(line) not in drawn:
            yield from _line(line)
    for number, collection in enumerate(axes.collections):
        if id(collection) not in drawn:
            yield from _collection(collection, number)
    for number, image in enumerate(axes.images):
        yield from _image(image, number)


def _leaves(container: Any) -> Iterator[Any]:
    for artist in container:
        if isinstance(artist, tuple | list):
            yield from _leaves(artist)
        elif artist is not None:
            yield artist


def _name(artist: Any, otherwise: str) -> str:
    """The label, or another name where matplotlib gave it one of its own (they begin with an underscore)."""
    label = str(artist.get_label() or "")
    return otherwise if not label or label.startswith("_") else label


def _numbers(values: Any) -> np.ndarray:
    """Floats; masked entries are NaN, as they are not drawn."""
    return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)


def _line(line: Any) -> Iterator[Row]:
    kind = "points" if line.get_linestyle() in ("None", "none", "", " ") else "line"
    has_x, has_y = line.get_transform().contains_branch_seperately(line.axes.transData)
    for x, y in zip(_numbers(line.get_xdata()), _numbers(line.get_ydata()), strict=True):
        yield _name(line, "unnamed"), kind, x if has_x else None, y if has_y else None, None, None, None


def _error_bars(container: Any) -> Iterator[Row]:
    """One row a point with its vertical interval; a horizontal interval follows as a row of kind 'x interval'."""
    points, _, bars = container.lines
    name = _name(container, "unnamed")
    segments = [[np.asarray(segment) for segment in bar.get_segments()] for bar in bars]
    kinds = ["x"] * bool(container.has_xerr) + ["y"] * bool(container.has_yerr)
    spans = dict(zip(kinds, segments, strict=True))
    if points is None:
        centres = [segment.mean(axis=0) for segment in segments[0]]
    else:
        centres = list(zip(_numbers(points.get_xdata()), _numbers(points.get_ydata()), strict=True))
    for index, (x, y) in enumerate(centres):
        low, high = _span(spans.get("y"), index, 1)
        yield name, "points", x, y, low, high, None
        if "x" in spans:
            yield name, "x interval", x, y, *_span(spans["x"], index, 0), None


def _span(segments: list[np.ndarray] | None, index: int, axis: int) -> tuple[float | None, float | None]:
    if segments is None or len(segments[index]) < 2:
        return None, None
    return segments[index][0, axis], segments[index][1, axis]


def _bars(container: Any) -> Iterator[Row]:
    for bar in container.patches:
        low, left = bar.get_y(), bar.get_x()
        x, y = left + bar.get_width() / 2, low + bar.get_height()
        yield _name(container, "unnamed"), "bar", x, y, low, y, None


def _collection(collection: Any, number: int) -> Iterator[Row]:
    from matplotlib.collections import PathCollection, PolyCollection, QuadMesh

    name = _name(collection, f"unnamed {number + 1}")
    if isinstance(collection, PathCollection):
        points = _numbers(collection.get_offsets())
        values = collection.get_array()
        shades = [None] * len(points) if values is None else _numbers(values)
        for (x, y), value in zip(points, shades, strict=True):
            yield name, "points", x, y, None, None, value
    elif isinstance(collection, QuadMesh):
        yield from _mesh(collection, name)
    else:
        filled = isinstance(collection, PolyCollection) or getattr(collection, "filled", False)
        yield from _outlines(collection, name, "area" if filled else "line")


def _outlines(collection: Any, name: str, kind: str) -> Iterator[Row]:
    """The corners of each line, area or contour of a collection in turn; the value is a contour's level."""
    values = collection.get_array()
    for index, path in enumerate(collection.get_paths()):
        value = None if values is None else np.ravel(_numbers(values))[index]
        for x, y in path.vertices:
            yield name, kind, x, y, None, None, value


def _mesh(mesh: Any, name: str) -> Iterator[Row]:
    """The cells of a mesh by their centres, or its corners where a value stands at each of them."""
    corners, values = np.asarray(mesh.get_coordinates()), _numbers(mesh.get_array())
    values = values.reshape(-1, corners.shape[1] - (values.size != corners[..., 0].size))
    if values.shape != corners.shape[:2]:
        corners = (corners[1:, 1:] + corners[1:, :-1] + corners[:-1, 1:] + corners[:-1, :-1]) / 4
    for (x, y), value in zip(corners.reshape(-1, 2), values.ravel(), strict=True):
        yield name, "image", x, y, None, None, value


def _image(image: Any, number: int) -> Iterator[Row]:
    """The pixels of an image by their centres; colours without a value are no data and are left out."""
    values = _numbers(image.get_array())
    if values.ndim != 2:
        return
    left, right, bottom, top = image.get_extent()
    bottom, top = (top, bottom) if image.origin == "upper" else (bottom, top)
    rows, columns = values.shape
    for row, column in np.ndindex(values.shape):
        x = left + (column + 0.5) * (right - left) / columns
        y = bottom + (row + 0.5) * (top - bottom) / rows
        yield _name(image, f"unnamed {number + 1}"), "image", x, y, None, None, values[row, column]
