"""How many singular values the zero pattern alone proves to be exactly zero.

The product of matrices with given zero patterns has, for almost every choice of the nonzero entries, the rank that is
the largest number of vertex-disjoint paths through nonzero entries from the first width to the last (Lindstrom 1973;
Gessel and Viennot 1985), and no choice has more. It is a maximum flow, grown here one layer at a time, on the host.
(Inside a trace the pattern is data; what is counted there stands in `plan.provable_ranks`.)
"""

import itertools
from collections.abc import Sequence

import numpy as np


def generic_ranks(runs: Sequence[np.ndarray]) -> list[int]:
    """The generic rank of every prefix product; each run is boolean, (m, rows, columns)."""
    complete = _ranks_of_complete_blocks(runs)
    if complete is not None:
        return complete
    paths = _DisjointPaths(runs[0].shape[2])
    for layer in itertools.chain.from_iterable(runs):
        paths.extend(layer)
    return paths.counts


def keeps_zeros(runs: Sequence[np.ndarray], depths: Sequence[int]) -> bool:
    """Whether the product of two or more factors up to one of the depths has zeros that its pattern proves.

    Rows and columns that are zero throughout do not count.
    """
    if _ranks_of_complete_blocks(runs) is not None:
        return False
    reached = np.eye(runs[0].shape[2], dtype=np.float32)
    for depth, layer in enumerate(itertools.chain.from_iterable(runs), start=1):
        reached = (layer.astype(np.float32) @ reached > 0).astype(np.float32)
        if depth > 1 and depth in depths:
            live = reached[reached.any(axis=1)][:, reached.any(axis=0)]
            if not live.all():
                return True
    return False


def _ranks_of_complete_blocks(runs: Sequence[np.ndarray]) -> list[int] | None:
    """The closed form where every layer joins all its live rows to all its live columns; None where one does not."""
    live, before = [], None
    for run in runs:
        rows, columns = np.asarray(run.any(axis=2)), np.asarray(run.any(axis=1))
        if not np.array_equal(run, rows[:, :, None] & columns[:, None, :]):
            return None
        meeting = columns.copy()
        if len(run) > 1:
            meeting[1:] &= rows[:-1]
        meeting[0] &= True if before is None else before
        live.append(np.minimum(rows.sum(axis=1), meeting.sum(axis=1)))
        before = rows[-1]
    return np.minimum.accumulate(np.concatenate(live)).tolist()


def _members(mask: int):
    """The positions of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class _DisjointPaths:
    """A largest family of vertex-disjoint paths, extended layer by layer by searching the residual graph.

    A vertex v of layer l is split into an entrance (l, v, 0) and an exit (l, v, 1). Whatever a failed search has seen
    can never lead onward again, since the residual graph is closed there: it is marked `lost`, so that all failed
    searches together cost one walk over the graph.
    """

    def __init__(self, width: int):
        self.used = [(1 << width) - 1]  # vertices on a path, one bit each
        self.back: list[dict[int, int]] = [{}]  # the vertex before, on the path through this one
        self.edges: list[list[int]] = []  # edges[l][u]: the vertices of layer l + 1 that u of layer l reaches
        self.lost: list[list[int]] = [[0], [0]]  # entrances and exits of each layer, one bit each
        self.counts: list[int] = []

    def extend(self, layer: np.ndarray) -> None:
        """Add one layer: `layer[v, u]` says whether u of the last layer reaches v of the new one."""
        last = len(self.used) - 1
        packed = np.packbits(layer.T, axis=1, bitorder="little")
        self.edges.append([int.from_bytes(row.tobytes(), "little") for row in packed])
        self.used.append(0)
        self.back.append({})
        for masks in self.lost:
            masks.append(0)
        for end in _members(self.used[last]):
            free = self.edges[last][end] & ~self.used[last + 1]
            if free:
                self._join(last, end, (free & -free).bit_length() - 1)
            elif not self._reroute(last, end):
                self._retract(last, end)
        self.counts.append(self.used[last + 1].bit_count())

    def _join(self, level: int, u: int, v: int) -> None:
        self.back[level + 1][v] = u
        self.used[level + 1] |= 1 << v

    def _retract(self, level: int, v: int) -> None:
        while level >= 0:
            self.used[level] &= ~(1 << v)
            level, v = level - 1, self.back[level].pop(v, -1)

    def _reroute(self, level: int, end: int) -> bool:
        """Look for another way on from a path's end, moving other paths aside; True where there is one."""
        start: tuple[int, int, int] = (level, end, 1)
        parent: dict[tuple[int, int, int], tuple[int, int, int]] = {start: start}
        seen = [list(masks) for masks in self.lost]
        stack: list[tuple[int, int, int]] = [start]
        seen[1][level] |= 1 << end
        while stack:
            node = stack.pop()
            free = self._free_end(node, level)
            if free is not None:
                parent[free] = node
                self._apply(parent, free)
                return True
            for onto, mask, side in self._onward(node):
                for v in _members(mask & ~seen[side][onto]):
                    parent[onto, v, side] = node
                    stack.append((onto, v, side))
                seen[side][onto] |= mask
        self.lost = seen
        return False

    def _free_end(self, node: tuple[int, int, int], last: int) -> tuple[int, int, int] | None:
        level, u, side = node
        free = self.edges[level][u] & ~self.used[level + 1] if side == 1 and level == last else 0
        return (level + 1, (free & -free).bit_length() - 1, 0) if free else None

    def _onward(self, node: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Where the residual graph leads from a node: (layer, vertices, side), the way back before the way on."""
        level, v, side = node
        on_path = self.used[level] >> v & 1
        if side == 1:
            return [(level, on_path << v, 0), (level + 1, self.edges[level][v], 0)]
        if not on_path:
            return [(level, 1 << v, 1)]
        if level == 0:  # through the source: any other start may take over
            return [(0, (1 << len(self.edges[0])) - 1 & ~self.used[0], 0)]
        return [(level - 1, 1 << self.back[level][v], 1)]

    def _apply(self, parent: dict, node: tuple[int, int, int]) -> None:
        """Walk back along the search and switch its steps: first all that is given up, then all that is gained."""
        self.used[node[0]] |= 1 << node[1]
        gained = []
        while parent[node] != node:
            (level, v, side), (onto, w, _) = parent[node], node
            if side == 1 and onto == level:
                self.used[level] &= ~(1 << v)
            elif side == 0 and onto == level - 1:
                del self.back[level][v]
            elif side == 0 and v == w:
                self.used[level] |= 1 << v
            elif side == 1:
                gained.append((level, v, w))
            node = parent[node]
        for level, u, v in gained:
            self.back[level + 1][v] = u
