"""Factors that ordinary digits cannot eliminate, factored on the host in as many digits as it takes.

Elimination keeps what is small as long as nothing larger is ever added to it. In a layer that mixes scales in no order
(1e200 beside 1 beside 1e-200) what is filled in can drown an entry and later cancel to nothing, and then the entry was
what mattered. A few wide layers with zeros, whose own singular values have all sizes down to rounding, are the other
case: no ordinary QR tells their rank. Both are replaced by three factors X · D · Y that ordinary digits do hold: the
entries are integers times a power of two, so products are exact; elimination with complete pivoting runs in decimal
digits, each entry beside a bound on its rounding, and again in twice as many until every pivot is certain.
"""

import decimal
import itertools
import math
from typing import NamedTuple

import numpy as np

from gradjax.products import doubled
from gradjax.products.factors import Checked, Runs
from gradjax.products.pattern import generic_ranks
from gradjax.products.scales import mixed_on_the_host

CERTAIN = -17.0 * math.log(10)  # of a pivot, in nats: the rounding of a double
MOST_DIGITS = 20_000
AFFORDABLE = 64**3 * 256  # width³ times layers that are factored so in one call: a minute or two
SHORT_CHAIN = 64**3 * 16  # width³ times layers that are multiplied as integers: a second or two
MOST_TOGETHER = 16  # layers: their integers grow with each
LARGEST_POWER = 1000  # of two, in one diagonal factor


class Stretch(NamedTuple):
    """Consecutive layers to replace, counted over the whole chain."""

    start: int
    end: int


class Replacement(NamedTuple):
    """The chain with every such stretch as X, D and Y."""

    runs: Runs
    depths: tuple[int, ...]  # the wanted ones, counted in the new factors
    ranks: np.ndarray  # of the new prefixes, (..., depth)
    given_up: np.ndarray  # at which of the wanted depths nothing but proven zeros is certain, (..., len(depths))


class Found(NamedTuple):
    """What ordinary digits cannot hold."""

    stretches: list[Stretch]
    beyond: bool = False  # there is more of it than can be afforded, and so nothing is replaced
    cut: int = 0  # past this depth mixed layers were not taken together, for a depth between them was wanted


def stretches(checked: Checked, depths: tuple[int, ...]) -> Found:
    """What to replace, in pieces that end at the wanted depths."""
    groups = _mixed(checked)
    inside = [[d for d in depths if group.start < d < group.end] for group in groups]
    cut = min(itertools.chain.from_iterable(inside), default=checked.depth)
    if blurred := _blurred(checked, depths):
        return Found(blurred, cut=cut)
    runs = checked.concrete or ()
    largest = max(math.prod(run.shape[:-3]) * max(run.shape[-2:]) ** 3 for run in runs)
    lengths = [group.end - group.start for group in groups]
    if sum(lengths) * largest > AFFORDABLE or max(lengths, default=0) > MOST_TOGETHER:
        return Found([], beyond=True, cut=cut)
    ends = [(group.start, *between, group.end) for group, between in zip(groups, inside, strict=True)]
    return Found([Stretch(a, b) for points in ends for a, b in itertools.pairwise(points)], cut=cut)


def replaced(checked: Checked, depths: tuple[int, ...], ranks: np.ndarray, found: Found) -> Replacement:
    """The chain with what was found replaced; `ranks` are those of its prefixes, (..., depth)."""
    assert checked.concrete is not None
    batch = checked.concrete[0].shape[:-3]
    given_up = np.broadcast_to(np.array(depths) > found.cut, (*batch, len(depths)))
    layers = [np.asarray(layer, np.float64) for run in checked.concrete for layer in np.moveaxis(run, -3, 0)]
    full = np.full((*batch, 1), checked.widths[0], np.int32)
    ranks = np.concatenate([full, ranks], axis=-1)  # ranks[..., t] after t layers
    new_layers, new_ranks, new_depths, at = [], [], [], 0
    for stretch in [*found.stretches, Stretch(len(layers), len(layers))]:
        for layer in range(at, stretch.start):
            new_layers.append(layers[layer])
            new_ranks.append(ranks[..., layer + 1])
            new_depths += [len(new_layers)] * (layer + 1 in depths)
        if stretch.end > stretch.start:
            parts, certain = _three_factors(layers[stretch.start : stretch.end], batch)
            # what is left out alone is a smallest value; beside other layers they may make it any of them
            beside = [d > stretch.end or (d == stretch.end and stretch.start > 0) for d in depths]
            given_up = given_up | ~certain[..., None] & np.array(beside)
            new_layers += parts
            new_ranks += [ranks[..., stretch.start]] * (len(parts) - 1) + [ranks[..., stretch.end]]
            new_depths += [len(new_layers)] * (stretch.end in depths)
        at = stretch.end
    runs = [
        np.stack([layer for _, layer in group], axis=-3)
        for _, group in itertools.groupby(enumerate(new_layers), key=lambda pair: _run_key(*pair))
    ]
    return Replacement(Runs(tuple(runs)), tuple(new_depths), np.stack(new_ranks, axis=-1).astype(np.int32), given_up)


def _run_key(index: int, layer: np.ndarray) -> tuple:
    rows, columns = layer.shape[-2:]
    return (rows, columns) if rows == columns else (rows, columns, index)


def _mixed(checked: Checked) -> list[Stretch]:
    """The layers that mix scales in no order; together where nothing dense lies between, which would level them."""
    found: list[Stretch] = []
    runs = checked.concrete or ()
    mixed = [mixed_on_the_host(run).reshape(-1, run.shape[-3]).any(axis=0) for run in runs]
    if not any(layers.any() for layers in mixed):
        return found
    dense = [(run != 0).reshape(-1, *run.shape[-3:]).all(axis=(0, 2, 3)) for run in runs]
    levels = np.concatenate(dense) & ~np.concatenate(mixed)
    for layer in np.flatnonzero(np.concatenate(mixed)).tolist():
        if found and not levels[found[-1].end : layer].any():
            found[-1] = Stretch(found[-1].start, layer + 1)
        else:
            found.append(Stretch(layer, layer + 1))
    return found


def _blurred(checked: Checked, depths: tuple[int, ...]) -> list[Stretch]:
    """All layers between the wanted depths, of a short chain with zeros whose layers have no certain rank."""
    runs = checked.concrete or ()
    cost = sum(math.prod(run.shape) * run.shape[-1] for run in runs)
    if cost > SHORT_CHAIN or all((run != 0).all() for run in runs) or all(map(_clear, runs)):
        return []
    return [Stretch(a, b) for a, b in itertools.pairwise((0, *depths))]


def _clear(run: np.ndarray) -> bool:
    """Whether ordinary digits see every singular value that the pattern of a layer allows it."""
    seen = np.sum(doubled.in_units(run) > doubled.BLURRED[1], axis=-1).ravel()
    patterns = (run != 0).reshape(-1, 1, *run.shape[-2:])
    return all(count == generic_ranks([pattern])[0] for count, pattern in zip(seen, patterns, strict=True))


def _three_factors(layers: list[np.ndarray], batch: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Y, the powers and the pivots of D, and X, each with the batch axes, in order; and which members are certain."""
    members = [_factored([layer[index] for layer in layers]) for index in np.ndindex(*batch)]
    powers = np.stack([member.powers for member in members])
    count = max(1, math.ceil(np.abs(powers).max() / LARGEST_POWER))
    diagonals = [np.ldexp(1.0, powers // count + (part < powers % count)) for part in range(count)]
    diagonals[0] = diagonals[0] * np.stack([member.mantissas for member in members])
    eye = np.eye(powers.shape[-1])
    stacks = [np.stack([m.right for m in members]), *(d[:, :, None] * eye for d in diagonals)]
    stacks.append(np.stack([m.left for m in members]))
    certain = np.array([member.certain for member in members]).reshape(batch)
    return [stack.reshape(*batch, *stack.shape[1:]) for stack in stacks], certain


class Factored(NamedTuple):
    """left · diag(mantissas · 2^powers) · right."""

    left: np.ndarray
    mantissas: np.ndarray
    powers: np.ndarray
    right: np.ndarray
    certain: bool  # whether every pivot is; those that are not are left out


def _factored(layers: list[np.ndarray]) -> Factored:
    """The product of one member's layers, each entry of the three factors right to a double's rounding."""
    entries, power = _integers(layers[0])
    for layer in layers[1:]:
        more, shift = _integers(layer)
        entries, power = more.dot(entries), power + shift
    sizes = [abs(int(v)).bit_length() for v in entries.flat if v]
    digits = 40 + int(0.6 * (max(sizes, default=1) - min(sizes, default=1)))  # twice their decades, and a double's
    while True:
        left, pivots, right, certain = _eliminated(entries, digits)
        if certain.all() or 2 * digits > MOST_DIGITS:
            break
        digits *= 2
    # a pivot that no number of digits makes certain is left out, not guessed
    halves = [_halves(pivot) if sure else (0.0, 0) for pivot, sure in zip(pivots, certain, strict=True)]
    mantissas = np.array([mantissa for mantissa, _ in halves])
    powers = np.array([shift for _, shift in halves]) + np.where(mantissas != 0, power, 0)
    return Factored(left.astype(np.float64), mantissas, powers, right.astype(np.float64), bool(certain.all()))


def _integers(layer: np.ndarray) -> tuple[np.ndarray, int]:
    """The layer as integers times one power of two, exactly."""
    mantissas, powers = np.frexp(np.asarray(layer, np.float64))
    lowest = int(powers[mantissas != 0].min()) if mantissas.any() else 0
    whole = [int(m) << max(int(p) - lowest, 0) for m, p in zip((mantissas * 2.0**53).flat, powers.flat, strict=True)]
    return np.array(whole, object).reshape(layer.shape), lowest - 53


def _halves(value: decimal.Decimal) -> tuple[float, int]:
    """A mantissa in [1/2, 1) up to sign, and a power of two."""
    if not value:
        return 0.0, 0
    power = math.floor(value.adjusted() * math.log2(10))
    scale = decimal.Decimal(2) ** abs(power)
    mantissa, rest = math.frexp(float(value / scale if power > 0 else value * scale))
    return mantissa, power + rest


def _eliminated(entries: np.ndarray, digits: int):
    """X, the pivots, Y and which pivots are certain, by Gaussian elimination with complete pivoting."""
    rows, columns = entries.shape
    count = min(rows, columns)
    context = decimal.Context(prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
    with decimal.localcontext(context):
        rest = np.vectorize(lambda v: +decimal.Decimal(v), otypes=[object])(entries)
        left, right = (np.full(shape, decimal.Decimal(0)) for shape in ((rows, count), (count, columns)))
        pivots, certain = [decimal.Decimal(0)] * count, np.ones(count, bool)
        rounding = _log(rest) - digits * math.log(10)  # ln of a bound on each entry's error
        for step in range(count):
            at = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
            pivot, row, column = rest[at], rest[at[0]].copy(), rest[:, at[1]].copy()
            if not pivot:
                break
            size, unsure = _log(np.array([pivot], object))[0], rounding[:, at[1]].copy()
            certain[step] = max(unsure.max(), rounding[at[0]].max()) - size < CERTAIN
            left[:, step], right[step], pivots[step] = column / pivot, row / pivot, pivot
            rest = rest - np.multiply.outer(left[:, step], row)
            grown = np.logaddexp(
                _log(left[:, step])[:, None] + rounding[at[0]][None, :], unsure[:, None] + _log(right[step])[None, :]
            )
            rounding = np.logaddexp(np.logaddexp(rounding, grown), _log(rest) - digits * math.log(10))
            for taken in (rest, rounding):
                taken[at[0]] = taken[:, at[1]] = decimal.Decimal(0) if taken is rest else -np.inf
    return left, pivots, right, certain


def _log(values: np.ndarray) -> np.ndarray:
    """ln of the size of decimal numbers, up to one decade too large; −inf at zero."""
    return np.vectorize(lambda v: (v.adjusted() + 1) * math.log(10) if v else -np.inf, otypes=[float])(values)
