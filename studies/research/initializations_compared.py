"""Depth needs a gradient of one length in all layers, and a narrow spectrum to learn by

Which initial weights train a deep network, for which activation, and can one tell before training?

Prediction: what matters is not the initializer's name but what each of its layers does to the gradient: a factor a
layer, so a straight line in the logarithm. Where the gradient grows or shrinks by orders of magnitude from the last
layer to the first, a network of fifty layers does not train, whatever the distribution. He's variance suits ReLU, one
over the width suits tanh, and weights of one fixed size suit no depth. But a length is only a mean over directions:
where every layer treats two directions a little unlike, fifty of them leave nothing of most. So among networks with a
flat gradient those should train whose leading directions are stretched alike: orthogonal weights for tanh, looks-linear
ones for ReLU.

Here: every initializer for matrices, six activations, networks of 5 and of 50 layers on scikit-learn's digits,
stochastic gradient descent with momentum, eighty updates at the better of the learning rates. The directions' stretches
before training come from a running QR through the hidden layers (their means over the layers are not the singular
values, but have the same limit); the spread is taken over the leading half of them, for ReLU stops the others. Control:
with five layers every pair of tanh or ReLU with weights of ordinary size trains.

Predict: of twenty-one ways to draw the weights, how many train fifty layers of ReLU, and how many of tanh?

Look: two and four. Where the gradient changed by more than a thousand over the layers {steep: does not train:.0%} of
the pairs trained. Of those with a flat gradient {narrow: trains:.0%} trained where the spectrum was narrow and {wide:
does not train:.0%} where it was wide: He's variance keeps the gradient's length in ReLU, and loses its directions.

Reference: Glorot, Bengio (2010); He, Zhang, Ren, Sun (2015), arXiv:1502.01852; Saxe, McClelland, Ganguli (2014),
arXiv:1312.6120; Balduzzi et al. (2017), arXiv:1702.08591, for looks-linear.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.chain import Constant, Stack, run
from gradjax.initializers import INITIALIZERS, looks_linear
from gradjax.lyapunov import log_growths
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 23
NAMES = tuple(name for name in INITIALIZERS if name != "delta_orthogonal")  # which is for convolutions alone
QUICK = ("normal", "he_normal", "lecun_normal", "standard_uniform", "orthogonal", "scaled_orthogonal", "looks_linear")
CONSTANT = ("zeros", "ones")  # all units alike: they stay alike
FUNCTIONS = tuple(ACTIVATIONS.values())
SMALL = ("normal", "truncated_normal", "uniform", "constant_scale")  # of size 0.01 whatever the width
TRAINED, FAILED = 0.5, 0.25  # test accuracy; guessing has 0.1
FLAT, STEEP = np.log(30.0), np.log(1000.0)  # of the change of the gradient's norm over the hidden layers, or its size
NARROW = np.log(1e4)  # of the spread between the first and the middle direction over all hidden layers


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    initializers: tuple[str, ...] = NAMES
    """Initializers, by their name in `gradjax.initializers.INITIALIZERS`."""
    activations: tuple[str, ...] = ("tanh", "relu", "linear", "sigmoid", "gelu", "selu")
    """Activations, by their name in `gradjax.activations.ACTIVATIONS`, which has more; tanh and relu are needed."""
    depths: tuple[int, int] = (5, 50)
    """Layers of weights: of the shallow control and of the deep networks."""
    width: int = 32
    """Units a layer, an even number."""
    steps: int = 80
    """Updates of each training."""
    batch: int = 32
    """Digits an update."""
    rates: tuple[float, ...] = (0.005, 0.05)
    """Learning rates tried at each point."""
    seeds: int = 3
    """Networks drawn at each point, and trained at each rate."""
    seed: int = 0
    """Of networks, batches and the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(initializers=QUICK, activations=("tanh", "relu")), "full": Config()}
PLANTS = {  # every network drawn far too small; every one orthogonal; the gradients of other networks
    "all_small": ("ReLU: looks linear trains", "tanh: orthogonal trains", "narrow: trains", "wide: does not train",
                  "control: shallow trains"),
    "all_orthogonal": ("too small a variance: fails", "small: fails"),
    "other_gradients": ("steep: does not train",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Stretches and gradients at the start, every training: axes (depth, activation, initializer, rate, seed, …)."""
    data = digits(seed=config.seed, dtype=jnp.float32)
    known = (data.train_x, data.train_y, data.test_x, data.test_y)
    settings = dataclasses.replace(config, seed=0, initializers=(), activations=(), plant="")
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    networks = jax.jit(_networks, static_argnums=0)(config, keys)
    found = [
        jax.device_get(_train_all(settings, list(ACTIVATIONS).index(name), depth, networks, keys, known))
        for depth in config.depths
        for name in gradjax.study.progress(config.activations, f"activations at depth {depth}")
    ]
    shape = (len(config.depths), len(config.activations))
    result = {name: np.stack([f[name] for f in found]).reshape(*shape, *found[0][name].shape) for name in found[0]}
    if config.plant == "other_gradients":
        result["gradients"] = np.random.default_rng(0).permutation(result["gradients"], axis=2)[:, ::-1]
    return result


def _networks(config: Config, keys):
    """The deep networks along axes (initializer, seed), biases zero, without their activation."""
    depth = config.depths[1]
    sizes = [64, *[config.width] * (depth - 1), 10]
    same = {"all_small": "normal", "all_orthogonal": "scaled_orthogonal"}.get(config.plant)

    def kernels(name):
        if name == "looks_linear":
            return [looks_linear(1.0, "output"), *[looks_linear()] * (depth - 2), looks_linear(1.0, "input")]
        return name

    drawn = [
        jax.vmap(lambda key, n=same or name: mlp(key, sizes, "linear", kernels(n)))(keys)
        for name in config.initializers
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *drawn)


def _activated(layers, index, depth) -> list:
    """The network cut to this depth, the activation of this index behind its hidden layers: one program has all."""
    first, stack, last = layers
    index, acting = Constant(index), Constant(jnp.arange(stack.depth) < depth - 2)
    tied = (*[False] * len(jax.tree.leaves(stack.layer)), True, False)
    hidden = Stack(Partial(_acting, stack.layer, index, acting), tied)
    return [Partial(_active, first, index), hidden, last]


def _active(layer, index, h):
    return jax.lax.switch(index.value, FUNCTIONS, layer(h))


def _acting(layer, index, acting, h):
    return jax.lax.cond(acting.value, lambda h: _active(layer, index, h), lambda h: h, h)


@functools.partial(jax.jit, static_argnums=0)
def _train_all(config: Config, index, depth, networks, keys, known):
    """Every training with this activation at this depth, axes (initializer, rate, seed, …)."""

    def one(layers, rate, key):
        options = {"steps": config.steps, "batch_size": config.batch, "key": key}
        begin = _activated(layers, index, depth)
        trained = train(begin, cross_entropy, optax.sgd(rate, momentum=0.9), known[:2], **options)
        growths = log_growths(begin[1:2], run(begin[:1], known[0][0]))
        return {
            "loss": trained.trace.loss,
            "accuracy": accuracy(predict(trained.layers, known[2]), known[3]),
            "gradients": trained.trace.log_gradient_norms[0],
            "stretches": jnp.sum(growths, axis=0) / (depth - 2),
        }

    over_seeds = jax.vmap(one, (0, None, 0))
    over_rates = jax.vmap(over_seeds, (None, 0, None))
    return jax.vmap(over_rates, (0, None, None))(networks, jnp.asarray(config.rates, jnp.float32), keys)


def _best(result) -> tuple[np.ndarray, np.ndarray]:
    """Test accuracy (depth, activation, initializer, seed) and its loss curves at the rate of least final loss."""
    last = result["loss"][..., -10:].mean(axis=-1)
    final = np.median(np.where(np.isfinite(last), last, np.inf), axis=-1)
    rate = final.argmin(axis=3)[..., None, None]
    curves = np.take_along_axis(result["loss"], rate[..., None], axis=3)[..., 0, :, :]
    return np.take_along_axis(result["accuracy"], rate, axis=3)[..., 0, :], curves


def _before(config: Config, result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the deep networks, (activation, initializer): ln of the gradient's largest over its smallest norm in a hidden
    layer, ln of its usual norm there, and how far the leading half of the stretches lie apart."""
    hidden = np.median(result["gradients"][1, :, :, 0, :, : config.depths[1] - 1], axis=2)
    stretches = np.median(result["stretches"][1, :, :, 0], axis=2) * (config.depths[1] - 2)
    with np.errstate(invalid="ignore"):
        span = hidden.max(axis=-1) - hidden.min(axis=-1)
        spread = stretches[..., 0] - stretches[..., config.width // 2 - 1]
    span, spread = (np.where(np.isfinite(values), values, np.inf) for values in (span, spread))
    return span, np.median(hidden, axis=-1), spread


def _part(trained: np.ndarray, among=True) -> float:
    """The part of the pairs that trained; NaN among none."""
    chosen = trained[np.broadcast_to(among, trained.shape)]
    return float(chosen.mean()) if chosen.size else np.nan


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Accuracies stand two standard errors over seeds on the unfavourable side."""
    accuracies = _best(result)[0]
    mean, error = accuracies.mean(axis=-1), accuracies.std(axis=-1, ddof=1) / np.sqrt(config.seeds)
    low, high = mean - 2 * error, mean + 2 * error
    tanh, relu = config.activations.index("tanh"), config.activations.index("relu")
    name, (span, size, spread) = config.initializers.index, _before(config, result)
    trained = mean[1] >= TRAINED
    flat, narrow = (span < FLAT) & (np.abs(size) < FLAT), spread < NARROW
    small = [i for i, n in enumerate(config.initializers) if n in SMALL]
    usual = [i for i, n in enumerate(config.initializers) if n not in SMALL + CONSTANT]
    too_small = max(high[1, relu, name("lecun_normal")], high[1, [tanh, relu], name("standard_uniform")].max())
    rows = [
        ("ReLU: looks linear trains", low[1, relu, name("looks_linear")], ">=", TRAINED,
         "fifty layers of ReLU train from looks-linear weights, to at least {measured:.2f}"),
        ("tanh: orthogonal trains", low[1, tanh, name("orthogonal")], ">=", TRAINED,
         "fifty layers of tanh train from orthogonal weights, to at least {measured:.2f}"),
        ("too small a variance: fails", too_small, "<=", FAILED,
         "fifty layers of ReLU from variance 1/n, and of ReLU or tanh from 1/3n, reach at most {measured:.2f}"),
        ("small: fails", high[1][:, small].max(), "<=", FAILED,
         "no activation trains fifty layers from weights of size 0.01: at most {measured:.2f}"),
        ("steep: does not train", _part(trained, span > STEEP), "<=", 0.05,
         "where the gradient changes by more than a thousand over the layers {measured:.0%} of the pairs train"),
        ("narrow: trains", _part(trained, flat & narrow), ">=", 0.75,
         "of the pairs with a flat gradient of ordinary size and a narrow spectrum {measured:.0%} train"),
        ("wide: does not train", _part(trained, flat & ~narrow), "<=", 0.25,
         "of those with a flat gradient of ordinary size and a wide spectrum {measured:.0%} do"),
        ("control: shallow trains", _part(mean[0][[tanh, relu]][:, usual] >= TRAINED), ">=", 0.95,
         "of the pairs with tanh or ReLU and weights of ordinary size {measured:.0%} train five layers"),
    ]  # fmt: skip
    source = "the prediction above; Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852"
    return [Claim(name, value, bound, 0.0, source, sign, words) for name, value, sign, bound, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Accuracy of every pair at both depths; accuracy against the gradient's span and the spectrum; learning curves."""
    title = "Fifty layers need a gradient of one length in all layers, and a narrow spectrum besides"
    fig, axes = plotting.figure(1, 1, title, width=13.5, height=11.0)
    axes[0, 0].remove()
    layout: Any = [
        ["shallow", "shallow", "shallow", "deep", "deep", "deep"],
        ["span", "span", "spread", "spread", "curves", "curves"],
    ]
    panels = fig.subplot_mosaic(layout, height_ratios=(1.7, 1))
    accuracies, curves = _best(result)
    for index, place in enumerate(("shallow", "deep")):
        _plot_table(panels[place], config, accuracies, index)
    span, size, spread = (values / np.log(10) for values in _before(config, result))
    means = accuracies[1].mean(axis=-1)
    _plot_points(panels["span"], config, np.minimum(span, 20), means, FLAT, STEEP)
    panels["span"].set(
        xlabel="log10 of largest over smallest gradient norm (20: or more)", title="A steep gradient never trains"
    )
    flat = (span < FLAT / np.log(10)) & (np.abs(size) < FLAT / np.log(10))
    _plot_points(panels["spread"], config, np.where(flat, np.minimum(spread, 20), np.nan), means, NARROW)
    panels["spread"].set(
        xlabel="log10 of the spread of the leading half (20: or more)", title="Of flat ones, the narrow do"
    )
    _plot_curves(panels["curves"], config, curves)
    return fig


def _plot_table(ax, config: Config, accuracies: np.ndarray, index: int) -> None:
    """Accuracy of every pair in colour and in words, with its standard error."""
    mean, error = (f(accuracies[index], axis=-1).T for f in (np.mean, np.std))
    ax.imshow(mean, vmin=0, vmax=1, aspect="auto")
    for place, value in np.ndenumerate(mean):
        words = f"{value:.2f} ± {error[place] / np.sqrt(config.seeds - 1):.2f}"
        colour = "white" if value < 0.5 else "black"
        ax.text(place[1], place[0], words, ha="center", va="center", fontsize=6.5, color=colour)
    ax.set(
        xticks=range(len(config.activations)), xticklabels=config.activations, yticks=range(len(config.initializers))
    )
    ax.set(yticklabels=[name.replace("_", " ") for name in config.initializers])
    ax.set_title(f"{config.depths[index]} layers: test accuracy")
    ax.grid(False)


def _plot_points(ax, config: Config, x: np.ndarray, means: np.ndarray, *bounds: float) -> None:
    """Accuracy of every deep pair against a number known before training, and the bounds of the claims."""
    for i, activation in enumerate(config.activations):
        look = {"color": plotting.COLOURS[i], "marker": plotting.MARKERS[i], "linestyle": "none", "label": activation}
        ax.plot(x[i], means[i], alpha=0.8, **look)
    for bound in bounds:
        ax.axvline(bound / np.log(10), color="grey", linestyle=":", linewidth=0.8)
    ax.axhline(TRAINED, color="grey", linestyle=":", linewidth=0.8)
    ax.set_ylabel("test accuracy after training")
    ax.legend(loc="center right")


def _plot_curves(ax, config: Config, curves: np.ndarray) -> None:
    """Loss by step of fifty layers of ReLU, median over seeds."""
    names = ("looks_linear", "scaled_orthogonal", "he_normal", "lecun_normal", "standard_uniform")
    relu = config.activations.index("relu")
    for look, name in enumerate(name for name in names if name in config.initializers):
        curve = np.median(curves[1, relu, config.initializers.index(name)], axis=0)
        style = {"color": plotting.COLOURS[look], "linestyle": plotting.DASHES[look]}
        ax.plot(np.minimum(curve, 1e3), label=name.replace("_", " "), **style)
    ax.set(yscale="log", xlabel="training step", ylabel="training loss, median over seeds")
    ax.set_title("Fifty layers of ReLU: learning curves")
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
