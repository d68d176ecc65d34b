"""What exactness costs: every singular value of a deep product, and the ways that lose most

How much longer does it take to get all singular values of a product of many layers right than to get most of them
wrong?

Multiplying the layers and calling `svd` loses every value below rounding times the largest. The diagonals of a running
QR follow the growth rates, but are other numbers than singular values. `gradjax.products` multiplies blocks of layers
as well, and after each block factors what it has, so that no digit drowns: the more digits are asked for (`tolerance`),
the shorter the blocks, and the longer it takes. The floor of all four is the plain product itself.

Prediction, and promise: on two CPU cores at most 2.5 times the plain product for Gaussian layers at a tolerance of
1e-6, and 1.3 times for layers that are nearly orthogonal; twice that at 1e-9. Speed is told twice: the part that grows
with depth over the plain product, and the whole over product and `svd`. Control: where layers only turn, a plain
product loses nothing.

Found: exactness costs more than was promised, by the factors in the claims. Three ways to factor a block were measured
(elimination; Cholesky's factor with its smallest pivot as the estimate of what a block loses; the same with the longest
column of R⁻¹) and the last is used here: it alone kept every tested case within 1e-9. Accuracy was not traded for time:
what misses its promise is published as missing it, with the reason.

Here: time is a median of rounds in which every way runs once, side by side. Errors are taken where all values are
known: layers A_l D_l A_(l−1)⁻¹, dense and askew, whose D multiply, with the growth rates that Gaussian layers have.
PyTorch, where it is installed, takes the Jacobian of the same linear network by `vmap(jacrev)` and its `svdvals`.

Predict: multiplying 960 layers of width 64 takes some milliseconds; factoring after every layer takes many times that.
How much longer does it take to get every one of the 64 values right to a millionth?

Look: {whole: Gaussian, narrow:.1f} times as long as the plain product, and {whole: near-orthogonal, narrow:.1f} times
where the layers are nearly orthogonal. The values of the product, taken by `svd`, are off by up to
{product, then SVD: wrong:.0f} nats, those of the running QR by {running QR: other numbers:.1f}, ours by
{error at 1e-6:.0e}.

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
from gradjax.study import Claim, plotting, progress
from gradjax.theory.finite_width import gaussian_product_exponents

ORDER = 10
WAYS = ("plain product", "product, then SVD", "running QR", "gradjax", "PyTorch")
KINDS = ("Gaussian", "near-orthogonal")
SIZES = ("narrow", "wide")
CASES = tuple((kind, size) for kind in KINDS for size in SIZES)
# the whole at tolerance 1e-6 over the plain product, at most, for the cases above
PROMISES = {"cpu": (2.5, 2.5, 1.3, 1.3), "gpu": (3.0, 4.0, 3.0, 4.0)}
COARSE, FINE = 1e-6, 1e-9
TORCH_PROMISE = 60.0  # PyTorch over ours on a GPU, at least


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
    """Where time is taken against the batch, at the first width."""
    tolerances: tuple[float, ...] = (1e-3, 1e-6, 1e-9, 1e-11)
    """What is asked for, and with it the block length, at the narrow size; 1e-6 and 1e-9 among them."""
    rounds: int = 9
    """In each of which every way runs once: the points' spread."""
    slack: float = 1.0
    """How many times the promised time a claim allows: 1 is the promise; tests run small products on busy machines."""
    seed: int = 0
    """Of the layers."""
    plant: str = ""
    """A deliberate fault, for tests: 'still_clock' (no time passes), 'exchanged' (ours and the others' values change
    places), 'stretching_control' (the control's layers stretch)."""


PRESETS = {
    "quick": Config(
        narrow=(32, 96, 1),
        wide=(32, 96, 1),
        depths=(24, 96),
        widths=(32,),
        batches=(1,),
        tolerances=(COARSE, FINE),
        rounds=5,
        slack=5000.0,
    ),
    "full": Config(),
}
TIME_CLAIMS = tuple(
    f"{what}: {kind}, {size}" for kind, size in CASES for what in ("whole", "whole at 1e-9", "chain", "beside SVD")
)
# seen in a profile at width 256 on one core
FACTORED = "factoring a block takes as long as multiplying six layers"
MISSES = {
    **{name: f"{FACTORED}, and a block of 1e-6 holds three" for name in TIME_CLAIMS if "Gaussian" in name},
    **{f"whole at 1e-9: Gaussian, {size}": f"{FACTORED}, and a block of 1e-9 holds one" for size in SIZES},
    **{name: f"{FACTORED}, and two cores speed that up less" for name in TIME_CLAIMS if "near-orthogonal" in name},
}
PLANTS = {
    "still_clock": (*TIME_CLAIMS, "PyTorch"),
    "exchanged": ("error at 1e-6", "error at 1e-9", "bound", "product, then SVD: wrong", "running QR: other numbers"),
    "stretching_control": ("control: layers that turn",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Seconds of every way in every round (zero where it is not installed), and largest errors."""
    clock = (lambda: 0.0) if config.plant == "still_clock" else time.perf_counter
    return _table(config, clock) | _sweeps(config, clock) | _errors(config) | {"device": np.array(_device())}


def _table(config: Config, clock: Callable) -> dict[str, np.ndarray]:
    """Seconds (cases, ways, rounds); the ways are WAYS, then ours at 1e-9, on a quarter of the layers, with bounds."""
    rows = []
    for kind, size in progress(CASES, "promised cases"):
        width, depth, batch = _size(config, size)
        factors = _layers(kind, width, depth, batch, config.seed)
        ours = [
            functools.partial(log_singular_values, factors, tolerance=FINE),
            functools.partial(log_singular_values, factors[..., : depth // 4, :, :], tolerance=COARSE),
            functools.partial(log_singular_values_with_error, factors, tolerance=COARSE),
        ]
        rows.append(race(_ways(factors, COARSE, "running QR") + ours, config.rounds, clock))
    return {"seconds_table": np.stack(rows), "sizes": np.array([_size(config, size) for size in SIZES])}


def _sweeps(config: Config, clock: Callable) -> dict[str, np.ndarray]:
    """Seconds (points, ways, rounds) of Gaussian layers against depth, width, batch and tolerance."""
    width, depth = config.narrow[0], config.depths[min(2, len(config.depths) - 1)]
    sweeps = {
        "depth": [(width, d, 1, COARSE) for d in config.depths],
        "width": [(w, depth, 1, COARSE) for w in config.widths],
        "batch": [(config.widths[0], depth, b, COARSE) for b in config.batches],
        "tolerance": [(*config.narrow, t) for t in config.tolerances],
    }
    found = {}
    for name, points in sweeps.items():
        left_out = [way for way in WAYS[1:] if way != "gradjax"] if name == "tolerance" else []
        rows = [
            race(_ways(_layers("Gaussian", w, d, b, config.seed), tolerance, *left_out), config.rounds, clock)
            for w, d, b, tolerance in progress(points, f"time against {name}")
        ]
        found[f"seconds_{name}"] = np.stack(rows)
    return found


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


def _ways(factors: jax.Array, tolerance: float, *left_out: str) -> list[Callable | None]:
    """Every way as a function without arguments, in the order of `WAYS`; None for those that are left out."""
    ways = [
        functools.partial(plain_product, factors),
        functools.partial(naive_log_singular_values, factors),
        functools.partial(running_qr_logs, factors),
        functools.partial(log_singular_values, factors, tolerance=tolerance),
        pytorch_singular_values(factors),
    ]
    return [None if name in left_out else way for name, way in zip(WAYS, ways, strict=True)]


def _errors(config: Config) -> dict[str, np.ndarray]:
    """The largest errors against known values: (ways, points) with depth and width, and of ours with the tolerance."""
    width, depth, _ = config.narrow
    third = config.depths[min(2, len(config.depths) - 1)]
    of_ways = {
        "depth": [_largest_errors(config, width, d) for d in config.depths],
        "width": [_largest_errors(config, w, third) for w in config.widths],
    }
    factors, truth = _known(config, width, depth)
    values, bounds = (np.asarray(a) for a in log_singular_values_with_error(factors, tolerance=COARSE))
    ours = [np.asarray(log_singular_values(factors, tolerance=t)) for t in config.tolerances]
    turning, still = _known(config, width, depth, turns=config.plant != "stretching_control")
    if config.plant == "exchanged":
        values, ours = (np.asarray(naive_log_singular_values(factors)),) * 2
        ours = [ours] * len(config.tolerances)
    return {f"errors_{name}": np.stack(rows, axis=1) for name, rows in of_ways.items()} | {
        "errors_tolerance": np.array([_largest(found, truth) for found in ours]),
        "spread": np.array(np.ptp(truth)),
        "bound_minus_error": np.array(np.min(bounds - np.abs(np.nan_to_num(values, neginf=-1e9) - truth))),
        "error_control": np.array(_largest(naive_log_singular_values(turning), still)),
    }


def _largest_errors(config: Config, width: int, depth: int) -> list[float]:
    """Of product then SVD, running QR, and ours at 1e-6."""
    factors, truth = _known(config, width, depth)
    ours = log_singular_values(factors, tolerance=COARSE)
    others = [naive_log_singular_values(factors), running_qr_logs(factors)]
    found = [ours, ours, others[0]] if config.plant == "exchanged" else [*others, ours]
    return [_largest(values, truth) for values in found]


def _largest(values, truth: np.ndarray) -> float:
    """The largest error of a finite value; a value of −inf is as far off as the largest of all is from the smallest."""
    values = np.asarray(values, float)
    return float(np.max(np.where(np.isfinite(values), np.abs(values - truth), np.ptp(truth))))


def _known(config: Config, width: int, depth: int, turns: bool = False) -> tuple[jax.Array, np.ndarray]:
    """Layers and the log singular values of their product, which grow as those of Gaussian layers do; or do not."""
    rng = np.random.default_rng([config.seed, width, depth])
    logs = np.asarray(gaussian_product_exponents(width, 1.0)) + 0.3 * rng.standard_normal((depth, width))
    logs = np.zeros_like(logs) if turns else logs
    return jnp.asarray(known_product(logs, rng, 0.0 if turns else 0.5), float), np.sort(logs.sum(axis=0))[::-1]


def _device() -> str:
    kind = jax.devices()[0].device_kind
    return f"{len(os.sched_getaffinity(0))} CPU cores" if jax.default_backend() == "cpu" else kind


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """What was promised of time, as medians over the rounds; and errors, whose truth is rounded with the layers."""
    return [*_time_claims(config, result), *_error_claims(config, result)]


def _time_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    device = str(result["device"])
    platform = "cpu" if "CPU" in device else "gpu"
    found, against_torch = [], []
    for (kind, size), seconds, promise in zip(CASES, result["seconds_table"], PROMISES[platform], strict=True):
        plain, naive, _, ours, torch, fine, quarter, _ = seconds
        limit = promise * config.slack
        ratios = {
            "whole": (ours, plain, limit, "all values at 1e-6 take {measured:.2f} times as long as the plain product"),
            "whole at 1e-9": (fine, plain, 2 * limit, "all values at 1e-9 take {measured:.2f} times as long as it"),
            "chain": ((ours - quarter) / 0.75, plain, limit, "what grows with depth, {measured:.2f} times as long"),
            "beside SVD": (ours, naive, limit, "all values, {measured:.2f} times as long as product, then SVD"),
        }
        against_torch.append(_median_ratio(torch, ours))
        width, depth, batch = result["sizes"][SIZES.index(size)]
        where = f"{batch} of {depth} {kind} layers of width {width}, {device}"
        for what, (one, other, most, words) in ratios.items():
            name = f"{what}: {kind}, {size}"
            found.append(Claim(name, _median_ratio(one, other), most, 0.0, "promised", "<=", f"{where}: {words}"))
    slowest = min(against_torch)  # NaN goes through
    sentence = f"{device}: PyTorch takes at least {{measured:.2f}} times as long as ours (0: it is not installed)"
    least = TORCH_PROMISE if slowest > 0 and platform == "gpu" else 0.0
    return [*found, Claim("PyTorch", slowest, least, 0.0, "promised on a GPU", ">=", sentence)]


def _median_ratio(one: np.ndarray, other: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.median(one / other))


def _error_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    rounding = 1000 * config.narrow[1] ** 0.5 * np.finfo(np.float64).eps  # of layers whose condition is about 1000
    of_ours = dict(zip(config.tolerances, result["errors_tolerance"], strict=True))
    bound, control = float(result["bound_minus_error"]), float(result["error_control"])
    lost, qr = result["errors_depth"][:2, -1]
    source, off = "closed form, Σ ln D_l", "No value is off by more than {measured:.1e} nats"
    least = max((float(result["spread"]) + np.log(np.finfo(np.float64).eps)) / 2, 1.0)
    return [
        Claim("error at 1e-6", of_ours[COARSE], COARSE, rounding, source, "<=", f"{off} where 1e-6 is asked for"),
        Claim("error at 1e-9", of_ours[FINE], FINE, rounding, source, "<=", f"{off} where 1e-9 is asked for"),
        Claim("bound", bound, 0.0, rounding, source, ">=", "No bound is below its error"),
        Claim(
            name="product, then SVD: wrong",
            measured=lost,
            expected=least,
            tolerance=0.0,
            source="half of the spread beyond rounding",
            relation=">=",
            statement="Product, then SVD is off by {measured:.0f} nats",
        ),
        Claim(
            name="running QR: other numbers",
            measured=qr,
            expected=0.1,
            tolerance=0.0,
            source=source,
            relation=">=",
            statement="The running QR's largest distance from a value is {measured:.2f} nats",
        ),
        Claim(
            name="control: layers that turn",
            measured=control,
            expected=0.0,
            tolerance=rounding,
            source="all values are 1",
            relation="<=",
            statement="Where layers only turn, product, then SVD is right",
        ),
    ]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Time of every way against depth, width and batch; errors; and what a digit costs."""
    device = str(result["device"])
    fig, axes = plotting.figure(2, 3, f"All singular values right, and what it costs ({device})", width=12.6, height=7)
    width, third = config.narrow[0], config.depths[min(2, len(config.depths) - 1)]
    panels = {
        "depth": (config.depths, "layers", f"Time, width {width}"),
        "width": (config.widths, "width", f"Time, {third} layers"),
        "batch": (config.batches, "products in a batch", f"Time, {third} layers of width {config.widths[0]}"),
    }
    for ax, (name, (x, label, title)) in zip(axes[0], panels.items(), strict=True):
        for index, way in enumerate(WAYS):
            seconds = result[f"seconds_{name}"][:, index]
            if seconds.any():
                plotting.measured(ax, x, 1e3 * seconds.T, way, index, linestyle="-", linewidth=0.7)
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="milliseconds", title=title)
        ax.set_xticks(x, [str(value) for value in x])
        ax.xaxis.minorticks_off()
    axes[0, 0].legend()
    _plot_errors(axes[1, 0], config, result)
    _plot_tolerances(axes[1, 1], axes[1, 2], config, result)
    return fig


def _plot_errors(ax, config: Config, result: dict[str, np.ndarray]) -> None:
    for index, errors in zip((1, 2, 3), result["errors_depth"], strict=True):
        plotting.measured(ax, config.depths, errors[None], WAYS[index], index, linestyle="-", linewidth=0.7)
    ax.set(xscale="log", yscale="log", xlabel="layers", ylabel="largest error of a value [nats]")
    ax.set_title(f"Errors, width {config.narrow[0]}, tolerance 1e-6")
    ax.set_xticks(config.depths, [str(depth) for depth in config.depths])
    ax.xaxis.minorticks_off()
    ax.legend(loc="center right")


def _plot_tolerances(errors, times, config: Config, result: dict[str, np.ndarray]) -> None:
    tolerances = np.array(config.tolerances)
    plotting.theory(errors, tolerances, tolerances, "what was asked for", 2)
    plotting.measured(errors, tolerances, result["errors_tolerance"][None], "gradjax", 3)
    errors.set(xscale="log", yscale="log", xlabel="tolerance [nats]", ylabel="largest error of a value [nats]")
    seconds = result["seconds_tolerance"]
    promise = PROMISES["cpu" if "CPU" in str(result["device"]) else "gpu"][0]
    plotting.theory(times, [FINE, COARSE], [2 * promise, promise], "promised, at most", 2)
    plotting.measured(times, tolerances, (seconds[:, 3] / seconds[:, 0]).T, "gradjax, Gaussian layers", 3)
    times.set(xscale="log", yscale="log", xlabel="tolerance [nats]", ylabel="time over plain product")
    width, depth, _ = config.narrow
    for ax, title in ((errors, "Blocks follow the tolerance"), (times, "What a digit costs")):
        ax.set_title(f"{title}, {depth} layers of width {width}")
        ax.legend()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
