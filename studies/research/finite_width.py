"""The spread of a deep network's gradient is set by its depth over its width

By how much do the gradients of equally built random networks differ, and why does depth make it worse?

Mean field theory is the limit of infinitely wide layers, where every network of one kind has the same gradient. A real
layer of n units multiplies the squared norm |J u|² of a signal by a random factor: a sum of n squares, of which a ReLU
keeps about half. Factors multiply, so logarithms add.

Prediction: for weights of variance 2/n, ln |J u|² has the mean -5β/2 and the variance 5β with β = Σ 1/n_l, to leading
order in 1/n. So the typical network falls behind the mean, the mean of the square is carried by rare large values
(E|J u|⁴ / (E|J u|²)² = Π(1 + 5/n_l), exactly), and only depth over width counts. That mean is n_L / n_0, the units of
the last layer over those of the first, whatever lies between. At small width the leading order is
off by up to a factor of two; the exact law is a mixture of chi-squared laws over the number of open gates. A layer
dies, every gate closed, with probability 2^-n. Control: linear layers, whose variance is 2/n, not 5/n, and orthogonal
ones, which do not spread at all.

Predict: ten layers of width 50 and twenty of width 100: whose gradients differ more from network to network?

Look: neither; {variance: relu, width 50, depth 10:.2f} and {variance: relu, width 100, depth 20:.2f}, for both have
the same depth over width.

Here: many random networks of each shape, J u by `jax.jvp`; means and variances over the networks.

Reference: Hanin (2018), arXiv:1801.03744; Hanin and Nica (2019), arXiv:1812.05994; the exact law is derived in
`gradjax.theory.finite_width`.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.study import Claim, plotting, progress
from gradjax.theory import finite_width

ORDER = 12
CHUNK = 4e6  # random weights at once


@dataclasses.dataclass(frozen=True)
class Shape:
    """A network of equal layers, or of ever narrower ones: what the study compares."""

    width: int
    depth: int
    kind: str = "relu"
    last: int = 0
    """Units of the last layer, reached in equal steps; 0: as many as the others."""

    @property
    def widths(self) -> list[int]:
        return np.linspace(self.width, self.last or self.width, self.depth + 1).astype(int).tolist()

    @property
    def name(self) -> str:
        return f"{self.kind}, width {self.width}, depth {self.depth}"


SHAPES = (  # a line here adds a curve and its claims
    Shape(50, 10),
    Shape(20, 10),
    Shape(100, 20),
    Shape(50, 50),
    Shape(8, 8),
    Shape(50, 10, "linear"),
)
SMALL, NARROW, DEEP, FRAIL = Shape(200, 10), Shape(8, 8), Shape(50, 50), Shape(3, 8)
CONTROL, TAPERED = Shape(50, 10, "orthogonal"), Shape(64, 6, last=16)
OTHERS = SMALL, FRAIL, CONTROL, TAPERED


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    networks: int = 4000
    """Random networks of each shape."""
    most_weights: float = 6e8
    """At most so many random weights a shape: fewer networks of the large ones."""
    seed: int = 0
    """Of the networks."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(networks=2000, most_weights=3e7), "full": Config()}
PLANTS = {  # gated and linear layers exchanged (so are their weight variances); weights 1.05 times as large as stated;
    # narrower networks than stated
    "gates": (
        *(f"{what}: {shape.name}" for shape in SHAPES for what in ("mean", "variance")),
        "fourth moment", "dead networks", "leading order at width 8",
    ),
    "stretched": ("orthogonal control", "mean of |J u|²"),
    "half_the_width": ("depth over width alone",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """ln |J u|² of every network (NaN beyond the last one), -inf where it is dead."""
    shapes = (*SHAPES, *OTHERS)
    logs = [_logs(config, shape, index) for index, shape in enumerate(progress(shapes, "shapes"))]
    filled = np.full((len(shapes), config.networks), np.nan)
    for row, values in zip(filled, logs, strict=True):
        row[: len(values)] = values
    laws = [_theory(shape) for shape in SHAPES]
    return {"logs": filled, "theory": np.array([law[:2] for law in laws])}


def _theory(shape: Shape) -> finite_width.LogNormMoments:
    gated = [shape.kind == "relu"] * shape.depth
    return finite_width.log_squared_norm_moments(shape.widths, gated=gated)


def _logs(config: Config, shape: Shape, index: int) -> np.ndarray:
    kind = shape.kind
    if config.plant == "gates":
        kind = {"relu": "linear", "linear": "relu"}.get(kind, kind)
    narrowed = config.plant == "half_the_width" and shape == SHAPES[2]
    widths = (dataclasses.replace(shape, width=shape.width // 2) if narrowed else shape).widths
    weights = widths[0] ** 2 * shape.depth
    count, chunk = min(config.networks, int(config.most_weights / weights)), max(1, int(CHUNK / weights))
    gain, rng = 1.05 if config.plant == "stretched" else 1.0, np.random.default_rng([config.seed, index])
    parts = [_log_norms(*_draw(rng, kind, gain, chunk, widths), kind) for _ in range(-(-count // chunk))]
    return np.concatenate(parts).astype(np.float64)[:count]


def _draw(rng, kind: str, gain: float, count: int, widths: list[int]):
    """Weights (depth, count, width, width), inputs, and unit vectors u; units that a narrower layer has not are cut."""
    width, fan_in, fan_out = widths[0], np.array(widths[:-1], np.float32), np.array(widths[1:])
    weights = rng.standard_normal((len(fan_in), count, width, width), np.float32)
    if kind == "orthogonal":
        weights = np.linalg.qr(weights)[0]
    else:
        weights *= np.sqrt((2 if kind == "relu" else 1) / fan_in)[:, None, None, None]
        weights *= (np.arange(width) < fan_out[:, None])[:, None, :, None]
    weights *= np.float32(gain)
    x, u = rng.standard_normal((2, count, width), np.float32)
    return weights, x, u / np.linalg.norm(u, axis=1, keepdims=True)


@functools.partial(jax.jit, static_argnums=3)
def _log_norms(weights, x, u, kind: str):
    """ln |J u|² of each network at its own input x."""

    def network(x):
        def layer(h, w):
            h = jnp.einsum("nij,nj->ni", w, h)
            return jax.nn.relu(h) if kind == "relu" else h, None

        return jax.lax.scan(layer, x, weights)[0]

    return jnp.log(jnp.sum(jax.jvp(network, (x,), (u,))[1] ** 2, axis=1))


def _alive(row: np.ndarray) -> np.ndarray:
    """The networks that were drawn and let something through."""
    return row[np.isfinite(row)]


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Means and variances against the exact law: four standard errors, from the networks themselves."""
    found, ours = [], "gradjax.theory.finite_width, exact"
    for row, (mean, variance), shape in zip(result["logs"], result["theory"], SHAPES, strict=False):
        logs = _alive(row)
        squares = (logs - logs.mean()) ** 2
        found += [
            Claim(f"mean: {shape.name}", logs.mean(), mean, _error(logs), ours,
                  statement=f"{shape.name}: ln |J u|² has the mean {{measured:.3f}}"),
            Claim(f"variance: {shape.name}", logs.var(), variance, _error(squares), ours,
                  statement=f"{shape.name}: ln |J u|² has the variance {{measured:.3f}}"),
        ]  # fmt: skip
    return found + _laws(result)


def _error(samples: np.ndarray) -> float:
    return 4 * float(samples.std()) / math.sqrt(len(samples))


def _laws(result: dict[str, np.ndarray]) -> list[Claim]:
    """What follows: the fourth moment at small β, networks that die, a width at which leading order fails."""
    by_shape = dict(zip((*SHAPES, *OTHERS), result["logs"], strict=True))
    squares = np.exp(_alive(by_shape[SMALL]))
    ratio = (squares**2).mean() / squares.mean() ** 2
    # the delta method: the ratio's samples by the first-order influence of each network
    influence = squares**2 / squares.mean() ** 2 - 2 * ratio * squares / squares.mean()
    frail = by_shape[FRAIL][~np.isnan(by_shape[FRAIL])]
    dead = finite_width.log_squared_norm_moments([FRAIL.width] * (FRAIL.depth + 1)).dead
    narrow, shallow, wide = (_alive(by_shape[shape]) for shape in (NARROW, SHAPES[0], SHAPES[2]))
    leading = 5 * NARROW.depth / NARROW.width
    exact = _theory(NARROW).variance / leading
    spread = (narrow - narrow.mean()) ** 2 / leading
    two = [(logs - logs.mean()) ** 2 for logs in (shallow, wide)]
    # β = 0.2 in both: what theory says still differs, by second orders in 1/n
    expected = _theory(SHAPES[0]).variance / _theory(SHAPES[2]).variance
    control = np.abs(_alive(by_shape[CONTROL])).max()
    tapered, (start, *_, end) = np.exp(by_shape[TAPERED][~np.isnan(by_shape[TAPERED])]), TAPERED.widths
    return [
        Claim("fourth moment", ratio, finite_width.fourth_moment_ratio([SMALL.width] * (SMALL.depth + 1)),
              _error(influence), "Hanin 2018, arXiv:1801.03744",
              statement="E|J u|⁴ / (E|J u|²)² is {measured:.3f} at β = 0.05"),
        Claim("mean of |J u|²", tapered.mean(), end / start, _error(tapered), "Hanin 2018, arXiv:1801.03744",
              statement=f"from {start} units to {end} in {TAPERED.depth} layers: E|J u|² is {{measured:.3f}}"),
        Claim("dead networks", np.isinf(frail).mean(), dead, 4 * math.sqrt(dead * (1 - dead) / len(frail)),
              "1 - (1 - 2^-n)^L", statement="{measured:.1%} of ReLU networks of width 3 and depth 8 pass nothing on"),
        Claim("leading order at width 8", spread.mean(), exact, _error(spread), "gradjax.theory.finite_width",
              statement="at width 8 the variance is {measured:.2f} times the leading order 5 L / n"),
        Claim("depth over width alone", two[0].mean() / two[1].mean(), expected,
              expected * math.hypot(*(_error(s) / s.mean() for s in two)), "Hanin and Nica 2019, arXiv:1812.05994",
              statement="10 layers of width 50 vary {measured:.2f} times as much as 20 of width 100"),
        Claim("orthogonal control", control, 0.0, 1e-5 * CONTROL.depth, "an orthogonal matrix keeps every norm",
              statement="orthogonal layers: |ln |J u|²| is at most {measured:.0e}"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Histograms beside the normal law of leading order, and variance against depth over width."""
    fig, axes = plotting.figure(
        1, 2, "Equal recipes, different gradients: the spread grows with depth over width", width=11, height=4.3
    )
    left, right = axes[0]
    for index, shape in enumerate((SHAPES[0], SHAPES[3], SHAPES[4])):
        row = SHAPES.index(shape)
        logs, (mean, variance) = _alive(result["logs"][row]), result["theory"][row]
        counts, edges = np.histogram(logs, np.linspace(-22, 10, 81), density=True)
        middle = (edges[1:] + edges[:-1]) / 2
        colour = plotting.COLOURS[index]
        left.stairs(counts, edges, fill=True, alpha=0.35, color=colour, label=f"measured: {shape.name}")
        normal = np.exp(-((middle - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        plotting.theory(left, middle, normal, f"normal law of theory's mean and variance: {shape.name}", index)
    left.set(xlabel="ln |J u|²", ylabel="density", title=f"{config.networks} random networks each", ylim=(0, 0.62))
    left.legend(loc="upper left", fontsize=7)
    beta = np.array([shape.depth / shape.width for shape in SHAPES])
    line = np.geomspace(0.1, 1.5, 20)
    for index, (kind, factor) in enumerate((("relu", 5), ("linear", 2))):
        plotting.theory(right, line, factor * line, f"{kind}: leading order, {factor} × depth / width", index)
        rows = [row for row, shape in enumerate(SHAPES) if shape.kind == kind]
        right.plot(
            beta[rows],
            result["theory"][rows, 1],
            "_",
            color=plotting.COLOURS[index],
            markersize=16,
            label=f"{kind}: exact",
        )
        for row in rows:
            samples = (_alive(result["logs"][row]) - _alive(result["logs"][row]).mean()) ** 2
            right.errorbar(beta[row], samples.mean(), yerr=_error(samples) / 2, fmt="o", color=plotting.COLOURS[index])
            side = {"ha": "right"} if SHAPES[row].width == 100 else {"ha": "left"}  # two points lie on each other
            right.annotate(f"   width {SHAPES[row].width}   ", (beta[row], samples.mean()), va="top", **side)
    right.set(xscale="log", yscale="log", xlabel="depth over width", ylabel="variance of ln |J u|²")
    right.set_title("points: measured, two standard errors")
    right.legend(loc="upper left")
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
