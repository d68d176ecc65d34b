"""What is noted of a program's values while they are followed: parameters, products, and how a value came of them."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jax import Array

BATCH = -1  # the origin of what is no function of parameters alone


class Weight(NamedTuple):
    """A parameter, or a slice of one by its leading axis: its row, its place along that axis, its gradient."""

    row: int
    depth: int | None
    gradient: Any


class Trail(NamedTuple):
    """How a value came to be: its products, its slope to the one's output, whether it is that plus biases."""

    origins: frozenset[int]
    slope: Array | None = None
    mixed: bool = False  # units of the product have been mixed
    stem: bool = False


@dataclass
class Product:
    """h W of a parameter W, and what became of it: deviations, logs of sizes, φ and its slope if a product follows."""

    weight: Weight
    width: int
    fan_in: int
    weight_std: float  # sqrt(fan_in mean W²)
    log_input: float  # ln of the root mean square of h
    log_signal: float  # ln |d loss / d (h W)|, which is |d loss / d W| over |h|
    parent: int | None
    above: frozenset[int]  # all that came before
    bias_std: float = 0.0
    log_slope: float = float("nan")  # ln E φ'²
    activation: Callable | None = None
    bypassed: bool = False
    values: Any = field(default=None, repr=False)  # h W + b, until φ is known


class Marked:
    """Notes on arrays, by identity, gone with the array."""

    def __init__(self):
        self._notes: dict[int, tuple] = {}

    def __setitem__(self, array, note) -> None:
        self._notes[id(array)] = (weakref.ref(array), note)

    def get(self, array):
        """The note on this very array; None where there is none."""
        found = self._notes.get(id(array))
        return found[1] if found is not None and found[0]() is array else None


def longest(products: list[Product]) -> list[Product]:
    """The longest chain of products in which nothing leads past one and no weights come twice; [] without one."""
    best: list[Product] = []
    for last in products:
        chain, at = [last], last.parent
        while at is not None:
            chain.append(products[at])
            at = products[at].parent
        places = {(p.weight.row, p.weight.depth) for p in chain}
        if len(chain) > len(best) and len(places) == len(chain) and not any(p.bypassed for p in chain):
            best = chain[::-1]
    return best
