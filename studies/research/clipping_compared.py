"""Any clip that bounds the step saves an exploding network; none teaches it more than that

Which clip trains an exploding network, at which threshold and learning rate, what does it do to the gradient on the
way, and what does it cost a healthy network?

Prediction: a clip bounds the step. That rescues a network whose gradient is too large in all layers alike, whatever the
kind of bound; it cannot help where the gradient has vanished; and a healthy network pays little for it. A clip by a
norm shortens the gradient, one by entry, unit or layer also turns it. A threshold that follows the norms seen so far
has seen none at the first step, and lets the explosion pass.

And the stock clips of optax break their promise where it is needed. They square the gradient before they compare it,
and the square of a norm above 1.8e19 overflows in float32, of 256 in float16: the norm comes out infinite, the quotient
zero, and the network stands still from that step on. A ReLU network of weights N(0, σw²/n) multiplies its gradient by
√(σw²/2) a layer, so the depth at which this happens is known beforehand.

Here: orthogonal ReLU networks on scikit-learn's digits. Every clip at three thresholds and two learning rates, on the
same batches, as one program: the clip is a number in it, and so is the depth. Clips that work leaf by leaf see one
layer at a time. The clips of single examples, which bound each example's gradient before they are summed, need one
gradient an example and so a program of their own: the shallow networks, one threshold. The overflow in float32 is
looked for at σw = 32, where 14 layers suffice for it (at σw = 2 it takes 127). Control: the healthy network.

Predict: which of eighteen clips trains the deep exploding network, and which the vanishing one?

Look: every fixed bound keeps the exploding network from NaN, but leaves it at least {survival is not learning:.2f} of
accuracy behind the healthy one, clipped alike. The vanishing network stays at guessing behind every bound;
only the sign of the gradient, which lengthens it where it is short, learns something there. On float16 gradients the
stock clip returned zeros at {float16: stock is frozen:.0%} of the steps, from step
{float16: from the first step:.0f} on.

Reference: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063; what optax does was measured with the version recorded.
"""

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Constant, Stack
from gradjax.clipping import CLIPPERS, by_layer, observe, one_of, responses
from gradjax.clipping.responses import CASES
from gradjax.initializers import scaled_orthogonal
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 20
SITUATIONS = {  # name -> σw, depth as a part of the config's
    "healthy, shallow": (2**0.5, 0.5),
    "healthy": (2**0.5, 1.0),
    "exploding, shallow": (2.0, 0.5),
    "exploding": (2.0, 1.0),
    "vanishing": (0.8, 1.0),
}
LEAFWISE = ("block_rms", "unit_norm", "adaptive", "trust_ratio")
THRESHOLDS = {  # low, middle, high; every other clip: a tenth of its ordinary threshold, that, and ten times that
    "percentile": (50.0, 75.0, 90.0),
    "autoclip": (5.0, 10.0, 25.0),
    "zclip": (1.5, 2.5, 4.0),
    "apply_if_finite": (5.0, 5.0, 5.0),
    "sign": (0.01, 0.1, 1.0),
    "trust_ratio": (0.01, 0.1, 1.0),
}
HALF = " on float16"  # the suffix of a clip that is handed its gradient in float16, as mixed precision does
ALL = tuple(name for name, clipper in CLIPPERS.items() if not clipper.per_example)
BOUNDED = ("global_norm", "value", "block_rms", "unit_norm", "adaptive")  # act above a fixed bound, and only there
FOLLOWING = ("percentile", "autoclip", "zclip")
EXAMPLEWISE = tuple(name for name, clipper in CLIPPERS.items() if clipper.per_example)
STEEP, PROBED = 32.0, 9  # σw of networks whose gradient leaves the squares of float32, and at how many depths
OVERFLOW = math.log(np.finfo(np.float32).max) / 2  # ln of the norm whose square overflows
TARGET = 1.0  # training loss; guessing has 2.3
GUESSING = 0.25  # at most this: a network that says one class for all has 0.1


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    clips: tuple[str, ...] = (*ALL, "global_norm" + HALF, "optax_global_norm" + HALF)
    """Clips compared, by their name in `gradjax.clipping.CLIPPERS`."""
    depth: int = 16
    """Layers of weights; the shallow networks have half of them."""
    width: int = 32
    """Units a layer."""
    steps: int = 80
    """Updates of each training."""
    batch: int = 32
    """Digits an update."""
    rates: tuple[float, ...] = (0.01, 0.05)
    """Learning rates tried for every clip."""
    thresholds: tuple[int, ...] = (0, 1, 2)
    """Which of the thresholds are tried for every clip: 0 low, 1 middle, 2 high."""
    seeds: int = 3
    """Networks trained at every point of the grid."""
    seed: int = 0
    """Of networks, batches and the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


QUICK = (
    "none",
    "global_norm",
    "value",
    "zclip",
    "global_norm" + HALF,
    "optax_global_norm",
    "optax_global_norm" + HALF,
)
PRESETS = {"quick": Config(clips=QUICK, thresholds=(1,)), "full": Config()}
PLANTS = {  # clips that let everything through, or clip entries at 1e-4 as well; all networks healthy, or vanishing
    "idle_clips": ("clipped: no NaN", "exploding: a clip helps", "direction: turned", "stock: frozen depth",
                   "float16: stock is frozen", "float16: from the first step",
                   "examples: a clip helps"),
    "tiny_entries": ("direction: kept", "healthy: no cost", "float16: safe trains"),
    "all_healthy": ("unclipped: NaN", "vanishing: no help", "survival is not learning", "following: no help"),
    "all_vanishing": ("healthy: trains",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Every training, axes (clip, threshold, rate, situation, seed); the steep networks by depth; the responses."""
    data = digits(seed=config.seed, dtype=jnp.float32)
    grid = {"point": range(len(_points(config)))}
    trained = gradjax.study.sweep(functools.partial(_cell, config, data), grid, seed=config.seed, name="trainings")
    found = {name: values.swapaxes(0, 1) for name, values in trained.items()}  # (clip, point, …)
    shape = (len(config.clips), *map(len, _axes(config)))
    result = {name: values[:, :-PROBED].reshape(*shape, *values.shape[2:]) for name, values in found.items()}
    result |= {f"steep_{name}": found[name][:, -PROBED:] for name in ("first_log_norm", "zeroed", "cosine")}
    result["example_accuracy"] = jax.device_get(_train_examplewise(config, data))
    return result | {"steep_depths": _steep_depths(config), "words": _words(config)}


def _axes(config: Config) -> tuple:
    return config.thresholds, config.rates, range(len(SITUATIONS)), range(config.seeds)


def _points(config: Config) -> np.ndarray:
    """Place among the thresholds, learning rate, σw, depth and seed of every training, the steep ones last."""
    situations = _situations(config)
    rows = [(t, rate, *situations[s], seed) for t, rate, s, seed in itertools.product(*_axes(config))]
    rows += [(1, config.rates[-1], STEEP, depth, 0) for depth in _steep_depths(config)]
    return np.array(rows, np.float32)


def _steep_depths(config: Config) -> np.ndarray:
    return np.arange(config.depth - PROBED + 1, config.depth + 1)


def _thresholds(clip: str) -> tuple[float, ...]:
    name = clip.removesuffix(HALF)
    return THRESHOLDS.get(name) or tuple(CLIPPERS[name].default * factor for factor in (0.1, 1.0, 10.0))


def _situations(config: Config) -> np.ndarray:
    """σw and depth of each situation."""
    same = {"all_healthy": 2**0.5, "all_vanishing": 0.8}.get(config.plant)
    return np.array([[same or std, round(part * config.depth)] for std, part in SITUATIONS.values()])


def _network(config: Config, seed):
    """The key of this network and its batches, and its orthogonal weights, biases zero; a mask cuts it."""
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    sizes = [64, *[config.width] * (config.depth - 1), 10]
    return key, mlp(key, sizes, "relu", scaled_orthogonal(1.0))


def _cut(layers, weight_std, depth) -> list:
    """The network at this scale of weights, its hidden layers from `depth` on replaced by the identity."""
    first, stack, last = optax.tree.scale(weight_std, layers)
    acting = Constant(jnp.arange(2.0, 2.0 + stack.depth, dtype=jnp.float32) < depth)
    return [first, Stack(Partial(_if_acting, stack.layer, acting)), last]


def _if_acting(layer, acting, h):
    return jnp.where(acting.value, layer(h), h)


def _clip(config: Config, clip: str, threshold) -> optax.GradientTransformation:
    name = clip.removesuffix(HALF)
    threshold = threshold.astype(jnp.float16) if clip.endswith(HALF) else threshold
    transformation = CLIPPERS["none" if config.plant == "idle_clips" else name](threshold)
    if name in LEAFWISE:
        transformation = by_layer(transformation, lambda leaf: leaf.shape[:1] == (config.depth - 2,))
    if config.plant == "tiny_entries" and name != "none":
        transformation = optax.chain(transformation, optax.clip(1e-4))
    if clip.endswith(HALF):
        transformation = optax.chain(_cast(jnp.float16), transformation, _cast(jnp.float32))
    return transformation


def _cast(dtype) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: jax.tree.map(lambda leaf: leaf.astype(dtype), updates))


def _cell(config: Config, data, key, point):
    """One network trained behind every clip, along one axis: one after the other, so that only the acting one is run.

    The sweep's key is of the cell alone: here every clip and rate meets the same networks and batches.
    """
    place, rate, weight_std, depth, seed = jnp.asarray(_points(config))[point]
    key, layers = _network(config, seed.astype(jnp.int32))
    layers = _cut(layers, weight_std, depth)
    thresholds = jnp.asarray([_thresholds(name) for name in config.clips], jnp.float32)[:, place.astype(jnp.int32)]
    options = {"steps": config.steps, "batch_size": config.batch, "key": key}

    def one(given):
        clip, threshold = given
        clipper = observe(one_of([_clip(config, name, threshold) for name in config.clips], clip))
        optimizer = optax.chain(clipper, optax.sgd(rate, momentum=0.9))
        return _outcome(config, data, train(layers, cross_entropy, optimizer, data[:2], **options))

    return jax.lax.map(one, (jnp.arange(len(config.clips)), thresholds))


def _outcome(config: Config, data, run) -> dict[str, jax.Array]:
    """What is kept of one training."""
    seen, loss = run.opt_state[0], run.trace.loss
    smooth = jnp.convolve(loss, jnp.full(10, 0.1, loss.dtype), mode="valid")
    reached = smooth < TARGET
    return {
        "loss": loss,
        "final_loss": jnp.where(jnp.isfinite(smooth[-1]), smooth[-1], jnp.inf),
        "steps_to_target": jnp.where(reached.any(), 9 + jnp.argmax(reached), config.steps),
        "test_accuracy": accuracy(predict(run.layers, data.test_x), data.test_y),
        "first_log_norm": run.trace.log_global_norm[0],
        "first_nonfinite": run.trace.first_nonfinite,
        "fraction_clipped": seen.fraction_changed,
        "cosine": seen.mean_cosine,
        "zeroed": seen.zeroed,
        "first_zeroed": seen.first_zeroed,
    }


@functools.partial(jax.jit, static_argnums=0)
def _train_examplewise(config: Config, data):
    """Test accuracy behind clips of single examples, (clip, healthy or exploding, seed): shallow, the highest rate."""

    def one(clip, weight_std, seed):
        key, layers = _network(config, seed)
        threshold = 1e30 if config.plant == "idle_clips" else CLIPPERS[clip].default
        mean = optax.scale(1 / config.batch)  # these clips return the sum over the examples
        optimizer = optax.chain(CLIPPERS[clip](threshold), mean, optax.sgd(config.rates[-1], momentum=0.9))
        options = {"steps": config.steps, "batch_size": config.batch, "key": key, "per_example": True}
        shallow = _cut(layers, weight_std, config.depth // 2)
        run = train(shallow, cross_entropy, optimizer, data[:2], **options)
        return accuracy(predict(run.layers, data.test_x), data.test_y)

    stds = jnp.asarray(_situations(config)[[0, 2], 0], jnp.float32)
    grids = [
        jax.vmap(jax.vmap(functools.partial(one, clip), (None, 0)), (0, None))(stds, jnp.arange(config.seeds))
        for clip in (EXAMPLEWISE if set(ALL) <= set(config.clips) else EXAMPLEWISE[:1])
    ]
    return jnp.stack(grids)


def _words(config: Config) -> np.ndarray:
    """What the clips do at the edge, (clip, case); the full preset has all of them, those of single examples too."""
    names = tuple(CLIPPERS) if set(ALL) <= set(config.clips) else config.clips[:1]
    return np.array([[*row.values()] for row in responses({name: CLIPPERS[name] for name in names}).values()])


def _best(config: Config, result, clips, rates=slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Mean test accuracy and its standard error by (clip, situation), at the grid's point of least training loss."""
    rows = [i for i, name in enumerate(config.clips) if name in clips]
    loss, right = (result[name][rows][:, :, rates] for name in ("final_loss", "test_accuracy"))
    flat = loss.reshape(len(rows), -1, *loss.shape[3:])
    best = np.median(flat, axis=-1).argmin(axis=1)
    chosen = np.take_along_axis(right.reshape(flat.shape), best[:, None, :, None], axis=1)[:, 0]
    return _over_seeds(chosen)


def _over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the last axis and its standard error."""
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / math.sqrt(values.shape[-1])


def _overflow_depth(result) -> float:
    """The depth at which the norm's square overflows: theory's slope through the shallowest steep network."""
    first, per_layer = result["steep_first_log_norm"][0, 0], math.log(STEEP**2 / 2) / 2
    return float(result["steep_depths"][0] + (OVERFLOW - first) / per_layer)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Accuracies stand two standard errors over seeds on the unfavourable side."""
    index, situation = config.clips.index, list(SITUATIONS).index
    mean, error = _best(config, result, BOUNDED)
    none, none_error = _best(config, result, ("none",))
    fast, fast_error = (a[0, 2] for a in _best(config, result, ("none",), slice(-1, None)))
    fast_mean, fast_errors = (a[:, 2] for a in _best(config, result, BOUNDED, slice(-1, None)))
    each, each_error = (_over_seeds(result["example_accuracy"])[i][:, 1] for i in (0, 1))
    following = [a[:, situation("exploding")] for a in _best(config, result, FOLLOWING)]
    half = [a[0] for a in _best(config, result, ("global_norm" + HALF,))]
    broken, cosines = result["first_nonfinite"] < config.steps, result["cosine"]
    bounded = [
        index(name) for name in config.clips if name.removesuffix(HALF).endswith("global_norm") or name in BOUNDED
    ]
    straight = [index(name) for name in ("global_norm", "optax_global_norm") if name in config.clips]
    stock = result["steep_zeroed"][index("optax_global_norm")] > 0
    half_stock = index("optax_global_norm" + HALF)
    frozen = result["zeroed"][half_stock][:, :, situation("exploding")] / config.steps
    since = result["first_zeroed"][half_stock][:, :, situation("exploding")]  # −1: never
    healthy, exploding, vanishing = (situation(name) for name in ("healthy", "exploding", "vanishing"))
    survived = mean[:, healthy] - mean[:, exploding] - 2 * np.hypot(error[:, healthy], error[:, exploding])
    rows = [
        ("unclipped: NaN", broken[index("none"), :, :, exploding].mean(), ">=", 1.0, 0.0,
         "without a clip {measured:.0%} of the deep exploding runs end in NaN"),
        ("clipped: no NaN", broken[bounded].sum(), "<=", 0.0, 0.0,
         "{measured:.0f} runs with a fixed bound meet a NaN, at any threshold and rate"),
        ("exploding: a clip helps", (fast_mean - fast - 2 * np.hypot(fast_errors, fast_error)).min(), ">=", 0.2, 0.0,
         "at the higher rate each bound is worth at least {measured:.2f} of accuracy to the shallow exploding network"),
        ("examples: a clip helps", (each - fast - 2 * np.hypot(each_error, fast_error)).min(), ">=", 0.1, 0.0,
         "so is a bound on each example's gradient: at least {measured:.2f}"),
        ("healthy: trains", none[0, 0] - 2 * none_error[0, 0], ">=", 0.5, 0.0,
         "the shallow healthy network trains without a clip, to at least {measured:.2f}"),
        ("healthy: no cost", (mean - none)[:, 0].min(), ">=", 0.0, float(2 * np.hypot(error, none_error)[:, 0].max()),
         "the worst bound leaves it {measured:+.2f} of accuracy against no clip"),
        ("survival is not learning", survived.min(), ">=", 0.1, 0.0,
         "the clipped deep exploding network stays at least {measured:.2f} of accuracy behind the clipped healthy one"),
        ("vanishing: no help", (mean + 2 * error)[:, vanishing].max(), "<=", GUESSING, 0.0,
         "with a vanished gradient no bound reaches more than {measured:.2f}"),
        ("following: no help", (following[0] + 2 * following[1]).max(), "<=", GUESSING, 0.0,
         "a threshold that follows the data has let the explosion in: at most {measured:.2f}"),
        ("direction: kept", np.nanmin(cosines[straight]), ">=", 1.0, 1e-4,
         "a clip by global norm keeps the direction: least mean cosine {measured:.6f}"),
        ("direction: turned", np.nanmean(cosines[index("value"), :, :, healthy]), "<=", 0.95, 0.0,
         "a clip by value turns the gradient: mean cosine {measured:.2f}"),
        ("stock: frozen depth", result["steep_depths"][stock].min(initial=10**6), "=", _overflow_depth(result), 1.5,
         "the stock clip returns zeros from depth {measured:.0f} on; theory has the overflow at {expected:.1f}"),
        ("float16: stock is frozen", frozen.mean(), ">=", 1.0, 0.0,
         "on float16 gradients it returns zeros at {measured:.0%} of the deep exploding network's steps"),
        ("float16: from the first step", np.where(since < 0, config.steps, since).max(), "<=", 0.0, 0.0,
         "there its updates are zero from step {measured:.0f} on"),
        ("float16: safe trains", half[0][2] - 2 * half[1][2], ">=", 0.5, 0.0,
         "on float16 gradients the safe clip trains the shallow exploding network, to at least {measured:.2f}"),
    ]  # fmt: skip
    source = "the prediction above; Pascanu et al. 2013, arXiv:1211.5063"
    return [Claim(name, value, bound, tol, source, sign, words) for name, value, sign, bound, tol, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Every clip in every situation; losses; where the stock clip freezes; what each clip does at the edge."""
    title = "Any bound on the step rescues an explosion; none wakes a vanished gradient, and the stock bound breaks"
    fig, axes = plotting.figure(1, 1, title, width=13.5, height=14.0)
    axes[0, 0].remove()
    layout: Any = [["table", "losses"], ["table", "steep"], ["words", "words"]]
    panels = fig.subplot_mosaic(layout, width_ratios=(1.35, 1), height_ratios=(1, 1, 1.2))
    _plot_table(panels["table"], config, result)
    _plot_losses(panels["losses"], config, result)
    _plot_steep(panels["steep"], config, result)
    _plot_words(panels["words"], config, result["words"])
    return fig


def _plot_table(ax, config: Config, result) -> None:
    """Accuracy of every clip at its best point, with its error, in colour and in words."""
    mean, error = _best(config, result, config.clips)
    ax.imshow(mean, vmin=0, vmax=1, aspect="auto")
    for (clip, column), value in np.ndenumerate(mean):
        cosines = result["cosine"][clip, :, :, column]
        cosine = np.nanmean(cosines) if np.isfinite(cosines).any() else 0.0
        acts, steps = (result[name][clip, :, :, column] for name in ("fraction_clipped", "steps_to_target"))
        words = f"{value:.2f} ± {error[clip, column]:.2f}, cos {cosine:.2f}"
        whole = result["first_nonfinite"][clip, :, :, column] >= config.steps
        words += f"\nacts {acts[whole].mean():.0%}, " if whole.any() else "\nNaN, "
        zeroed = result["first_zeroed"][clip, :, :, column]
        never = f"zeros from step {zeroed[zeroed >= 0].min():.0f}" if (zeroed >= 0).any() else "never"
        words += f"{steps.min():.0f} steps" if steps.min() < config.steps else never
        colour = "white" if value < 0.5 else "black"
        ax.text(column, clip, words, ha="center", va="center", color=colour, fontsize=6)
    ax.set(xticks=range(len(SITUATIONS)), xticklabels=[name.replace(", ", ",\n") for name in SITUATIONS])
    ax.set(yticks=range(len(config.clips)), yticklabels=[_said(name) for name in config.clips])
    ax.set_title(
        "Test accuracy; mean cosine of gradient and update; part of steps changed; fewest steps to\n"
        "loss 1; first step at which a finite gradient was answered by zeros"
    )
    ax.grid(False)


def _said(name: str) -> str:
    return name.replace(HALF, "\non float16").replace("optax_", "optax ").replace("_", " ")


def _plot_losses(ax, config: Config, result) -> None:
    """Loss by step of the shallow exploding network at the higher rate and the ordinary threshold."""
    middle = len(config.thresholds) // 2
    for look, name in enumerate(("none", "global_norm", "value", "zclip")):
        loss = np.median(result["loss"][config.clips.index(name), middle, -1, 2], axis=0)
        colour, dashes = plotting.COLOURS[look], plotting.DASHES[look]
        ax.plot(np.minimum(loss, 1e6), color=colour, linestyle=dashes, label=_said(name))
    ax.axhline(math.log(10), color="grey", linewidth=0.8, linestyle=":", label="guessing")
    ax.set(yscale="log", xlabel="training step", ylabel="training loss, median over seeds")
    ax.set_title("Exploding, shallow, higher rate: a bound holds, a follower comes late")
    found = zip(EXAMPLEWISE, *_over_seeds(result["example_accuracy"]), strict=False)
    words = [
        f"{_said(name)}: {mean[0]:.2f} ± {error[0]:.2f}, {mean[1]:.2f} ± {error[1]:.2f}" for name, mean, error in found
    ]
    ax.text(
        0.02, 0.03, "\n".join(["test accuracy, healthy and exploding:", *words]), transform=ax.transAxes, fontsize=7
    )
    ax.legend()


def _plot_steep(ax, config: Config, result) -> None:
    """First gradient norm by depth in steep networks, theory's slope, and which updates were zeros."""
    depths, norms = result["steep_depths"], result["steep_first_log_norm"][0] / math.log(10)
    slope = math.log10(STEEP**2 / 2) / 2
    plotting.theory(ax, depths, norms[0] + slope * (depths - depths[0]), "theory: ln √(σw²/2) a layer", 0)
    zero = {name: result["steep_zeroed"][config.clips.index(name)] > 0 for name in ("global_norm", "optax_global_norm")}
    safe, stock = ~zero["global_norm"], zero["optax_global_norm"]
    look = {"linestyle": "none", "color": plotting.COLOURS[4]}
    ax.plot(depths[safe], norms[safe], "o", markersize=11, fillstyle="none", label="safe clip acts", **look)
    look["color"] = plotting.COLOURS[6]
    ax.plot(depths[~stock], norms[~stock], "o", label="stock clip acts", **look)
    ax.plot(depths[stock], norms[stock], "x", markersize=8, label="stock clip returns zeros", **look)
    ax.axhline(OVERFLOW / math.log(10), color="grey", linestyle=":", label="the square overflows float32")
    ax.set(xlabel=f"layers of weights, σw = {STEEP:g}", ylabel="log10 of the first gradient's norm")
    ax.set_title("The stock clip freezes the network from a known depth on")
    ax.legend(loc="upper left")


def _plot_words(ax, config: Config, words: np.ndarray) -> None:
    """What each clip does at its first step with a gradient at the edge, one word a case."""
    broken = np.isin(words, ("zeros", "some NaN", "all NaN", "inf", "error", "exceeds"))
    ax.imshow(np.where(broken, 0.75, 0.3), vmin=0, vmax=1, aspect="auto")
    for (row, column), word in np.ndenumerate(words):
        ax.text(
            column, row, word, ha="center", va="center", fontsize=7, color="black" if broken[row, column] else "white"
        )
    names = tuple(CLIPPERS) if len(words) == len(CLIPPERS) else config.clips[:1]
    ax.set(xticks=range(len(CASES)), xticklabels=list(CASES), yticks=range(len(names)))
    ax.set(yticklabels=[_said(name) for name in names])
    ax.set_title("At the edge: what each clip returns for a gradient of this kind (light: zeros, NaN or infinity)")
    ax.grid(False)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
