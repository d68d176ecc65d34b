"""Why it is bad: networks that stall, networks that blow up, and numbers that run out

What does a vanished or exploded gradient do to training, and how small a network is already lost?

A gradient that is too small or too large would be a curiosity if training could do without it. It cannot: the gradient
is all that a training step knows. Here small networks learn to read handwritten digits, images of 8 × 8 pixels. Each
layer has 64 units, one for each pixel, and only the depth differs. Every network gets the same hundred steps of
gradient descent at the same learning rate. One that has learnt nothing says each of the ten digits with the same
confidence, and its loss is ln 10 ≈ 2.30.

Three kinds are trained: a sigmoid network with weights of $σ_w = 1$, whose gradient vanishes; a ReLU network with
$σ_w = 3$, whose gradient explodes; and, as a control, a ReLU network with $σ_w = √2$, whose factor a layer is 1.

Too little: stalling
--------------------

term: stall, stalls, stalling: a training stalls when its steps no longer change the loss, far from any good solution

math: ΔW = −η ∂"loss" / ∂W
code: optimizer = record(optax.sgd(config.rate), steps=config.steps, stacked=by_layer)

A step is the gradient times the learning rate η. What counts is how large it is beside the weights that it changes.

term: update-to-weight ratio: the norm of a step divided by the norm of the weights; near a thousandth in a training
that goes well

math: "ratio" = ‖ΔW‖ / ‖W‖
code: ratios.append(read(one).log_ratios[:, 0])  # ln of update over weight, first layer

Predict: how many sigmoid layers does it take until a hundred steps teach the network nothing, three, ten or thirty?

Look: {stalls: smallest depth:.0f}. With {never moves: smallest depth:.0f} layers the first layer changes by less than
one part in a hundred during the whole training. Each layer more leaves about a quarter of the gradient, a factor of
e^{vanishing: slope:.2f} measured before the first step. No error message is raised. The last layers learn what little
there is to learn from what untrained ones send them, and the loss lies still.

Too much: from large to infinite
--------------------------------

An exploding network gets steps that are too long. One of them throws the weights so far off that the next gradient
is larger still, and within a few steps the numbers leave what a computer can hold.

term: overflow, overflows: a number overflows when it is too large for its format, which then writes inf, infinity

term: NaN: "not a number", what a computer writes for inf − inf or 0 · inf; whatever it touches becomes NaN as well

term: underflow, underflows: a number underflows when it is too small for its format, which then writes 0

The exploding network reaches NaN in every run from {NaN: smallest depth:.0f} layers on. One NaN in one weight is
enough: at the next step it is in the loss, and then in every weight there is.

Numbers run out
---------------

A format has a number of bits for the power of two and others for the digits.

term: float16: 16 bits, 5 of them for the power of two: up to 65504, with about 3 digits

term: bfloat16: 16 bits, 8 of them for the power of two: as wide as float32, with about 2 digits

math: 2^L
code: h, slope = jax.jvp(layer, (h,), (slope,))  # the slope is multiplied by that of one layer more

Multiply by 2 in each layer: float16 is at inf after {float16: overflow:.0f} layers, bfloat16 and float32 after
{float32: overflow:.0f}, float64 after {float64: overflow:.0f}. Take a quarter in each layer, as the sigmoid does: the
slope underflows after {float16: underflow:.0f} layers in float16, {float32: underflow:.0f} in float32 and
{float64: underflow:.0f} in float64. More bits buy more layers, never a cure: the number of layers grows with the bits,
the disease with the layers. And there is a third end: an update-to-weight ratio below {bfloat16: update:.4f} is rounded
away in bfloat16, and the weight stays where it is, whatever the gradient says.

Reference: Glorot and Bengio (2010), PMLR 9:249, for sigmoid networks that stall; Pascanu, Mikolov, Bengio (2013),
arXiv:1211.5063; formats: IEEE 754 (2019) and Kalamkar et al. (2019), arXiv:1905.12322.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Constant, Stack
from gradjax.ensembles import Bend
from gradjax.layers import dense
from gradjax.recorder import read, record
from gradjax.study import Claim, fits, plotting
from gradjax.tasks import digits
from gradjax.theory.meanfield import gradient_gain, gradient_gain_spread
from gradjax.training import cross_entropy, train

ORDER = 5
COMPILER = {"xla_backend_optimization_level": 1}  # half the time to compile, and the program is as fast
UNITS = 64  # as many as a digit has pixels
BENDS = (jax.nn.sigmoid, jax.nn.relu)
KINDS = {"vanishing": ("sigmoid", 1.0), "exploding": ("relu", 3.0), "control": ("relu", math.sqrt(2))}
GUESSING = math.log(10)  # the loss of a network that gives every digit the same chance
FORMATS = ("float16", "bfloat16", "float32", "float64")
EVENTS = {  # what happens -> kind, smallest depth, words
    "stalls": ("vanishing", 3, "a sigmoid network of {measured:.0f} layers stalls, in every run"),
    "never moves": ("vanishing", 4, "with {measured:.0f} layers its first layer moves by less than a hundredth"),
    "diverges": ("exploding", 5, "an exploding network of {measured:.0f} layers multiplies its loss by ten or more"),
    "NaN": ("exploding", 5, "and with {measured:.0f} layers it ends in NaN, in every run"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the chapter is run with."""

    depths: int = 10
    """Networks of 1, 2, … so many layers: the search for the smallest that fails."""
    steps: int = 100
    """Updates of each training: the control has learnt well before."""
    batch: int = 64
    """Digits an update."""
    rate: float = 0.1
    """Learning rate, the same for all: a good one for the control."""
    seeds: int = 5
    """Networks of each kind and depth; not ten, for each of them is trained at every depth."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(depths=8, seeds=2), "full": Config()}
SEARCHED = tuple(f"{event}: {what}" for event in EVENTS for what in ("smallest depth", "not below"))
PLANTS = {  # all kinds drawn as the control; the control drawn as the exploding kind; other weights in the formats
    "all_critical": (*SEARCHED[::2], "vanishing: slope", "exploding: slope", "vanishing: ratio"),
    "exploding_control": ("control: learns", "control: no NaN", "control: ratio"),
    "other_weights": tuple(f"{kind}: {end}" for kind in FORMATS for end in ("overflow", "underflow", "update")),
    "one_run_fails": SEARCHED[1::2],
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Every training, (kind, depth, seed, …), and where each number format ends."""
    data = digits(seed=config.seed, dtype=jnp.float32)
    names = {"all_critical": ["control"] * 3, "exploding_control": ["vanishing", "exploding", "exploding"]}
    kinds = [KINDS[name] for name in names.get(config.plant, KINDS)]
    bends = jnp.array([0 if name == "sigmoid" else 1 for name, _ in kinds])
    stds = jnp.array([std for _, std in kinds], jnp.float32)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    data = data.train_x, data.train_y

    def cell(_, kind, network):
        """All depths of one network: each is the first layers of the deepest."""
        kept = jnp.tril(jnp.ones((config.depths, config.depths), bool))
        return jax.vmap(lambda kept: _trained(config, bends[kind], stds[kind], kept, keys[network], data))(kept)

    grid = {"kind": range(len(kinds)), "network": range(config.seeds)}
    found = gradjax.study.sweep(cell, grid, seed=config.seed, compiler_options=COMPILER)
    result, states = jax.tree.map(lambda leaf: np.moveaxis(leaf, 2, 1), found)
    ratios = []
    for kind in range(len(KINDS)):
        one = jax.tree.map(lambda leaf, kind=kind: leaf[kind, -1, 0], states)  # the deepest, the first seed
        ratios.append(read(one).log_ratios[:, 0])  # ln of update over weight, first layer
    result = {name: np.array(values) for name, values in result.items()} | _padded(ratios, config.steps)
    if config.plant == "one_run_fails":  # at every depth the first run does not learn, and breaks
        result["loss"][:, :, 0], result["moved"][:, :, 0] = np.nan, 0.0
        result["loss"][0, :, 0], result["first_nonfinite"][:, :, 0] = GUESSING, 0
    return result | _formats(2.0 if config.plant == "other_weights" else 1.0)


def _trained(config: Config, bend, std, kept, key, data) -> tuple[dict, Any]:
    """One training, of those layers that are kept; and its optimizer's state, which holds the record."""

    def by_layer(name, _):
        return name.startswith("[0]")  # the leaves of the Stack: a row of the record for each of its layers

    optimizer = record(optax.sgd(config.rate), steps=config.steps, stacked=by_layer)
    keys, dtype, deepest = jax.random.split(key, 3), data[0].dtype, config.depths
    start = std * jax.random.normal(keys[0], (deepest, UNITS, UNITS), dtype) / math.sqrt(UNITS)
    options = Constant((jnp.full(deepest, bend), kept))
    hidden = Stack(Partial(Bend(BENDS), start, jnp.zeros((deepest, UNITS), dtype), options))
    layers = [hidden, dense(keys[1], UNITS, 10, dtype=dtype)]
    settings = {"steps": config.steps, "batch_size": config.batch, "key": keys[2]}
    run = train(layers, cross_entropy, optimizer, data, **settings)
    first = run.layers[0].layer.parameters[0][0]
    return {
        "loss": run.trace.loss,
        "first_nonfinite": run.trace.first_nonfinite,
        "first_gradient": run.trace.log_gradient_norms[0, 0],
        "moved": jnp.linalg.norm(first - start[0]) / jnp.linalg.norm(start[0]),
    }, run.opt_state


def _padded(ratios: list, steps: int) -> dict[str, np.ndarray]:
    """The records as one array: one that stopped at a NaN is shorter."""
    return {"log_ratios": np.stack([np.pad(r, (0, steps - len(r)), constant_values=np.nan) for r in ratios])}


def _formats(weight: float) -> dict[str, np.ndarray]:
    """In each format: after how many layers 2^L is inf and (1/4)^L is 0, and the smallest update that is not lost."""

    def slopes(layer, dtype):
        def step(carry, _):
            h, slope = carry
            h, slope = jax.jvp(layer, (h,), (slope,))  # the slope is multiplied by that of one layer more
            return (h, slope), slope

        start = (jnp.full((), 0.5, dtype), jnp.ones((), dtype))
        return np.asarray(jax.lax.scan(step, start, length=1100)[1])

    found = {name: [] for name in ("overflow", "underflow", "update", "largest_power", "smallest_power", "digits")}
    for name in FORMATS:
        dtype = jax.dtypes.canonicalize_dtype(name)  # float64 is float32 where x64 is off
        info, updates = jnp.finfo(dtype), 2.0 ** -np.arange(60)
        doubled = slopes(lambda h: h * (2 * weight), dtype)
        # the bias brings the sum to 0, where the sigmoid is steepest: 1/4
        quartered = slopes(lambda h: jax.nn.sigmoid(weight * h - weight / 2), dtype)
        stays = jnp.full(60, weight, dtype) + jnp.asarray(updates, dtype) == weight
        numbers = (1 + np.argmax(np.isinf(doubled)), 1 + np.argmax(quartered == 0), updates[~np.asarray(stays)].min())
        for key, value in zip(found, (*numbers, info.maxexp, info.minexp, info.nmant), strict=True):
            found[key].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _happens(config: Config, result) -> dict[str, np.ndarray]:
    """Which runs show each event, (depth, seed); a NaN in the loss is a loss above every bound."""
    loss = np.nan_to_num(result["loss"], nan=np.inf)
    return {
        "stalls": (loss[..., -10:].mean(axis=-1) > 0.97 * GUESSING)[0],
        "never moves": (result["moved"] < 0.01)[0],
        "diverges": (loss.max(axis=-1) > 10 * loss[..., 0])[1],
        "NaN": (result["first_nonfinite"] < config.steps)[1],
    }


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """The smallest networks that fail, the slopes and ratios behind it, and the ends of the formats."""
    found, source = [], "a search over depths; the one below it is shown; one layer more or less by chance"
    for (event, runs), (_, smallest, words) in zip(_happens(config, result).items(), EVENTS.values(), strict=True):
        in_all, in_any = (np.append(how(runs, axis=-1), True) for how in (np.all, np.any))
        always, once = 1 + int(np.argmax(in_all)), 1 + int(np.argmax(in_any))
        found.append(Claim(f"{event}: smallest depth", always, smallest, 1.0, source, "=", words))
        words = f"{event}: where it happens in every run is {{measured:.0f}} layers above where it happens in any"
        found.append(Claim(f"{event}: not below", always - once, 0.0, 1.0, source, "<=", words))
    return found + _slope_claims(config, result) + _control_claims(config, result) + _format_claims(result)


def _slope_claims(config: Config, result) -> list[Claim]:
    """ln of the first layer's gradient against depth, before the first step. A layer's half log gain has the mean v/4n
    below theory and the variance v/4n: four standard errors of a line through such a walk, over the seeds."""
    found, depths = [], np.arange(3, config.depths + 1)
    for kind in (0, 1):
        name, (activation, std) = list(KINDS)[kind], list(KINDS.values())[kind]
        spread = gradient_gain_spread(activation, std, 0.0) / (4 * UNITS)
        slopes = [fits.slope(depths, logs) for logs in result["first_gradient"][kind, 2:].T]
        room = spread + 4 * math.sqrt(1.2 * spread / len(depths) / config.seeds)
        theory, source = math.log(gradient_gain(activation, std, 0.0)) / 2, "½ ln χ; Schoenholz et al. 2017"
        words = f"{name}: each layer more multiplies the first layer's gradient by e^({{measured:.2f}})"
        found.append(Claim(f"{name}: slope", float(np.mean(slopes)), theory, room, source, "=", words))
    return found


def _control_claims(config: Config, result) -> list[Claim]:
    """The control learns at every depth; its updates are of healthy size, within a factor of 30, for one network."""
    loss, ratios = result["loss"][2, ..., -10:].mean(axis=-1), result["log_ratios"] / math.log(10)
    with np.errstate(invalid="ignore"):
        median = [
            np.median(row[np.isfinite(row)]) if np.isfinite(row).sum() > config.steps // 2 else 99 for row in ratios
        ]
    rows = [
        ("control: learns", np.nan_to_num(loss, nan=np.inf).max(), "<=", 0.5 * GUESSING, 0.0,
         "with a factor of 1 a layer every network learns: its loss ends at {measured:.2f} or less"),
        ("control: no NaN", (result["first_nonfinite"][2] < config.steps).sum(), "<=", 0.0, 0.0,
         "and {measured:.0f} of the runs meet a NaN"),
        ("control: ratio", median[2], "=", -3.0, 1.5,
         "its first layer's update-to-weight ratio is 10^{measured:.1f}, near the thousandth of the rule of thumb"),
        ("vanishing: ratio", median[0], "<=", -5.0, 0.0,
         "that of a vanishing network of the same depth is 10^{measured:.1f}"),
    ]  # fmt: skip
    source = "the prediction above; Glorot and Bengio 2010, PMLR 9:249"
    return [Claim(name, value, at, room, source, sign, words) for name, value, sign, at, room, words in rows]


def _format_claims(result) -> list[Claim]:
    """Powers of two are exact. Below the smallest normal number a machine writes 0 or goes on with fewer digits."""
    found, source = [], "the format's bits: IEEE 754; Kalamkar et al. 2019, arXiv:1905.12322"
    for i, name in enumerate(FORMATS):
        top, least, bits = (int(result[key][i]) for key in ("largest_power", "smallest_power", "digits"))
        words = f"in {name} a slope that doubles in each layer is inf after {{measured:.0f}} layers"
        found.append(Claim(f"{name}: overflow", result["overflow"][i], top, 0.0, source, "=", words))
        words = f"in {name} a slope that is quartered in each layer is 0 after {{measured:.0f}} layers"
        middle, room = (-least + bits / 2) / 2 + 1, bits / 4 + 1
        found.append(Claim(f"{name}: underflow", result["underflow"][i], middle, room, source, "=", words))
        words = f"in {name} the smallest part of a weight of 1 that can be added to it is {{measured:.2g}}"
        found.append(Claim(f"{name}: update", result["update"][i], 2.0**-bits, 0.0, source, "=", words))
    return found


def plot(config: Config, result: dict[str, np.ndarray]):
    """Losses of each kind by depth above; the first layer, the ratio and the formats below."""
    stall, nan = (1 + np.argmax(_happens(config, result)[event].all(axis=-1)) for event in ("stalls", "NaN"))
    title = f"On the digits {stall} sigmoid layers are enough to stall, and {nan} exploding ones to end in NaN"
    fig, axes = plotting.figure(1, 1, title, width=12.6, height=7.6)
    axes[0, 0].remove()
    panels = fig.subplot_mosaic([list(KINDS), ["moved", "ratios", "formats"]])
    words = {"vanishing": "Vanishing: sigmoid, σw = 1", "exploding": "Exploding: ReLU, σw = 3; X: then NaN"}
    for kind, name in enumerate(KINDS):
        _plot_losses(panels[name], config, result["loss"][kind])
        panels[name].set(
            title=words.get(name, "Control: ReLU, σw = √2"), xlabel="training step", ylabel="training loss"
        )
    panels["vanishing"].legend(title="layers", ncols=5, loc="lower left")
    _plot_first_layer(panels["moved"], panels["ratios"], config, result)
    _plot_formats(panels["formats"], result)
    return fig


def _plot_losses(ax, config: Config, loss) -> None:
    """The median over the seeds, from dark to light with depth, as far as every run is finite."""
    import matplotlib

    for index, runs in enumerate(loss):
        colour = matplotlib.colormaps["viridis_r"](0.1 + 0.9 * index / config.depths)
        alive = np.flatnonzero(np.isfinite(runs).all(axis=0))
        curve = np.median(runs[:, alive], axis=0)
        ax.plot(alive, curve, color=colour, linewidth=1.2, label=f"{index + 1}")
        if len(alive) < config.steps:
            ax.plot(alive[-1], min(curve[-1], 5e5), "X", color=colour, markersize=8)
    ax.axhline(GUESSING, color="grey", linewidth=0.9, linestyle=":")
    ax.annotate("guessing", (config.steps, GUESSING), (0, 3), textcoords="offset points", ha="right", color="grey")
    ax.set(yscale="log", ylim=(0.05, 1e6) if np.nanmax(loss) > 10 else (0.05, 5))


def _plot_first_layer(moved, ratios, config: Config, result) -> None:
    depths, steps = np.arange(1, config.depths + 1), np.arange(config.steps)
    for kind, name in enumerate(KINDS):
        change = np.where(np.isfinite(result["moved"][kind]), result["moved"][kind], np.nan)
        plotting.measured(moved, depths, change.T, name, kind)
        ratio = result["log_ratios"][kind] / math.log(10)
        ratios.plot(steps, ratio, color=plotting.COLOURS[kind], linestyle=plotting.DASHES[kind], label=name)
    moved.axhline(0.01, color="grey", linewidth=0.9, linestyle=":", label="a hundredth")
    moved.set(yscale="log", title="What training changes in the first layer", xlabel="layers of the network")
    moved.set(ylabel="change of the weights, in parts of them")
    moved.legend()
    ratios.axhline(-3, color="grey", linewidth=0.9, linestyle=":", label="rule of thumb")
    ratios.set(title=f"First of {config.depths} layers: update-to-weight ratio", xlabel="training step")
    ratios.set(ylabel="log10 of the ratio")
    ratios.legend()


def _plot_formats(ax, result) -> None:
    """Two bars a format: layers until inf, layers until 0."""
    places = np.arange(len(FORMATS))
    for shift, key, words in ((-0.2, "overflow", "2 a layer, until inf"), (0.2, "underflow", "1/4 a layer, until 0")):
        bars = ax.barh(places + shift, result[key], 0.36, color=plotting.COLOURS[0 if shift < 0 else 1], label=words)
        ax.bar_label(bars, padding=3)
    ax.set(xscale="log", xlim=(4, 4000), yticks=places, yticklabels=FORMATS, xlabel="layers")
    ax.set(title="When the slope leaves its number format", ylim=(len(FORMATS) + 0.2, -0.6))
    ax.legend(loc="lower right", ncols=2)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
