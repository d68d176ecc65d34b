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
stochastic gradient descent with momentum, eighty updates at the better of the learning rates. Before training all
singular values of the hidden layers' product are computed exactly, each with a bound on its error (48 Jacobians of
width 32, the first network of every pair); the spread is the condition number of their leading half, for ReLU stops the
others. Control: with five layers every pair of tanh or ReLU with weights of ordinary size trains.

Predict: of twenty-one ways to draw the weights, how many train fifty layers of ReLU, and how many of tanh?

Look: few, and {tanh: trains from more:.0f} more for tanh than for ReLU. Where the gradient changed by more than a
thousand over the layers {steep: does not train:.0%} of the pairs trained. Of those with a flat gradient
{narrow: trains:.0%} trained where the spectrum was narrow and {wide: does not train:.0%} where it was wide: He's
variance keeps the gradient's length in ReLU, and loses its directions.

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
from gradjax.jacobians import layer_jacobians
from gradjax.networks import mlp
from gradjax.products import log_singular_values_with_error
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 23
NAMES = tuple(name for name in INITIALIZERS if name != "delta_orthogonal")  # which is for convolutions alone
QUICK = ("normal", "he_normal", "lecun_normal", "standard_uniform", "orthogonal", "scaled_orthogonal", "looks_linear")
CONSTANT = ("zeros", "ones")  # all units alike: they stay alike
SMALL = ("normal", "truncated_normal", "uniform", "constant_scale")  # of size 0.01 whatever the width
TRAINED, FAILED = 0.5, 0.25  # test accuracy; guessing has 0.1
FLAT, STEEP = np.log(30.0), np.log(1000.0)  # of the change of the gradient's norm over the hidden layers, or its size
NARROW = np.log(1e4)  # of the condition number of the leading half of the directions through all hidden layers


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
                  "control: shallow trains", "tanh: orthogonal keeps directions", "tanh: trains from more"),
    "all_orthogonal": ("too small a variance: fails", "small: fails", "tanh: Gaussian loses directions"),
    "other_gradients": ("steep: does not train",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Every training, axes (depth, activation, initializer, rate, seed, …); and all singular values of the hidden
    layers before it, (activation, initializer, depth, direction), with their bounds: of each pair's first network."""
    data, networks = digits(seed=config.seed, dtype=jnp.float32), _networks(config)
    grid = {"initializer": range(len(config.initializers)), "rate": config.rates, "member": range(config.seeds)}
    cell = functools.partial(_cell, config, data, networks)
    trained = gradjax.study.sweep(cell, grid, seed=config.seed, name="trainings")
    pairs = len(config.depths), len(config.activations)
    result = {
        name: np.moveaxis(values, 3, 0).reshape(*pairs, *values.shape[:3], *values.shape[4:])
        for name, values in trained.items()
    }
    if config.plant == "other_gradients":
        result["gradients"] = np.random.default_rng(0).permutation(result["gradients"], axis=2)[:, ::-1]
    return result | _spectra(config, np.asarray(_hidden_jacobians(config, data, networks), np.float64))


def _keys(config: Config):
    """Of each member's network and batches: the same for every initializer and rate, unlike the sweep's."""
    return jax.random.split(jax.random.key(config.seed), config.seeds)


def _networks(config: Config):
    """The deep networks along axes (initializer, seed), biases zero, without their activation."""
    depth = config.depths[1]
    sizes = [64, *[config.width] * (depth - 1), 10]
    same = {"all_small": "normal", "all_orthogonal": "scaled_orthogonal"}.get(config.plant)

    def kernels(name):
        if name == "looks_linear":
            return [looks_linear(1.0, "output"), *[looks_linear()] * (depth - 2), looks_linear(1.0, "input")]
        return name

    drawn = [  # one program for all of them would take minutes to compile
        jax.vmap(lambda key, n=same or name: mlp(key, sizes, "linear", kernels(n)))(_keys(config))
        for name in config.initializers
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)


def _cell(config: Config, data, networks, _, initializer, rate, member):
    """One network trained at every depth with every activation, along one axis: one after the other, for side by side
    each would cost all of them."""
    layers = jax.tree.map(lambda leaf: jnp.asarray(leaf)[initializer, member], networks)
    options = {"steps": config.steps, "batch_size": config.batch, "key": _keys(config)[member]}
    optimizer = optax.sgd(rate.astype(jnp.float32), momentum=0.9)

    def one(pair):
        begin = _activated(config, layers, pair[1], pair[0])
        run = train(begin, cross_entropy, optimizer, (data.train_x, data.train_y), **options)
        return {
            "loss": run.trace.loss,
            "accuracy": accuracy(predict(run.layers, data.test_x), data.test_y),
            "gradients": run.trace.log_gradient_norms[0],
        }

    pairs = [(depth, index) for depth in config.depths for index in range(len(config.activations))]
    return jax.lax.map(one, jnp.array(pairs))


def _activated(config: Config, layers, index, depth) -> list:
    """The network cut to this depth, the activation of this index behind its hidden layers: one program has all."""
    first, stack, last = layers
    index, acting = Constant(index), Constant(jnp.arange(stack.depth) < depth - 2)
    tied = (*[False] * len(jax.tree.leaves(stack.layer)), True, False)
    active = functools.partial(_active, tuple(ACTIVATIONS[name] for name in config.activations))
    hidden = Stack(Partial(functools.partial(_acting, active), stack.layer, index, acting), tied)
    return [Partial(active, first, index), hidden, last]


def _active(functions, layer, index, h):
    return jax.lax.switch(index.value, functions, layer(h))


def _acting(active, layer, index, acting, h):
    return jax.lax.cond(acting.value, lambda h: active(layer, index, h), lambda h: h, h)


def _hidden_jacobians(config: Config, data, networks):
    """The Jacobians of the hidden layers of each pair's first network at one digit, (activation, initializer, …)."""

    @functools.partial(jax.vmap, in_axes=(None, 0))
    def one(activation, layers):
        begin = _activated(config, layers, activation, config.depths[1])
        return layer_jacobians(begin[1:2], run(begin[:1], data.train_x[0]))[0]

    first = jax.tree.map(lambda leaf: leaf[:, 0], networks)
    return jax.jit(lambda n: jax.lax.map(lambda a: one(a, n), jnp.arange(len(config.activations))))(first)


def _spectra(config: Config, factors: np.ndarray) -> dict[str, np.ndarray]:
    """ln of all singular values of the hidden layers, and their bounds, (activation, initializer, depth, direction).

    Chain by chain: side by side all would take as long as the slowest. NaN where the signal has overflowed before.
    """
    values, bounds = np.full((2, *factors.shape[:2], 2, config.width), np.nan)
    for place in gradjax.study.progress(list(np.ndindex(factors.shape[:2])), "spectra"):
        for depth, spectrum in enumerate((_spectrum_of_few, log_singular_values_with_error)):
            chain = factors[place][: config.depths[depth] - 2]
            if np.isfinite(chain).all():
                values[*place, depth], bounds[*place, depth] = spectrum(chain)
    return {"log_singular_values": values, "bounds": bounds}


def _spectrum_of_few(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of the plain product, whose rounding is small against the layers' norms: a few layers lose no more."""
    sizes = np.linalg.svd(functools.reduce(lambda product, factor: factor @ product, factors), compute_uv=False)
    rounding = 8 * sizes.size * np.finfo(np.float64).eps * np.prod(np.linalg.norm(factors, axis=(1, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs, bounds = np.log(sizes), rounding / sizes
    return logs, np.where(bounds < 1, bounds, np.inf)


def _best(result) -> tuple[np.ndarray, np.ndarray]:
    """Test accuracy (depth, activation, initializer, seed) and its loss curves at the rate of least final loss."""
    last = result["loss"][..., -10:].mean(axis=-1)
    final = np.median(np.where(np.isfinite(last), last, np.inf), axis=-1)
    rate = final.argmin(axis=3)[..., None, None]
    curves = np.take_along_axis(result["loss"], rate[..., None], axis=3)[..., 0, :, :]
    return np.take_along_axis(result["accuracy"], rate, axis=3)[..., 0, :], curves


def _before(config: Config, result, place: int = 1) -> tuple[np.ndarray, ...]:
    """Before training, (activation, initializer), at this place of the depths: ln of the gradient's largest over its
    smallest norm in a hidden layer, ln of its usual norm there, its slope in nats a layer from the last to the first,
    and ln of the condition number of the leading half of the directions."""
    hidden = np.median(result["gradients"][place, :, :, 0, :, : config.depths[place] - 1], axis=2)
    # where rounding may have made the value, there is none: the rank is lost, or might be
    values = np.where(np.isinf(result["bounds"]), -np.inf, result["log_singular_values"])[:, :, place]
    with np.errstate(invalid="ignore"):
        span = hidden.max(axis=-1) - hidden.min(axis=-1)
        slope = (hidden[..., 0] - hidden[..., -1]) / (hidden.shape[-1] - 1)
        spread = values[..., 0] - values[..., config.width // 2 - 1]
    span, spread = (np.where(np.isfinite(values), values, np.inf) for values in (span, spread))
    return span, np.median(hidden, axis=-1), slope, spread


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
    name, (span, size, _, spread) = config.initializers.index, _before(config, result)
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
        ("tanh: orthogonal keeps directions", spread[tanh, name("orthogonal")] / np.log(10), "<=", 2.0,
         "fifty orthogonal layers of tanh have a condition number of 10^{measured:.1f} over the leading half"),
        ("tanh: Gaussian loses directions", spread[tanh, name("lecun_normal")] / np.log(10), ">=", 5.0,
         "from variance 1/n it is 10^{measured:.1f}"),
        ("tanh: trains from more", trained[tanh].sum() - trained[relu].sum(), ">=", 1,
         "{measured:.0f} more ways to draw the weights train fifty layers of tanh than of ReLU"),
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
    tables, below = ("shallow", "deep"), ("span", "spread", "spectra", "curves")
    layout: Any = [[name for name in row for _ in range(12 // len(row))] for row in (tables, below)]
    panels = fig.subplot_mosaic(layout, height_ratios=(2, 1))
    accuracies, curves = _best(result)
    for place, name in enumerate(tables):
        _plot_table(panels[name], config, accuracies, result, place)
    span, size, _, spread = (values / np.log(10) for values in _before(config, result))
    means = accuracies[1].mean(axis=-1)
    _plot_points(panels["span"], config, np.minimum(span, 20), means, FLAT, STEEP)
    panels["span"].set(
        xlabel="log10 of largest over smallest\ngradient norm (20: or more)", title="A steep gradient never trains"
    )
    flat = (span < FLAT / np.log(10)) & (np.abs(size) < FLAT / np.log(10))
    _plot_points(panels["spread"], config, np.where(flat, np.minimum(spread, 20), np.nan), means, NARROW)
    panels["spread"].set(
        xlabel="log10 of the leading half's\ncondition number (20: or more)", title="Of flat ones, the narrow do"
    )
    _plot_spectra(panels["spectra"], config, result)
    _plot_curves(panels["curves"], config, curves)
    return fig


def _plot_table(ax, config: Config, accuracies: np.ndarray, result, place: int) -> None:
    """Accuracy of every pair in colour and in words, with its standard error; slope and condition before training."""
    mean, error = (f(accuracies[place], axis=-1).T for f in (np.mean, np.std))
    _, _, slope, spread = (values.T for values in _before(config, result, place))
    ax.imshow(mean, vmin=0, vmax=1, aspect="auto")
    for pair, value in np.ndenumerate(mean):
        words = f"{value:.2f} ± {error[pair] / np.sqrt(config.seeds - 1):.2f}\n"
        words += f"{slope[pair]:+.2f}, " if np.isfinite(slope[pair]) else "none, "
        words += f"10^{spread[pair] / np.log(10):.1f}" if np.isfinite(spread[pair]) else "singular"
        colour = "white" if value < 0.5 else "black"
        ax.text(pair[1], pair[0], words, ha="center", va="center", fontsize=6, linespacing=0.95, color=colour)
    ax.set(
        xticks=range(len(config.activations)), xticklabels=config.activations, yticks=range(len(config.initializers))
    )
    ax.set(yticklabels=[name.replace("_", " ") for name in config.initializers])
    ax.set_title(
        f"{config.depths[place]} layers: test accuracy; below it, before training,\n"
        "ln of the gradient's factor a layer (none: underflow), leading half's condition"
    )
    ax.grid(False)


def _plot_spectra(ax, config: Config, result) -> None:
    """All singular values of the deep networks' hidden layers before training, of some pairs."""
    pairs = (("tanh", "orthogonal"), ("tanh", "lecun_normal"), ("relu", "looks_linear"), ("relu", "he_normal"))
    for look, (activation, name) in enumerate(pairs):
        pair = config.activations.index(activation), config.initializers.index(name)
        logs = result["log_singular_values"][*pair, 1] / np.log(10)
        style = {"color": plotting.COLOURS[look], "marker": plotting.MARKERS[look], "markersize": 3}
        ax.plot(
            np.arange(1, len(logs) + 1),
            np.where(np.isfinite(logs), logs, np.nan),
            label=f"{activation}, {name.replace('_', ' ')}",
            **style,
        )
    ax.axvline(config.width // 2 + 0.5, color="grey", linestyle=":", linewidth=0.8)
    ax.set(
        xlabel="index (missing: 0)",
        ylabel="log10 of singular value",
        title=f"{config.depths[1]} layers, before training",
    )
    ax.legend()


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
    ax.set_title(f"ReLU, {config.depths[1]} layers: learning curves")
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
