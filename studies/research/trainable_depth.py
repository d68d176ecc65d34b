"""A network trains as deep as its signal reaches: about six times the correlation length

How deep may a network be before it no longer trains, what decides that, and what do orthogonal weights and clipping
change?

Prediction: layer by layer two inputs grow alike (ordered phase) or unlike (chaotic phase), by the factor e^(−1/ξ_c) a
layer, until after a few ξ_c layers nothing is left of what told them apart, and the gradient has vanished or exploded
by as much. So a network of Gaussian weights trains up to a depth of about 6 ξ_c, which is short on either side and
endless at the critical weight scale. ReLU has no other phase with a stable length: it is trainable about σw² = 2 alone.
A clip answers explosions only, so it may carry the frontier further on the chaotic side and can do nothing on the
ordered one. Orthogonal weights leave no direction behind, so at the critical point their learning time should hardly
grow with depth.

Here: scikit-learn's digits, stochastic gradient descent with momentum, each point at the better of its learning rates
by training loss. The frontier is where the mean test accuracy crosses one half, interpolated in the log of the depth.
Control: networks of four layers train at every weight scale.

Predict: by which factor will networks that are given a hundred updates miss 6 ξ_c?

Look: off criticality the frontier stood within a factor {frontier: factor:.1f} of it, mostly below; at the critical
weight scale, where theory sets no end, a hundred updates of width 32 end it. Orthogonal weights needed {orthogonal:
time:.2f} times the steps at the greatest depth that they needed at four layers.

Reference: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (2017), arXiv:1611.01232; Pennington, Schoenholz, Ganguli (2017),
arXiv:1711.04735, and Saxe, McClelland, Ganguli (2014), arXiv:1312.6120, for the learning time.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Constant, Stack
from gradjax.clipping import CLIPPERS
from gradjax.initializers import normal, scaled_orthogonal, variance_scaling
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.theory.meanfield import depth_scales
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 24
KERNELS = (variance_scaling(1.0), scaled_orthogonal(1.0))
BIAS_VARIANCE = 0.05  # of the tanh networks: Schoenholz et al.
ISOMETRIC = (1.189, 1e-3)  # weight and bias variance of a critical tanh network whose spectrum stays narrow
NO_CLIP, CLIP = 1e30, 1.0
FACTOR = 6  # times ξ_c
TRAINED, TARGET = 0.5, 1.0  # test accuracy; training loss
SHALLOW = 0.8  # test accuracy of four layers, at least; with a quarter of the weight variance it is below


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    depths: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Layers of weights."""
    variances: tuple[float, ...] = (0.8, 1.0, 1.3, 1.76, 2.5, 3.0, 4.0)
    """σw² of the tanh networks; critical is 1.76."""
    relu_variances: tuple[float, ...] = (1.0, 2.0, 3.0)
    """σw² of the ReLU networks, which have no biases; critical is 2."""
    width: int = 32
    """Units a layer: theory is the limit of many."""
    steps: int = 100
    """Updates of each training."""
    batch: int = 32
    """Digits an update."""
    rates: tuple[float, ...] = (0.005, 0.05)
    """Learning rates tried at each point."""
    seeds: int = 3
    """Networks trained at each point and rate."""
    seed: int = 0
    """Of networks, batches and the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {
    "quick": Config(depths=(4, 16, 32), variances=(0.8, 1.76, 4.0), rates=(0.02,)),
    "full": Config(),
}
PLANTS = {  # every network has four layers; a quarter of the weight variance; both kernels Gaussian; ten times ξ_c
    "shallow": (
        "ordered: frontier",
        "chaotic: frontier",
        "critical: deepest",
        "ReLU: critical alone",
        "Gaussian: time",
    ),
    "quarter_variance": ("control: shallow trains", "critical: trains"),
    "same_kernel": ("orthogonal: faster", "orthogonal: time"),
    "long_lengths": ("frontier: factor",),
    "all_critical": ("ordered: a clip does not help",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Accuracy, loss and learning time of each family by (depth, weights, clip, rate, network); correlation lengths."""
    data = digits(seed=config.seed, dtype=jnp.float32)
    families, found = _families(config), []
    starts = [start for family in families.values() for start in family]
    grid = {"start": range(len(starts)), "clip": (NO_CLIP, CLIP), "rate": config.rates, "network": range(config.seeds)}
    for depth in gradjax.study.progress(config.depths, "depths"):
        cell = _training(config, 4 if config.plant == "shallow" else depth, starts, data)
        found.append(gradjax.study.sweep(cell, grid, seed=config.seed, name=f"depth-{depth}"))
    result = {}
    for name in found[0]:
        parts = np.split(np.stack([one[name] for one in found]), np.cumsum([*map(len, families.values())])[:-1], axis=1)
        result |= {f"{family}_{name}": part for family, part in zip(families, parts, strict=True)}
    scales = [depth_scales("tanh", math.sqrt(v), math.sqrt(BIAS_VARIANCE)).correlation for v in config.variances]
    return result | {"correlation_length": (10.0 if config.plant == "long_lengths" else 1.0) * np.array(scales)}


def _families(config: Config) -> dict[str, list]:
    """Name -> starts of its networks: (σw², σb², ReLU?, kernel)."""
    factor = 0.25 if config.plant == "quarter_variance" else 1.0
    tanh = [(factor * v, BIAS_VARIANCE, 0, 0) for v in config.variances]
    if config.plant == "all_critical":
        tanh = [(1.76, BIAS_VARIANCE, 0, 0)] * len(tanh)
    relu = [(factor * v, 0.0, 1, 0) for v in config.relu_variances]
    kernels = (0, 0) if config.plant == "same_kernel" else (0, 1)
    return {"tanh": tanh, "relu": relu, "isometric": [(*ISOMETRIC, 0, kernel) for kernel in kernels]}


def _training(config: Config, depth: int, starts, data):
    """The grid's cell: a training of the network of this index from the start of that."""
    sizes, keys = [64, *[config.width] * (depth - 1), 10], jax.random.split(jax.random.key(config.seed), config.seeds)
    columns = [jnp.asarray(column, jnp.float32) for column in zip(*starts, strict=True)]

    def cell(_, start, clip, rate, network):
        variance, bias_variance, is_relu, kernel = (column[start] for column in columns)
        drawn = [mlp(keys[network], sizes, "linear", draw, normal(1.0)) for draw in KERNELS]
        layers = jax.tree.map(lambda *leaves: jnp.where(kernel > 0, leaves[1], leaves[0]), *drawn)
        layers = _activated(_scaled(layers, variance, bias_variance), is_relu)
        clipper = CLIPPERS["global_norm"](clip.astype(jnp.float32))
        optimizer = optax.chain(clipper, optax.sgd(rate.astype(jnp.float32), momentum=0.9))
        options = {"steps": config.steps, "batch_size": config.batch, "key": keys[network]}
        run = train(layers, cross_entropy, optimizer, (data.train_x, data.train_y), **options)
        loss = run.trace.loss
        smooth = jnp.convolve(loss, jnp.full(10, 0.1, loss.dtype), mode="valid")
        reached = smooth < TARGET
        return {
            "loss": jnp.where(jnp.isfinite(smooth[-1]), smooth[-1], jnp.inf),
            "accuracy": accuracy(predict(run.layers, data.test_x), data.test_y),
            "time": jnp.where(reached.any(), (10 + jnp.argmax(reached)).astype(loss.dtype), jnp.inf),
        }

    return cell


def _scaled(layers, variance, bias_variance):
    """Weights times σw, biases times σb."""

    def scale(path, leaf):
        return leaf * jnp.sqrt(bias_variance if "bias" in jax.tree_util.keystr(path) else variance)

    return jax.tree_util.tree_map_with_path(scale, layers)


def _activated(layers, is_relu) -> list:
    """The same layers with ReLU or tanh behind the hidden ones: a number, so one program trains both."""
    first, stack, last = layers
    relu = Constant(is_relu > 0)
    tied = (*[False] * len(jax.tree.leaves(stack.layer)), True)
    return [Partial(_active, first, relu), Stack(Partial(_active, stack.layer, relu), tied), last]


def _active(layer, relu, h):
    z = layer(h)
    return jnp.where(relu.value, jax.nn.relu(z), jnp.tanh(z))


def _best(result, family: str) -> np.ndarray:
    """Test accuracy (depth, weights, clip, seed) at the learning rate of least median training loss."""
    best = np.median(result[f"{family}_loss"], axis=-1).argmin(axis=-1)
    return np.take_along_axis(result[f"{family}_accuracy"], best[..., None, None], axis=-2)[..., 0, :]


def _frontier(config: Config, mean: np.ndarray) -> np.ndarray:
    """The depth at which mean accuracy (depth, …) falls through one half, interpolated in ln depth.

    The greatest depth tried where it never does, the least where it never reaches one half.
    """
    logs, frontier = np.log(config.depths), np.full(mean.shape[1:], float(config.depths[-1]))
    for place in np.ndindex(mean.shape[1:]):
        below = np.flatnonzero(mean[(slice(None), *place)] < TRAINED)
        if below.size:
            i = below[0]
            if i == 0:
                frontier[place] = config.depths[0]
                continue
            high, low = mean[(i - 1, *place)], mean[(i, *place)]
            frontier[place] = np.exp(logs[i - 1] + (logs[i] - logs[i - 1]) * (high - TRAINED) / (high - low))
    return frontier


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Accuracies stand two standard errors over seeds on the unfavourable side; frontiers are of means over seeds."""
    tanh, relu = (_best(result, family) for family in ("tanh", "relu"))
    frontier = _frontier(config, tanh.mean(axis=-1))[:, 0]
    relu_frontier = _frontier(config, relu.mean(axis=-1))[:, 1]
    lengths, deepest = FACTOR * result["correlation_length"], config.depths[-1]
    finite = lengths < deepest
    ratio = np.exp(np.abs(np.log(frontier / lengths)[finite]).max()) if finite.any() else np.inf
    critical = int(np.argmax(result["correlation_length"]))
    mean, error = tanh.mean(axis=-1), tanh.std(axis=-1, ddof=1) / math.sqrt(config.seeds)
    pooled = 2 * math.sqrt(np.mean(error[0] ** 2))  # of three seeds each the error itself is off by a half
    middle = len(config.depths) // 2
    ordered = (mean + 2 * error)[-1, 0, 1]
    slow = np.minimum(np.median(result["isometric_time"][:, :, 0, 0], axis=-1), config.steps)  # (depth, kernel)
    rows = [
        ("control: shallow trains", mean[0].min() - pooled, ">=", SHALLOW, 0.0,
         "with four layers every tanh network trains, to at least {measured:.2f}"),
        ("critical: trains", (mean - 2 * error)[middle, critical, 0], ">=", TRAINED, 0.0,
         f"at the critical weight scale {config.depths[middle]} layers train, to at least {{measured:.2f}}"),
        ("frontier: factor", ratio, "<=", 3.0, 0.0,
         "the frontier lies within a factor {measured:.1f} of 6 ξ_c wherever that is within the depths tried"),
        ("ordered: frontier", frontier[0], "<=", 0.8 * frontier[critical], 0.0,
         "the most ordered networks train up to {measured:.0f} layers; 0.8 of the critical frontier is {expected:.0f}"),
        ("chaotic: frontier", frontier[-1], "<=", 0.95 * frontier[critical], 0.0,
         "the most chaotic train up to {measured:.0f} layers; 0.95 of the critical frontier is {expected:.0f}"),
        ("critical: deepest", int(np.argmax(frontier)), "=", critical, 0.0,
         "the weight scale that trains deepest is number {measured:.0f} of those tried; critical is {expected:.0f}"),
        ("ReLU: critical alone", relu_frontier[1] / relu_frontier[[0, 2]].max(), ">=", 1.25, 0.0,
         "behind a clip, ReLU at σw² = 2 trains {measured:.1f} times as deep as at 1 and 3"),
        ("ordered: a clip does not help", ordered, "<=", 0.3, 0.0,
         "the deepest ordered network behind a clip reaches at most {measured:.2f}"),
        ("orthogonal: time", slow[-1, 1] / slow[0, 1], "<=", 1.1, 0.0,
         f"orthogonal weights near isometry need {{measured:.2f}} times the steps at {deepest} layers than at four"),
        ("Gaussian: time", slow[-1, 0] / slow[0, 0], ">=", 1.1, 0.0,
         f"Gaussian ones need at least {{measured:.2f}} times the steps at {deepest} layers"),
        ("orthogonal: faster", slow[-1, 0] / slow[-1, 1], ">=", 1.3, 0.0,
         "there Gaussian weights need at least {measured:.1f} times the steps of orthogonal ones"),
    ]  # fmt: skip
    source = "6 ξ_c by quadrature; Schoenholz et al. 2017, arXiv:1611.01232"
    return [Claim(name, value, bound, tol, source, sign, words) for name, value, sign, bound, tol, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Accuracy over weight scale and depth with the theory on top, without and with a clip; ReLU; learning time."""
    fig, axes = plotting.figure(2, 2, "Networks train about as deep as the signal reaches", width=12.0, height=8.4)
    tanh = _best(result, "tanh")
    for clip, words in enumerate(("tanh, no clip", "tanh, clip by global norm at 1")):
        ax = axes[0, clip]
        _plot_accuracy(ax, config, config.variances, tanh[:, :, clip].mean(axis=-1))
        x = np.arange(len(config.variances))
        ax.plot(x, _frontier(config, tanh.mean(axis=-1))[:, clip], "o", color="white", markeredgecolor="black")
        ax.plot([], [], "o", color="white", markeredgecolor="black", label="measured: accuracy one half")
        ax.plot(
            x,
            np.minimum(FACTOR * result["correlation_length"], 1.3 * config.depths[-1]),
            color="white",
            label="theory: 6 ξ_c",
        )
        ax.set(title=f"{words} (critical σw²: 6 ξ_c is beyond the picture)", xlabel="σw²")
        ax.legend(loc="lower left", facecolor="grey", labelcolor="white")
    fig.colorbar(axes[0, 0].collections[0], ax=axes[0], label="test accuracy, mean over seeds")
    _plot_relu(axes[1, 0], config, result)
    _plot_times(axes[1, 1], config, result)
    return fig


def _plot_accuracy(ax, config: Config, variances, mean) -> None:
    """Mean accuracy (depth, weights) in colour, depth on a log axis."""
    edges = np.array(config.depths, float)
    edges = np.concatenate([edges[:1] / 2**0.5, np.sqrt(edges[1:] * edges[:-1]), edges[-1:] * 2**0.5])
    ax.pcolormesh(np.arange(len(variances) + 1) - 0.5, edges, mean, vmin=0, vmax=1)
    ax.set(yscale="log", ylabel="layers of weights", yticks=config.depths, yticklabels=config.depths)
    ax.set(xticks=range(len(variances)), xticklabels=[f"{v:g}" for v in variances])
    ax.minorticks_off()
    ax.grid(False)


def _plot_relu(ax, config: Config, result) -> None:
    """Accuracy of ReLU networks by depth."""
    accuracies = _best(result, "relu")
    for i, variance in enumerate(config.relu_variances):
        for clip, words in enumerate(("", ", clip")):
            look = {"color": plotting.COLOURS[i], "linestyle": plotting.DASHES[clip]}
            ax.plot(
                config.depths,
                accuracies[:, i, clip].mean(axis=-1),
                marker="o",
                label=f"σw² = {variance:g}{words}",
                **look,
            )
    ax.axhline(TRAINED, color="grey", linestyle=":", linewidth=0.8)
    ax.set(xscale="log", xticks=config.depths, xticklabels=config.depths, xlabel="layers of weights")
    ax.set(ylabel="test accuracy, mean over seeds", title="ReLU: critical at σw² = 2")
    ax.minorticks_off()
    ax.legend()


def _plot_times(ax, config: Config, result) -> None:
    """Steps to the target loss by depth, at the isometric point."""
    slow = result["isometric_time"][:, :, 0, 0]  # (depth, kernel, seed), at the first learning rate
    for kernel, words in enumerate(("Gaussian", "orthogonal")):
        reached = np.where(np.isfinite(slow[:, kernel]), slow[:, kernel], np.nan)
        plotting.measured(ax, np.array(config.depths), reached.T, words, kernel)
    ax.set(xscale="log", xticks=config.depths, xticklabels=config.depths, xlabel="layers of weights")
    ax.set(
        ylabel=f"steps to a training loss of {TARGET:g}",
        title=f"tanh near isometry, rate {config.rates[0]:g} (missing: not reached)",
    )
    ax.minorticks_off()
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
