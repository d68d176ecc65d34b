"""A coordinate check against width and depth: which sizes stay when the network grows

As a network grows wider or deeper, do its activations, its gradients and its updates keep their size, so that one
learning rate serves all sizes?

Take a residual network of L blocks, h ↦ h + a W φ(h), n units wide, and one step of Adam, which moves every weight by
nearly the same amount η, up or down. The update of a weight matrix is then as aligned with its input as it can be, and
n changes of size η add up. In the standard setting (variance 1/n, one rate, a = 1) that changes a unit by η n: a wider
network takes longer steps, and the deeper one adds up those of all its blocks.

    math: Δh ∝ η n L
    code: "standard": Scaling(out=-0.5, rate=0.0, branch=0.0, rate_by_depth=0.0),

Prediction, as powers of the width: the standard setting's activations 0, gradients −1/2, updates of activations 1, of
the output 3/2. The maximal update setting (muP: the readout's deviation 1/n, rates 1/n behind the first layer) has 0,
−1, 0 and 0. The depth: at the start the mean field of residual networks gives the sizes, and the first step changes the
output by η Σ |∂f / ∂w| over all weights, which the same mean field gives. It grows like L at least, with muP too, for
that speaks of the width alone. It takes branches of 1/√L and rates of 1/√L to end it. Controls: the standard weights
with muP's rates, whose update of activations does not grow with the width, so that it is the rates and not the weights
that do it; and muP of the width alone, whose updates grow with the depth.

Predict: the learning rate that is best at width 64, is it too large or too small at width 1024?

Look: too large. Each doubling of the width doubles the first step's change of the output {standard: output by
width:.1f} times over, with muP {muP, 1/√L: output by width:.1f} times.

Reference: Yang, Hu, Babuschkin et al. (2022), arXiv:2203.03466, the coordinate check; Yang, Yu, Zhu, Hayou (2023),
arXiv:2310.02244, and Bordelon et al. (2023), arXiv:2309.16620, for the depth; Yang, Schoenholz (2017),
arXiv:1712.08969, for the mean field of residual networks.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Stack, hidden_states, run
from gradjax.study import Claim, fits, plotting
from gradjax.theory.residual import residual_growth

ORDER = 29
INPUTS, RATE = 16, 3e-6  # the rate is so small that the step is linear at every size
QUANTITIES = ("activation", "gradient", "update", "output")
NAMES = ("activation: rms of h_L", "gradient: rms of ∂f / ∂h_0", "update: rms of Δh_L", "output: rms of Δf")
QUICKLY = {"xla_backend_optimization_level": 1}  # small programs, more time compiling than running


class Scaling(NamedTuple):
    """How a network is changed with its size, as powers of the width (out, rate) and of the depth (the others).

    Args:
        out: of the readout's deviation.
        rate: of the learning rate behind the first layer.
        branch: of the factor a on every block.
        rate_by_depth: of the learning rate of the blocks.
    """

    out: float
    rate: float
    branch: float
    rate_by_depth: float


SCALINGS = {  # a line here adds a candidate
    "standard": Scaling(out=-0.5, rate=0.0, branch=0.0, rate_by_depth=0.0),
    "muP, 1/√L": Scaling(out=-1.0, rate=-1.0, branch=-0.5, rate_by_depth=-0.5),
    "muP by width alone": Scaling(out=-1.0, rate=-1.0, branch=0.0, rate_by_depth=0.0),
    "standard weights, rates 1/n": Scaling(out=-0.5, rate=-1.0, branch=0.0, rate_by_depth=0.0),
}
COMPARED = ("standard", "muP, 1/√L")
FLAT = 0.1  # a power of the depth that counts as none, for the update, of which the depth has no theory


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Units n of the networks compared by width; the first is where all candidates are the same network."""
    depths: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Blocks L of the networks compared by depth; the first is where all candidates are the same network."""
    seeds: int = 24
    """Networks at each size."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(widths=(32, 128, 512), depths=(4, 12, 36), seeds=12), "full": Config()}
PLANTS = {  # the two settings exchanged; weights whose deviation grows with the width; controls that are no controls
    "swapped": (
        *(f"{name}: {quantity} by width" for name in COMPARED for quantity in QUANTITIES[1:]),
        *(f"{name}: {quantity} by depth" for name in COMPARED for quantity in QUANTITIES),
    ),
    "wide_weights": tuple(f"{name}: activation by width" for name in COMPARED),
    "no_controls": ("control: rates alone, by width", "control: muP of the width, by depth"),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """ln of the four sizes at each width and at each depth: (candidate, size, quantity, seed)."""
    names = list(SCALINGS)
    if config.plant == "swapped":
        names = [names[1], names[0], *names[2:]]
    if config.plant == "no_controls":
        names = [*names[:2], "muP, 1/√L", "standard"]
    grid = {"candidate": range(len(names)), "network": range(config.seeds)}

    def at(width: int, depth: int) -> np.ndarray:
        cell = functools.partial(_sizes, config, [SCALINGS[name] for name in names], width, depth)
        options = {"seed": config.seed, "name": f"{width}-by-{depth}", "compiler_options": QUICKLY}
        found = gradjax.study.sweep(cell, grid, **options)
        return found.transpose(0, 2, 1)

    return {
        "by_width": np.stack([at(width, config.depths[0]) for width in config.widths], axis=1),
        "by_depth": np.stack([at(config.widths[1], depth) for depth in config.depths], axis=1),
    }


def _sizes(config: Config, scalings, width: int, depth: int, _, candidate, network):
    """The grid's cell: ln of each quantity, before and in the first step of Adam, (quantity,)."""
    wider, deeper = width / config.widths[0], depth / config.depths[0]
    gain = wider**0.5 if config.plant == "wide_weights" else 1.0
    out, rate, branch, rate_by_depth = jnp.array(scalings, jnp.float32)[candidate]
    key = jax.random.split(jax.random.key(config.seed), config.seeds)[network]
    shapes = (INPUTS,), (INPUTS, width), (depth, width, width), (width, 1)
    each = zip(jax.random.split(key, 4), shapes, strict=True)
    x, inner, hidden, outer = (jax.random.normal(k, shape, jnp.float32) for k, shape in each)
    x = x * INPUTS**0.5 / jnp.linalg.norm(x)
    # relative to the first size, at which every candidate has variances 1/fan-in, a = 1 and one rate
    deviation = wider ** (out + 0.5) / width**0.5
    parameters = {"in": inner / INPUTS**0.5, "hidden": gain * hidden / width**0.5, "out": outer * deviation}
    a, behind = deeper**branch, RATE * wider**rate
    rates = {"in": RATE, "hidden": behind * deeper**rate_by_depth, "out": behind}
    grads = jax.grad(lambda p: run(_layers(p, a), x)[0])(parameters)
    # Adam's first step: both of its means are the gradient's own, g / √g²
    moved = jax.tree.map(lambda p, g, r: p - r * jnp.sign(g), parameters, grads, rates)
    (before, was), (after, now) = (_through(p, a, x) for p in (parameters, moved))
    signal = jax.grad(lambda h: run(_layers(parameters, a)[1:], h)[0])(x @ parameters["in"])
    return jnp.stack([_log_rms(v) for v in (before, signal, after - before, now - was)])


def _layers(p: dict, a) -> list:
    block = Partial(lambda w, h: h + a * (jnp.tanh(h) @ w), p["hidden"])
    return [Partial(lambda w, h: h @ w, p["in"]), Stack(block), Partial(lambda w, h: h @ w, p["out"])]


def _through(p: dict, a, x):
    """What the last block gives, and the output."""
    y, states = hidden_states(_layers(p, a), x)
    return states[-1], y  # what enters the readout, and what leaves it


def _log_rms(values):
    return jnp.log(jnp.mean(values**2)) / 2


def _theory(name: str, width: int, depth: int, config: Config) -> dict[str, float]:
    """ln of each size in the limit of large widths; what the first step does to the output is η Σ |∂f / ∂w|.

    Activations and derivatives are normal, so that their mean modulus is √(2/π) of their root mean square.
    """
    out, rate, branch, rate_by_depth = SCALINGS[name]
    wider, deeper, modulus = width / config.widths[0], depth / config.depths[0], (2 / np.pi) ** 0.5
    growth = residual_growth("tanh", 1.0, depth, deeper**branch)
    slopes = wider ** (out + 0.5) / width**0.5 * np.exp(growth.log_squared_gradient / 2)  # rms of ∂f / ∂h_l
    z = np.linspace(-9, 9, 721)
    bent = np.abs(np.tanh(np.sqrt(growth.length[:-1])[:, None] * z)) @ np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    blocks = deeper ** (branch + rate_by_depth) * wider**rate * width**2 * modulus * (bent @ slopes[1:])
    readout = wider**rate * width * modulus * growth.length[-1] ** 0.5
    first = INPUTS * width * modulus**2 * slopes[0]
    own = np.exp(growth.log_squared_gradient / 2)  # what a change of h_l, aligned with ∂f / ∂h_l, has become at h_L
    moved = deeper ** (branch + rate_by_depth) * wider**rate * width * (bent @ own[1:]) + INPUTS * modulus * own[0]
    return {
        "activation": np.log(growth.length[-1]) / 2,
        "gradient": np.log(slopes[0]),
        "update": np.log(RATE * moved),
        "output": np.log(RATE * (blocks + readout + first)),
    }


def _line(name: str, quantity: str, axis: str, config: Config) -> np.ndarray:
    """Theory at every size along an axis."""
    widths, depths = config.widths, config.depths
    sizes = [(n, depths[0]) for n in widths] if axis == "width" else [(widths[1], depth) for depth in depths]
    return np.array([_theory(name, *size, config)[quantity] for size in sizes])


def _powers(result, config: Config, name: str, quantity: str, axis: str) -> np.ndarray:
    """Slope of each network's line in log-log, (seeds,)."""
    rows = result[f"by_{axis}"][list(SCALINGS).index(name), :, QUANTITIES.index(quantity)]
    return np.array([fits.slope(np.log(getattr(config, f"{axis}s")), row) for row in rows.T])


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Powers with five standard errors over seeds, and how far a mean of logs falls behind the log of the mean.

    Theory gives mean squares. Of a size whose log varies by v over networks that gap is v, so that a power errs by the
    slope of v, which is largest for the gradient.
    """
    found, logs = [], {axis: np.log(getattr(config, f"{axis}s")) for axis in ("width", "depth")}
    paper = "mean field: gradjax.theory.residual; Yang et al. 2022 and 2023"

    def claim(label: str, name: str, quantity: str, axis: str, expected: float, sign: str, words: str):
        powers, which = _powers(result, config, name, quantity, axis), list(SCALINGS).index(name)
        varying = result[f"by_{axis}"][which, :, QUANTITIES.index("gradient")].var(axis=-1, ddof=1)
        slack = 5 * float(powers.std(ddof=1)) / config.seeds**0.5 + abs(fits.slope(logs[axis], varying))
        return Claim(label, powers.mean(), float(expected), slack, paper, sign, words)

    for name, axis, quantity in itertools.product(COMPARED, logs, QUANTITIES):
        words = f"{name}: the {quantity} grows with the power {{measured:.2f}} of the {axis}"
        expected, sign = fits.slope(logs[axis], _line(name, quantity, axis, config)), "="
        if (quantity, axis) == ("update", "depth"):
            expected, sign = (1.0, ">=") if name == "standard" else (FLAT, "<=")
        found.append(claim(f"{name}: {quantity} by {axis}", name, quantity, axis, expected, sign, words))
    return [
        *found,
        claim("control: rates alone, by width", "standard weights, rates 1/n", "update", "width", 0.0, "=",
              "with muP's rates alone the update of activations grows with the power {measured:.2f} of the width"),
        claim("control: muP of the width, by depth", "muP by width alone", "update", "depth", 1.0, ">=",
              "muP of the width alone leaves updates that grow with the power {measured:.2f} of the depth"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Each size against the width above, against the depth below."""
    title = "Standard: every size has a learning rate of its own. muP with 1/√L: one serves all widths and depths"
    fig, axes = plotting.figure(2, 4, title, width=14, height=7.6)
    for row, axis in enumerate(("width", "depth")):
        for column, (quantity, label) in enumerate(zip(QUANTITIES, NAMES, strict=True)):
            _panel(axes[row, column], config, result, axis, quantity, label)
    lines = [line for line in axes[0, 0].lines if str(line.get_label()).startswith("theory")]
    order = "powers are given in this order"
    fig.legend(handles=[*axes[0, 0].containers, *lines], loc="outside lower center", ncols=4, title=order)
    return fig


def _panel(ax, config: Config, result, axis: str, quantity: str, label: str) -> None:
    """One size of all candidates, as a multiple of what it is at the first size; the powers in the title."""
    sizes, powers, ends = np.array(getattr(config, f"{axis}s")), [], [0.5, 2.0]
    for index, name in enumerate(SCALINGS):
        rows = result[f"by_{axis}"][index, :, QUANTITIES.index(quantity)].T
        relative = np.exp(rows - rows[:, :1].mean())
        powers.append(f"{_powers(result, config, name, quantity, axis).mean():.2f}")
        beside = sizes * 1.05 ** (index - 1.5)  # candidates that agree are seen beside each other
        plotting.measured(ax, beside, relative, name, index, "quartiles")
        ends = [min(ends[0], relative.min()), max(ends[1], relative.max())]
        if (quantity, axis) != ("update", "depth"):  # for which there is no theory
            line = _line(name, quantity, axis, config)
            plotting.theory(ax, sizes, np.exp(line - line[0]), f"theory, {name}", index, linewidth=1)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel=f"{axis} {'n' if axis == 'width' else 'L'}",
        ylim=(ends[0] / 1.2, ends[1] * 1.2),
    )
    ax.set_ylabel(f"multiple of that at {axis} {sizes[0]}")
    if ends[1] < 30 * ends[0]:
        ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if ends[0] / 1.2 <= tick <= 1.2 * ends[1]]
        ax.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xticks(sizes, labels=[str(size) for size in sizes])
    ax.set_title(f"{label}\npowers: {', '.join(powers)}", fontsize=9)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
