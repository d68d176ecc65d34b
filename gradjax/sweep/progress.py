"""How far a sweep has come and how long it will still take, on standard error."""

import sys
import time

EVERY = {True: 0.2, False: 60.0}  # seconds between two words: at a terminal, in a log


class Progress:
    """Says how many cells are done and the time left, from the pace since the start.

    Args:
        total: cells in the grid.
        kept: those that an earlier run left: done, but without a share in the pace.
        shown: whether anything is said at all.
    """

    def __init__(self, total: int, kept: int, shown: bool):
        self.total, self.done, self.kept, self.shown = total, kept, kept, shown
        self.began = self.said = time.monotonic()
        self.terminal = shown and sys.stderr.isatty()

    def advance(self, cells: int) -> None:
        """So many more cells are done."""
        self.done = min(self.total, self.done + cells)
        now = time.monotonic()
        if self.shown and now - self.said >= EVERY[self.terminal]:
            self.said = now
            self._say(self.sentence(now - self.began))

    def sentence(self, seconds: float) -> str:
        """What is said after so many seconds.

        >>> progress = Progress(100, 20, False)
        >>> progress.advance(20)
        >>> progress.sentence(30.0)
        'sweep: 40 of 100 cells, 1 min 30 s left'
        """
        pace = max(self.done - self.kept, 1) / max(seconds, 1e-9)
        return f"sweep: {self.done} of {self.total} cells, {_duration((self.total - self.done) / pace)} left"

    def close(self) -> None:
        """Leaves a terminal's line empty."""
        if self.terminal:
            self._say("")

    def _say(self, words: str) -> None:
        sys.stderr.write(f"\r{words}\x1b[K" if self.terminal else f"{words}\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
