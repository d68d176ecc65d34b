"""What a diagnosis says: findings with evidence and remedy, the numbers by layer, as data, as a table, as a picture."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COLUMNS = {  # name of a measure -> heading; natural logs
    "log_activation": "ln act",
    "log_signal": "ln signal",
    "log_gradient": "ln grad",
    "log_parameter": "ln param",
    "log_update": "ln update",
    "log_ratio": "ln upd/par",
    "log_largest": "ln s_max",
    "log_median": "ln s_med",
    "log_smallest": "ln s_min",
    "dead": "dead",
    "saturated": "satur.",
}
ESTIMATED = ("log_largest", "log_median", "log_smallest")  # where the measure `estimated` says so
MOST_ROWS = 24  # a table of 100 layers is not read


@dataclass(frozen=True)
class Remedy:
    """What to change: words, the number in them, and a function that changes it.

    Args:
        text: a sentence with the number.
        number: the number; None where the remedy has none.
        target: what `apply` takes and returns: 'layers', 'x', 'params', 'batch', 'loss_fn', 'optimizer', 'opt_state'.
        change: the function behind `apply`; None where only a person can do it.
    """

    text: str
    number: float | None = None
    target: str = ""
    change: Callable[[Any], Any] | None = field(default=None, repr=False)

    def apply(self, subject):
        """The subject (see `target`) with the remedy applied.

        Raises:
            ValueError: a remedy that has to be applied by hand; the text says what to do.
        """
        if self.change is None:
            raise ValueError(f"this remedy cannot be applied by a program, expected a person: {self.text}")
        return self.change(subject)


@dataclass(frozen=True)
class Finding:
    """One cause that was found: its name in `gradjax.diagnosis.CAUSES`, where, the evidence, the remedy.

    Args:
        cause: the name.
        where: the row (layer or leaf) it stands at; None where it is of the whole.
        evidence: a sentence with the measured numbers.
        numbers: the same numbers, by name.
        remedy: what to change.
    """

    cause: str
    where: int | None
    evidence: str
    numbers: dict[str, float]
    remedy: Remedy


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a network, a step or a record; false where nothing was found.

    Args:
        names: of the rows: layers, or leaves of the parameters.
        measures: name (a key of `COLUMNS`) -> (rows,); NaN where it was not measured.
        findings: root cause first.
        not_assessed: cause -> what was missing to judge it.
        first_bad_forward, first_bad_backward: the first bad row that the activation, and the signal from the output,
            meets; None where there is none.
        example: the first example of the batch that holds a NaN or an infinity; None where none does or it is unknown.
    """

    names: tuple[str, ...]
    measures: dict[str, np.ndarray]
    findings: tuple[Finding, ...]
    not_assessed: dict[str, str]
    first_bad_forward: int | None = None
    first_bad_backward: int | None = None
    example: int | None = None

    def __bool__(self) -> bool:
        return bool(self.findings)

    @property
    def cause(self) -> str | None:
        """The root cause's name; None where healthy."""
        return self.findings[0].cause if self.findings else None

    @property
    def evidence(self) -> str:
        """The root cause's evidence."""
        return self.findings[0].evidence if self.findings else "nothing was found"

    @property
    def remedy(self) -> Remedy | None:
        """The root cause's remedy."""
        return self.findings[0].remedy if self.findings else None

    @property
    def flags(self) -> list[str]:
        """For each row the causes that stand at it."""
        rows = [[f.cause for f in self.findings if f.where == row] for row in range(len(self.names))]
        return [", ".join(causes) for causes in rows]

    def verdict(self) -> str:
        """The verdict in a few lines: causes with evidence and remedy, first bad rows, what was not assessed."""
        lines = [] if self.findings else ["healthy: none of the causes that were assessed is there"]
        for finding in self.findings:
            place = "" if finding.where is None else f" at {self.names[finding.where]}"
            lines += [f"cause: {finding.cause}{place}", f"  evidence: {finding.evidence}"]
            lines += [f"  remedy: {finding.remedy.text}"]
        for way, row in (("forward", self.first_bad_forward), ("backward", self.first_bad_backward)):
            if row is not None:
                lines += [f"first bad {way}: {self.names[row]}"]
        if self.example is not None:
            lines += [f"first bad example of the batch: {self.example}"]
        for reason in dict.fromkeys(self.not_assessed.values()):
            causes = [cause for cause, why in self.not_assessed.items() if why == reason]
            lines += [f"not assessed ({reason}): {', '.join(causes)}"]
        return "\n".join(lines)

    def table(self, rows: int = MOST_ROWS) -> str:
        """The measures as text, one line a row; of many rows those at both ends, flagged ones and every k-th.

        ~ marks an estimate; of the least singular value that is an upper bound.
        """
        shown = [name for name in COLUMNS if name in self.measures and not np.isnan(self.measures[name]).all()]
        width = max([len(name) for name in self.names] + [5])
        lines = [" " * width + "".join(f"{COLUMNS[name]:>11}" for name in shown) + "  flags"]
        flags, before = self.flags, -1
        for row in self._chosen(rows):
            lines += [" " * width + "  ..."] if row > before + 1 else []
            cells = "".join(f"{self._cell(name, row):>11}" for name in shown)
            lines.append(f"{self.names[row]:<{width}}{cells}  {flags[row]}".rstrip())
            before = row
        return "\n".join(lines)

    def _cell(self, name: str, row: int) -> str:
        value, estimated = self.measures[name][row], self.measures.get("estimated")
        mark = "~" if name in ESTIMATED and estimated is not None and estimated[row] == 1 else ""
        return "-" if np.isnan(value) else f"{mark}{value:.2f}"

    def _chosen(self, rows: int) -> list[int]:
        count = len(self.names)
        if count <= rows:
            return list(range(count))
        marked = {f.where for f in self.findings} | {self.first_bad_forward, self.first_bad_backward}
        even = set(np.linspace(0, count - 1, rows).round().astype(int).tolist())
        return sorted(even | {row for row in marked if row is not None})

    def __str__(self) -> str:
        return f"{self.verdict()}\n{self.table()}"

    def plot(self, ax=None):
        """The logs by row as lines, the findings' rows marked; the axes drawn into.

        Args:
            ax: matplotlib axes; None makes a figure.
        """
        if ax is None:
            from gradjax.study.plotting import figure  # matplotlib takes a second to import

            ax = figure(1, 1, self.cause or "healthy", width=8, height=4)[1][0, 0]
        rows = np.arange(len(self.names))
        for name in ("log_activation", "log_signal", "log_gradient", "log_update", "log_largest", "log_median"):
            values = np.asarray(self.measures.get(name, np.full(len(rows), np.nan)), np.float64)
            if np.isfinite(values).any():
                ax.plot(rows, np.where(np.isfinite(values), values, np.nan), marker=".", label=COLUMNS[name])
        for row in sorted({f.where for f in self.findings if f.where is not None}):
            ax.axvline(row, color="red", linewidth=1, linestyle=":", label=f"found at {self.names[row]}")
        ax.set(xlabel="layer (row of the table)", ylabel="natural log", title=self.cause or "healthy")
        ax.legend(fontsize=7)
        return ax
