"""What exactness costs: every singular value of a deep product, and the ways that lose most

How much longer does it take to get all singular values of a product of many layers right than to get most of them
wrong?

Multiplying the layers and calling `svd` loses every value below rounding times the largest. The diagonals of a running
QR follow the growth rates, but are other numbers than singular values. `gradjax.products` multiplies blocks of layers
as well, and after each block factors what it has, so that no digit drowns: the more digits are asked for (`tolerance`),
the shorter the blocks, and the longer it takes. The floor of all four is the plain product itself; that of every way
that factors blocks is the plain product and one factorization a block, with nothing beside.

Prediction, and promise: on two CPU cores at most 2.5 times the plain product for Gaussian layers at a tolerance of
1e-6, and 1.3 times for layers that are nearly orthogonal; twice that at 1e-9. Speed is told twice: the part that grows
with depth over the plain product, and the whole over product and `svd`; and the whole both as it is called, where the
host first looks at the layers, and inside one `jit`. Control: where layers only turn, a plain product loses nothing.

Found: exactness costs more than was promised, by the factors in the claims. Three ways to factor a block were measured
(elimination; Cholesky's factor with its smallest pivot as the estimate of what a block loses; the same with the longest
column of R⁻¹) and the last is used here: it alone kept every tested case within 1e-9. Accuracy was not traded for time:
what misses its promise is published as missing it, with its profile and its floor. The floor keeps the promise (the
claims on factoring); what exceeds it is to see what a block has lost, to keep the scales apart, and to carry the right
factor along, with blocks tried in vain; and, outside a `jit`, the host's look at the zeros of the layers.

Here: time is a median of rounds in which every way runs once, side by side. Errors are taken where all values are
known: layers A_l D_l A_(l−1)⁻¹, dense and askew, whose D multiply, with the growth rates that Gaussian layers have.
Blocks of a given length are those of `gradjax.products` without the check that would shorten them. The floor takes the
quicker of two factorizations (Cholesky-QR, reflections), as often as there are blocks. PyTorch, where it is installed,
takes the Jacobian of the same linear network by `vmap(jacrev)` and its `svdvals`.

Predict: multiplying 960 layers of width 64 takes some milliseconds; factoring after every layer takes many times that.
How much longer does it take to get every one of the 64 values right to a millionth?

Look: {whole: Gaussian, narrow:.1f} times as long as the plain product ({inside one jit: Gaussian, narrow:.1f} inside
one `jit`), and {whole: near-orthogonal, narrow:.1f} times ({inside one jit: near-orthogonal, narrow:.1f}) where the
layers are nearly orthogonal. Nothing that factors the same blocks can take less than {floor: Gaussian, narrow:.1f} and
{floor: near-orthogonal, narrow:.1f} times: to factor once takes as long as to multiply
{factoring: Gaussian, narrow:.1f} layers, {factoring: Gaussian, wide:.1f} at the larger width. The values of the
product, taken by `svd`, are off by up to {product, then SVD: wrong:.0f} nats, those of the running QR by
{running QR: other numbers:.1f}, ours by {error at 1e-6:.0e}. Blocks of the greatest length, unchecked, are off by
{blocks too long: wrong:.0f} nats, of one layer each by {blocks of one layer:.0e}.

Reference: Stewart (1995), On graded QR decompositions of products of matrices; Newman (1986), Comm. Math. Phys. 103
(the growth rates).
"""

import dataclasses
import functools
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.peers import known_product, plain_product, pytorch_singular_values, race, running_qr_logs
from gradjax.products import log_singular_values, log_singular_values_with_error, naive_log_singular_values
from gradjax.products.pieces import allowance, factored, in_blocks, last_step
from gradjax.study import Claim, plotting, progress
from gradjax.theory.finite_width import gaussian_product_exponents

ORDER = 10
WAYS = ("plain product", "product, then SVD", "running QR", "gradjax", "PyTorch")
# what is timed beside them in the promised cases
PIECES = ("at 1e-9", "inside one jit", "last step", "Cholesky-QR of all blocks", "reflections of all blocks")
PARTS = ("multiplying", "factoring", "checking, grading", "last step", "the host's look")
KINDS = ("Gaussian", "near-orthogonal")
SIZES = ("narrow", "wide")
CASES = tuple((kind, size) for kind in KINDS for size in SIZES)
# the whole at tolerance 1e-6 over the plain product, at most, for the cases above
PROMISES = {"cpu": (2.5, 2.5, 1.3, 1.3), "gpu": (3.0, 4.0, 3.0, 4.0)}
COARSE, FINE = 1e-6, 1e-9
TORCH_PROMISE = 60.0  # PyTorch over ours on a GPU, at least
ROUNDING = "the layers' rounding, 1000 √L ε"
KNOWN = f"closed form, Σ ln D_l; {ROUNDING}"
LONGEST = 64  # layers that a block of ours may have
inside_one_jit = jax.jit(log_singular_values, static_argnames="tolerance")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    narrow: tuple[int, int, int] = (64, 960, 1)
    """Width, depth and batch of the narrow products."""
    wide: tuple[int, int, int] = (256, 240, 1)
    """The same of the wide ones."""
    narrow_on_gpu: tuple[int, int, int] = (64, 64, 1024)
    """The narrow products where a GPU computes."""
    wide_on_gpu: tuple[int, int, int] = (256, 64, 64)
    """The wide ones there."""
    depths: tuple[int, ...] = (15, 60, 240, 960)
    """Where time and error are taken against depth, at the narrow width."""
    widths: tuple[int, ...] = (16, 64, 256)
    """Where they are taken against width, at the third of the depths."""
    batches: tuple[int, ...] = (1, 8, 64)
    """Where they are taken against the batch, at the first width."""
    lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
    """Block lengths, ascending from 1, at the narrow width and the third of the depths."""
    tolerances: tuple[float, ...] = (1e-3, 1e-6, 1e-9, 1e-11)
    """What is asked for, and with it the block length, there."""
    rounds: int = 7
    """Of the promised cases: in each every way runs once."""
    sweep_rounds: int = 5
    """Of everything else: the points' spread."""
    slack: float = 1.0
    """How many times the promised time a claim allows: 1 is the promise; tests run small products on busy machines."""
    seed: int = 0
    """Of the layers."""
    plant: str = ""
    """A deliberate fault, for tests: 'still_clock' (no time passes), 'exchanged' (ours and the others' values change
    places, short blocks and long ones too), 'stretching_control' (the control's layers stretch)."""


PRESETS = {
    "quick": Config(
        narrow=(32, 96, 1),
        wide=(32, 96, 1),
        depths=(96,),
        widths=(32,),
        batches=(1,),
        lengths=(1, 4, 64),
        tolerances=(COARSE,),
        rounds=5,
        slack=5000.0,
    ),
    "full": Config(),
}
TIMED = ("whole", "whole at 1e-9", "inside one jit", "chain", "beside SVD", "floor", "factoring")
TIME_CLAIMS = tuple(f"{what}: {kind}, {size}" for kind, size in CASES for what in TIMED)
MISSES = {
    name: "its profile and its floor stand in the claim 'floor' of the same layers"
    for name in TIME_CLAIMS
    if not name.startswith(("floor", "factoring"))
}
PLANTS = {
    "still_clock": (*TIME_CLAIMS, "PyTorch"),
    "exchanged": (
        "error at 1e-6",
        "error at 1e-9",
        "bound",
        "product, then SVD: wrong",
        "running QR: other numbers",
        "blocks of one layer",
        "blocks too long: wrong",
    ),
    "stretching_control": ("control: layers that turn",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Seconds of every way in every round (zero where it is not installed), numbers of blocks, and largest errors."""
    clock = (lambda: 0.0) if config.plant == "still_clock" else time.perf_counter
    times = _table(config, clock) | _sweeps(config, clock) | _block_times(config, clock)
    return times | _errors(config) | _block_errors(config) | {"device": np.array(_device())}


def _table(config: Config, clock: Callable) -> dict[str, np.ndarray]:
    """Seconds (cases, ways, rounds) of WAYS and PIECES; blocks taken, refused and lossy at both tolerances."""
    rows, counts = [], []
    for kind, size in progress(CASES, "promised cases"):
        factors = _layers(kind, *_size(config, size), config.seed)
        coarse, fine = (_blocks(factors, tolerance) for tolerance in (COARSE, FINE))
        counts.append([coarse, fine])
        block, graded = factors[..., 0, :, :], in_blocks(factors, allowance(factors, COARSE), 1, 1).product
        pieces = [
            functools.partial(log_singular_values, factors, tolerance=FINE),
            functools.partial(inside_one_jit, factors, tolerance=COARSE),
            functools.partial(last_step, graded, COARSE),
            *(functools.partial(factored, block, int(coarse[0]), name) for name in ("float64", "float32")),
        ]
        rows.append(race(_ways(factors, "running QR") + pieces, config.rounds, clock))
    sizes = np.array([_size(config, size) for size in SIZES])
    return {"seconds_table": np.stack(rows), "sizes": sizes, "blocks_table": np.array(counts)}


def _blocks(factors: jax.Array, tolerance: float) -> np.ndarray:
    """How many blocks are taken, refused, and lossy though of one layer only: the most in a batch."""
    found = in_blocks(factors, allowance(factors, tolerance), 1, LONGEST)
    return np.array([np.max(count) for count in (found.taken, found.refused, found.lossy)])


def _sweeps(config: Config, clock: Callable) -> dict[str, np.ndarray]:
    """Seconds (points, ways, rounds) of Gaussian layers against depth, width and batch."""
    found = {}
    for name, points in _points(config).items():
        rows = [
            race(_ways(_layers("Gaussian", *point, config.seed)), config.sweep_rounds, clock)
            for point in progress(points, f"time against {name}")
        ]
        found[f"seconds_{name}"] = np.stack(rows)
    return found


def _points(config: Config) -> dict[str, list[tuple[int, int, int]]]:
    """Width, depth and batch of every point of the sweeps."""
    width, third = config.narrow[0], _third(config)
    return {
        "depth": [(width, depth, 1) for depth in config.depths],
        "width": [(width, third, 1) for width in config.widths],
        "batch": [(config.widths[0], third, batch) for batch in config.batches],
    }


def _third(config: Config) -> int:
    return config.depths[min(2, len(config.depths) - 1)]


def _block_times(config: Config, clock: Callable) -> dict[str, np.ndarray]:
    """Seconds of the plain product, of a factorization a layer, of each block length, of ours at each tolerance."""
    factors = _layers("Gaussian", config.narrow[0], _third(config), 1, config.seed)
    lossy = allowance(factors, COARSE)
    runs = [
        functools.partial(plain_product, factors),
        *(functools.partial(factored, factors[0], len(factors), name) for name in ("float64", "float32")),
        *(functools.partial(_in_blocks_of, factors, lossy, length) for length in config.lengths),
        *(functools.partial(inside_one_jit, factors, tolerance=tolerance) for tolerance in config.tolerances),
    ]
    counts = np.array([_blocks(factors, tolerance) for tolerance in config.tolerances])
    return {"seconds_blocks": race(runs, config.sweep_rounds, clock), "blocks_tolerance": counts}


def _in_blocks_of(factors: jax.Array, lossy: jax.Array, length: int) -> jax.Array:
    """The log singular values by blocks of so many layers, whatever they lose."""
    return last_step(in_blocks(factors, lossy, length, length).product, FINE)


def _size(config: Config, size: str) -> tuple[int, int, int]:
    on_gpu = jax.default_backend() == "gpu"
    return getattr(config, f"{size}_on_gpu" if on_gpu else size)


def _layers(kind: str, width: int, depth: int, batch: int, seed: int) -> jax.Array:
    """Layers (batch, depth, width, width), or without the batch's axis where it is 1."""
    rng = np.random.default_rng([seed, width, depth, batch])
    shape = (depth, width, width) if batch == 1 else (batch, depth, width, width)
    gaussian = rng.standard_normal(shape) / width**0.5
    if kind == "Gaussian":
        return jnp.asarray(gaussian, float)
    turns = np.linalg.qr(rng.standard_normal((8, width, width)))[0]  # a few, drawn again and again
    return jnp.asarray(turns[rng.integers(8, size=shape[:-2])] + 0.01 * gaussian, float)


def _ways(factors: jax.Array, *left_out: str) -> list[Callable | None]:
    """Every way as a function without arguments, in the order of `WAYS`; None for those that are left out."""
    ways = [
        functools.partial(plain_product, factors),
        functools.partial(naive_log_singular_values, factors),
        functools.partial(running_qr_logs, factors),
        functools.partial(log_singular_values, factors, tolerance=COARSE),
        pytorch_singular_values(factors),
    ]
    return [None if name in left_out else way for name, way in zip(WAYS, ways, strict=True)]


def _errors(config: Config) -> dict[str, np.ndarray]:
    """The largest errors against known values: of the ways (ways, points), of ours at 1e-9, and below its bound."""
    of_ways = {
        f"errors_{name}": np.stack([_largest_errors(config, *point) for point in points], axis=1)
        for name, points in _points(config).items()
    }
    width, depth, _ = config.narrow
    factors, truth = _known(config, width, depth)
    values, bounds = (np.asarray(a) for a in log_singular_values_with_error(factors, tolerance=COARSE))
    fine = log_singular_values(factors, tolerance=FINE)
    if config.plant == "exchanged":
        values = fine = np.asarray(naive_log_singular_values(factors))
    turning, still = _known(config, width, depth, turns=config.plant != "stretching_control")
    return of_ways | {
        "error_fine": np.array(_largest(fine, truth)),
        "spread": np.array(np.ptp(truth)),
        "bound_minus_error": np.array(np.min(bounds - np.abs(np.nan_to_num(values, neginf=-1e9) - truth))),
        "error_control": np.array(_largest(naive_log_singular_values(turning), still)),
    }


def _block_errors(config: Config) -> dict[str, np.ndarray]:
    """The largest errors of each block length and of ours at each tolerance, and the blocks that these take."""
    factors, truth = _known(config, config.narrow[0], _third(config))
    lengths = config.lengths[:: -1 if config.plant == "exchanged" else 1]
    ours = [inside_one_jit(factors, tolerance=tolerance) for tolerance in config.tolerances]
    by_length = [_in_blocks_of(factors, allowance(factors, COARSE), length) for length in lengths]
    return {
        "errors_length": np.array([_largest(values, truth) for values in by_length]),
        "errors_tolerance": np.array([_largest(values, truth) for values in ours]),
        "blocks_known": np.array([_blocks(factors, tolerance) for tolerance in config.tolerances]),
    }


def _largest_errors(config: Config, width: int, depth: int, batch: int) -> list[float]:
    """Of product then SVD, running QR, and ours at 1e-6."""
    factors, truth = _known(config, width, depth, batch)
    ours = log_singular_values(factors, tolerance=COARSE)
    others = [naive_log_singular_values(factors), running_qr_logs(factors)]
    found = [ours, ours, others[0]] if config.plant == "exchanged" else [*others, ours]
    return [_largest(values, truth) for values in found]


def _largest(values, truth: np.ndarray) -> float:
    """The largest error of a finite value; another is as far off as the largest of all is from the smallest."""
    values = np.asarray(values, float)
    return float(np.max(np.where(np.isfinite(values), np.abs(values - truth), np.ptp(truth))))


def _known(config: Config, width: int, depth: int, batch: int = 1, turns: bool = False) -> tuple[jax.Array, np.ndarray]:
    """Layers and the log singular values of their product, which grow as those of Gaussian layers do; or do not."""
    stacks, truths = [], []
    for member in range(batch):
        rng = np.random.default_rng([config.seed, width, depth, member])
        logs = np.asarray(gaussian_product_exponents(width, 1.0)) + 0.3 * rng.standard_normal((depth, width))
        logs = np.zeros_like(logs) if turns else logs
        stacks.append(known_product(logs, rng, 0.0 if turns else 0.5))
        truths.append(np.sort(logs.sum(axis=0))[::-1])
    factors, truth = np.stack(stacks), np.stack(truths)
    return (jnp.asarray(factors[0], float), truth[0]) if batch == 1 else (jnp.asarray(factors, float), truth)


def _device() -> str:
    kind = jax.devices()[0].device_kind
    return f"{len(os.sched_getaffinity(0))} CPU cores" if jax.default_backend() == "cpu" else kind


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """What was promised of time, as medians over the rounds; and errors, whose truth is rounded with the layers."""
    timed = [claim for case in range(len(CASES)) for claim in _time_claims(config, result, case)]
    return [*timed, _torch_claim(result), *_error_claims(config, result), *_block_claims(config, result)]


def _time_claims(config: Config, result: dict[str, np.ndarray], case: int) -> list[Claim]:
    """Of one promised case: the ratios, what of them is a floor, and what a factorization takes of it."""
    (kind, size), seconds = CASES[case], result["seconds_table"][case]
    plain, naive, _, ours, _, fine, jitted, last, *factoring = seconds
    promise, quicker = PROMISES[_platform(result)][case], np.minimum(*factoring)
    limit, blocks = promise * config.slack, result["blocks_table"][case, 0, 0]
    width, depth, batch = result["sizes"][SIZES.index(size)]
    inside = _finite_ratio(jitted, plain)
    again = f"take {{measured:.2f}} times as long as the plain product, ours {inside:.2f} inside one jit"
    alone = f"multiplying and {blocks} factorizations, a block of {depth / blocks:.1f} layers each, {again}"
    once = "a factorization takes as long as multiplying {measured:.1f} layers"
    room = f"blocks of {depth / blocks:.1f} layers and the promise leave room for {{expected:.1f}}"
    told = {
        "whole": (ours, plain, limit, "all values at 1e-6 take {measured:.2f} times as long as the plain product"),
        "whole at 1e-9": (fine, plain, 2 * limit, "all values at 1e-9 take {measured:.2f} times as long as it"),
        "inside one jit": (jitted, plain, limit, "all values at 1e-6 inside one jit, {measured:.2f} times as long"),
        "chain": (jitted - last, plain, limit, "what grows with depth, {measured:.2f} times as long"),
        "beside SVD": (ours, naive, limit, "all values, {measured:.2f} times as long as product, then SVD"),
        "floor": (plain + quicker, plain, inside * config.slack, f"{alone} ({_profile_in_words(result, case)})"),
        "factoring": (quicker * depth, plain * blocks, (limit - 1) * depth / blocks, f"{once}; {room}"),
    }
    where = f"{batch} of {depth} {kind} layers of width {width}, {result['device']}"
    source = {"floor": "ours inside one jit", "factoring": "what the promise leaves room for"}
    found = []
    for what, (one, other, most, words) in told.items():
        name, origin = f"{what}: {kind}, {size}", source.get(what, "promised")
        found.append(Claim(name, _median_ratio(one, other), most, 0.0, origin, "<=", f"{where}: {words}"))
    return found


def _platform(result: dict[str, np.ndarray]) -> str:
    return "cpu" if "CPU" in str(result["device"]) else "gpu"


def _profile(result: dict[str, np.ndarray], case: int) -> np.ndarray:
    """PARTS of the public call, each over the plain product: medians over the rounds."""
    plain, _, _, ours, _, _, jitted, last, cholesky, _ = result["seconds_table"][case]
    taken, refused, _ = result["blocks_table"][case, 0]
    factoring = cholesky * (1 + refused / taken)
    parts = plain, factoring, jitted - plain - factoring - last, last, ours - jitted
    return np.array([_finite_ratio(part, plain) for part in parts])


def _profile_in_words(result: dict[str, np.ndarray], case: int) -> str:
    parts = _profile(result, case)[:-1]
    whole = parts.sum() or 1.0
    return "of ours: " + ", ".join(f"{name} {part / whole:.0%}" for name, part in zip(PARTS, parts, strict=False))


def _torch_claim(result: dict[str, np.ndarray]) -> Claim:
    seconds = result["seconds_table"]
    slowest = min(_median_ratio(row[4], row[3]) for row in seconds)  # NaN goes through
    sentence = f"{result['device']}: PyTorch takes at least {{measured:.2f}} times as long as ours (0: not installed)"
    least = TORCH_PROMISE if slowest > 0 and _platform(result) == "gpu" else 0.0
    return Claim("PyTorch", slowest, least, 0.0, "promised on a GPU", ">=", sentence)


def _ratios(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return one / other


def _median_ratio(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.median(_ratios(one, other)))


def _finite_ratio(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.nan_to_num(_median_ratio(one, other)))


def _error_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    rounding = _rounding(config.narrow[1])
    coarse = max(float(result[f"errors_{name}"][-1].max()) for name in _points(config))
    fine, bound, control = (float(result[name]) for name in ("error_fine", "bound_minus_error", "error_control"))
    lost, qr = result["errors_depth"][:2, -1]
    source, off = KNOWN, "No value is off by more than {measured:.1e} nats"
    least = max((float(result["spread"]) + np.log(_epsilon())) / 2, 1.0)
    everywhere = "where 1e-6 is asked for, at every depth, width and batch"
    turned = "Where layers only turn, product, then SVD is right"
    half = "half of the spread beyond rounding"
    distance = "The running QR's largest distance from a value is {measured:.2f} nats"
    return [
        Claim("error at 1e-6", coarse, COARSE, rounding, source, "<=", f"{off} {everywhere}"),
        Claim("error at 1e-9", fine, FINE, rounding, source, "<=", f"{off} where 1e-9 is asked for"),
        Claim("bound", bound, 0.0, rounding, source, ">=", "No bound is below its error"),
        Claim(
            "product, then SVD: wrong", lost, least, 0.0, half, ">=", "Product, then SVD is off by {measured:.0f} nats"
        ),
        Claim("running QR: other numbers", qr, 0.1, 0.0, source, ">=", distance),
        Claim("control: layers that turn", control, 0.0, rounding, f"all values are 1; {ROUNDING}", "<=", turned),
    ]


def _epsilon() -> float:
    """ε of the layers' dtype: drawing a record again sets jax to the precision that it was made in."""
    return float(jnp.finfo(jnp.zeros(0, float).dtype).eps)


def _rounding(depth: int) -> float:
    """What rounding the known layers moves their values by: their condition is about 1000."""
    return 1000 * depth**0.5 * _epsilon()


def _block_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    first, last = result["errors_length"][[0, -1]]
    least = max(FINE, _rounding(_third(config)))  # in float32 the layers themselves are rounded by more
    short = "Blocks of one layer each: no value is off by more than {measured:.1e} nats"
    long = "Blocks of the greatest length, unchecked: some value is off by {measured:.1f} nats"
    return [
        Claim("blocks of one layer", first, least, 0.0, KNOWN, "<=", short),
        Claim("blocks too long: wrong", last, 1.0, 0.0, KNOWN, ">=", long),
    ]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Time and errors of every way against depth, width and batch; what a block's length costs; and a profile."""
    title = f"All singular values right, and what it costs ({result['device']})"
    fig, axes = plotting.figure(3, 3, title, width=12.6, height=10.2)
    width, third = config.narrow[0], _third(config)
    panels = {
        "depth": (config.depths, "layers", f"width {width}"),
        "width": (config.widths, "width", f"{third} layers"),
        "batch": (config.batches, "products in a batch", f"{third} layers of width {config.widths[0]}"),
    }
    for (above, below), (name, (x, label, where)) in zip(axes[:2].T, panels.items(), strict=True):
        _plot_times(above, x, result[f"seconds_{name}"])
        above.set_title(f"Time, {where}")
        for index, errors in zip((1, 2, 3), result[f"errors_{name}"], strict=True):
            plotting.measured(below, x, errors[None], WAYS[index], index, linestyle="-", linewidth=0.7)
        below.set(yscale="log", ylabel="largest error of a value [nats]", title=f"Errors at 1e-6, {where}")
        for ax in (above, below):
            ax.set(xscale="log", xlabel=label)
            ax.set_xticks(x, [str(value) for value in x])
            ax.xaxis.minorticks_off()
    axes[0, 0].legend()
    axes[1, 0].legend(loc="center right")
    _plot_block_times(axes[2, 0], config, result)
    _plot_block_errors(axes[2, 1], config, result)
    _plot_profile(axes[2, 2], result)
    return fig


def _plot_times(ax, x, seconds: np.ndarray) -> None:
    for index, way in enumerate(WAYS):
        if seconds[:, index].any():
            plotting.measured(ax, x, 1e3 * seconds[:, index].T, way, index, linestyle="-", linewidth=0.7)
    ax.set(yscale="log", ylabel="milliseconds")


def _plot_block_times(ax, config: Config, result: dict[str, np.ndarray]) -> None:
    plain, cholesky, reflections, *others = result["seconds_blocks"]
    depth, count = _third(config), len(config.lengths)
    lengths, ratios = np.array(config.lengths), np.stack([_ratios(one, plain) for one in others])
    each = _finite_ratio(np.minimum(cholesky, reflections), plain)
    plotting.theory(ax, lengths, 1 + each * np.ceil(depth / lengths) / depth, "floor: multiplying and factoring", 2)
    plotting.measured(ax, lengths, ratios[:count].T, "this length, unchecked", 4)
    _plot_tolerances(ax, depth / result["blocks_tolerance"][:, 0], ratios[count:], config.tolerances)
    ax.set_ylabel("time over plain product")
    ax.set_title(f"What a block costs, {depth} Gaussian layers of width {config.narrow[0]}")
    _finish_blocks(ax)


def _plot_block_errors(ax, config: Config, result: dict[str, np.ndarray]) -> None:
    depth, errors = _third(config), result["errors_tolerance"]
    plotting.measured(ax, config.lengths, result["errors_length"][None], "this length, unchecked", 4)
    _plot_tolerances(ax, depth / result["blocks_known"][:, 0], errors[:, None], config.tolerances)
    ax.set_ylabel("largest error of a value [nats]")
    ax.set_title(f"And what it loses, {depth} known layers of width {config.narrow[0]}")
    _finish_blocks(ax)


def _plot_tolerances(ax, lengths: np.ndarray, samples: np.ndarray, tolerances: tuple[float, ...]) -> None:
    """Ours at the mean length of its blocks, each with what was asked for beside it."""
    plotting.measured(ax, lengths, samples.T, "gradjax, length chosen by its tolerance", 3)
    for length, values, tolerance in zip(lengths, samples, tolerances, strict=True):
        place = (length, np.median(values))
        side = -9 if tolerance == max(tolerances) else 4  # the coarsest two stand at nearly one length
        ax.annotate(f"{tolerance:.0e}", place, xytext=(6, side), textcoords="offset points", fontsize=7)


def _finish_blocks(ax) -> None:
    ticks = [2**power for power in range(7)]
    ax.set(xscale="log", yscale="log", xlabel="layers in a block")
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.xaxis.minorticks_off()
    ax.legend()


def _plot_profile(ax, result: dict[str, np.ndarray]) -> None:
    profile = np.stack([_profile(result, case) for case in range(len(CASES))])
    below, places = np.zeros(len(CASES)), np.arange(len(CASES))
    for index, (name, part) in enumerate(zip(PARTS, np.maximum(profile, 0).T, strict=True)):
        ax.bar(places, part, 0.6, below, color=plotting.COLOURS[(0, 4, 5, 1, 7)[index]], label=name)
        below = below + part
    floors = [_finite_ratio(row[0] + np.minimum(*row[-2:]), row[0]) for row in result["seconds_table"]]
    plotting.measured(ax, places, np.array(floors)[None], "floor", 2)
    plotting.measured(ax, places, np.array(PROMISES[_platform(result)])[None], "promised, at most", 6)
    names = [f"{kind}\n{result['sizes'][SIZES.index(size)][0]} wide" for kind, size in CASES]
    ax.set_xticks(places, [name.replace("-", "-\n") for name in names])
    ax.set(ylabel="time over plain product", title="Where the time goes, at 1e-6", ylim=(0, 1.45 * below.max() + 0.1))
    ax.legend(ncols=2, loc="upper right")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
