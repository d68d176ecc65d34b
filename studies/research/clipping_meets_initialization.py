"""A clip stops an explosion; it cannot wake a gradient that has vanished

What does gradient clipping mend that a bad initialization has broken, and what can it not mend?

Prediction: with weights N(0, σw²/n) a ReLU layer multiplies the squared gradient by χ = σw²/2, and the squared
activation too. So the gradient of layer l of L is

math: ‖g_l‖² ∝ χ^(L−l) (1 + |x|² χ^(l−1))
code: return ((config.depth - layer) * log_chi + np.log1p(squared * np.exp((layer - 1) * log_chi))) / 2

At χ > 1 it is too large in all layers alike, and a clip, which multiplies by one number, can mend that. At χ < 1 it is
gone in the first layers alone: no common factor mends a ratio, and a clip acts on large gradients only. That is the
control: where gradients vanish, no clip changes anything. And a clip bounds the step, not the function: the stronger
the explosion, the less of the learning comes back with the survival.

Predict: in one network the gradients of the first layers are far too small, in another all are far too large. In which
of the two does a clip help, and how much?

Look: in the second alone. Where gradients vanish, the best of all clips reaches an accuracy of at most
{vanishing: no help:.0%}: that is guessing. The exploding network trains with either clip to at least
{exploding: a clip helps:.0%}, which no learning rate of the grid does without one. A stronger explosion takes at least
{strong: learns less:.0%} of the accuracy away again.

Here: 30 layers of ReLU on scikit-learn's digits, stochastic gradient descent with momentum, every pair of four
initializations and three clips, each at the learning rate of a grid that gives the least training loss.

Reference: He, Zhang, Ren, Sun (2015), arXiv:1502.01852, whose 30-layer network converges from σw² = 2 and stalls from
σw² = 1; clipping: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.clipping import CLIPPERS
from gradjax.gradients import log_gradient_norms, log_signal_norms
from gradjax.initializers import scaled_orthogonal
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.theory.finite_width import log_squared_norm_moments
from gradjax.theory.meanfield import gradient_gain
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 2
WEIGHT_STDS = {"vanishing": 1.0, "critical": math.sqrt(2), "exploding": 1.6, "strongly exploding": 2.0}
CLIPS = {  # name -> clipper, threshold, and the index of its colour and dashes
    "no clip": ("none", 0.0, 2),
    "clip by global norm": ("optax_global_norm", 1.0, 0),
    "clip by value": ("value", 0.01, 1),
}
TRAINED = 0.4  # test accuracy, four times that of guessing
GUESSING = 0.2  # at most this: a network that says one class for all has 0.1, and each run's last steps are noisy


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    depth: int = 30
    """Layers of weights: those of He et al. (2015)."""
    width: int = 64
    """Units a layer: not 256, for the full preset trains 360 networks, and the claims are about depth."""
    steps: int = 250
    """Updates of each training: enough for the critical network to learn, a few seconds each."""
    batch: int = 128
    """Digits an update."""
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    """Learning rates tried for every pair, for none to lose by a rate that suits another; quick: one between them."""
    seeds: int = 10
    """Networks trained for every pair and rate."""
    networks: int = 64
    """Networks whose gradient is measured before training."""
    seed: int = 0
    """The first of the seeds; it also draws the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(rates=(0.006,), seeds=3, networks=16), "full": Config()}
PLANTS = {  # weights of 1.2 times the stated variance; every network drawn as the critical (vanishing) one; idle clips
    "weight_variance": tuple(f"slope: {name}" for name in WEIGHT_STDS),
    "all_critical": ("vanishing: no help", "strong: diverges", "exploding: no rate instead", "strong: learns less"),
    "all_vanishing": ("critical: trains", "exploding: a clip helps"),
    "idle_clips": ("clipped: no NaN",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Gradients before training, and every training; leading axes are (clip, initialization)."""
    data = digits(seed=config.seed, dtype=jnp.float32)  # training needs no more digits, and they cost time
    result = _before(config, data) | {"theory_gradients": _theory(config, data)}
    grid = {"clip": range(len(CLIPS)), "start": range(len(WEIGHT_STDS)), "rate": config.rates}
    grid["network"] = range(config.seeds)
    result |= gradjax.study.sweep(_training(config, data), grid, seed=config.seed)
    final = np.where(np.isfinite(result["final_loss"]), result["final_loss"], np.inf)
    best = np.median(final, axis=-1).argmin(axis=-1)  # a rate for each pair, chosen by training loss alone
    clip, start = np.indices(best.shape)
    for name in ("loss", "final_loss", "test_accuracy"):
        result[name] = result[name][clip, start, best]
    return result | {"best_rate": np.asarray(config.rates)[best]}


def _weight_stds(config: Config) -> jax.Array:
    same = {"all_critical": "critical", "all_vanishing": "vanishing"}.get(config.plant)
    return jnp.array([WEIGHT_STDS[same or name] for name in WEIGHT_STDS], jnp.float32)


def _network(config: Config, key):
    """A network of orthogonal weights, biases zero."""
    return mlp(key, [64, *[config.width] * (config.depth - 1), 10], "relu", scaled_orthogonal(1.0))


def _before(config: Config, data) -> dict[str, np.ndarray]:
    """ln norms before training, (initialization, networks, layers), of the backward signal and of the gradients."""
    x, y = data.train_x[: config.batch], data.train_y[: config.batch]
    factor = math.sqrt(1.2) if config.plant == "weight_variance" else 1.0

    def one(key, weight_std, x, y):
        layers = optax.tree.scale(factor * weight_std, _network(config, key))
        loss = Partial(lambda targets, outputs: cross_entropy(outputs, targets), y)
        signals = log_signal_norms(loss, layers, x, batch_axis=0)[1:-1]
        return {"before_signals": signals, "before_gradients": log_gradient_norms(loss, layers, x, batch_axis=0)}

    over_all = jax.vmap(jax.vmap(one, (0, None, None, None)), (None, 0, None, None))
    keys = jax.random.split(jax.random.key(config.seed), config.networks)
    return jax.device_get(jax.jit(over_all)(keys, _weight_stds(config), x, y))


def _theory(config: Config, data) -> np.ndarray:
    """½ ln of χ^(L−l) (1 + |x|² χ^(l−1)), (initialization, layers)."""
    squared = float(jnp.mean(jnp.sum(data.train_x**2, axis=-1)))
    log_chi = np.log([[gradient_gain("relu", weight_std, 0.0)] for weight_std in WEIGHT_STDS.values()])
    layer = np.arange(1, config.depth)
    return ((config.depth - layer) * log_chi + np.log1p(squared * np.exp((layer - 1) * log_chi))) / 2


def _training(config: Config, data):
    """The grid's cell: a training with the clip, the weight scale and the network of these indices."""
    idle = config.plant == "idle_clips"
    clippers = [CLIPPERS["none" if idle else name](threshold) for name, threshold, _ in CLIPS.values()]
    branches = [lambda g, c=clipper: c.update(g, c.init(g))[0] for clipper in clippers]
    keys, weight_stds = jax.random.split(jax.random.key(config.seed), config.seeds), _weight_stds(config)

    def cell(_, clip, start, rate, network):
        clipper = optax.stateless(lambda gradients, _: jax.lax.switch(clip, branches, gradients))
        optimizer = optax.chain(clipper, optax.sgd(rate.astype(jnp.float32), momentum=0.9))
        layers = optax.tree.scale(weight_stds[start], _network(config, keys[network]))
        options = {"steps": config.steps, "batch_size": config.batch, "key": keys[network]}
        run = train(layers, cross_entropy, optimizer, (data.train_x, data.train_y), **options)
        return {
            "loss": run.trace.loss,
            "first_nonfinite": run.trace.first_nonfinite,
            "final_loss": cross_entropy(predict(run.layers, data.train_x), data.train_y),
            "test_accuracy": accuracy(predict(run.layers, data.test_x), data.test_y),
        }

    return cell


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Slopes against theory, within the mean of ln |J u|² at this width (a bias) and four errors; then what trains."""
    layers = config.depth - 2
    moments = log_squared_norm_moments([config.width] * (layers + 1))
    tolerance = (abs(moments.mean) + 4 * math.sqrt(moments.variance / config.networks)) / 2 / layers
    signals, source = result["before_signals"], "½ ln χ by quadrature; He et al. 2015, arXiv:1502.01852"
    slopes = ((signals[..., 0] - signals[..., -1]) / layers).mean(axis=-1)
    found = []
    for slope, (name, weight_std) in zip(slopes, WEIGHT_STDS.items(), strict=True):
        theory = math.log(gradient_gain("relu", weight_std, 0.0)) / 2
        words = f"{name} (σw = {weight_std:.3g}): a layer multiplies the gradient by e^({{measured:+.3f}})"
        found.append(Claim(f"slope: {name}", slope, theory, tolerance, source, statement=words))
    return found + _training_claims(config, result)


def _training_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Each measured number stands two standard errors over seeds on the unfavourable side."""
    accuracies, steps = result["test_accuracy"], config.steps
    mean, error = accuracies.mean(axis=-1), accuracies.std(axis=-1, ddof=1) / math.sqrt(config.seeds)
    vanishing, critical, exploding, strong = range(len(WEIGHT_STDS))

    def above(a, b):
        return (mean[a] - mean[b] - 2 * np.hypot(error[a], error[b])).min()

    low, high = mean - 2 * error, mean + 2 * error
    broken = result["first_nonfinite"] < steps
    rows = [
        ("vanishing: no help", high[:, vanishing].max(), "<=", GUESSING,
         "with vanishing gradients the best of all clips reaches a test accuracy of {measured:.2f}: guessing"),
        ("critical: trains", low[0, critical], ">=", TRAINED,
         "from the critical weights the network trains without a clip, to at least {measured:.2f}"),
        ("strong: diverges", broken[0, strong].mean(), ">=", 1.0,
         "without a clip {measured:.0%} of the strongly exploding runs, at all learning rates, end in NaN"),
        ("exploding: a clip helps", low[1:, exploding].min(), ">=", TRAINED,
         "with either clip the exploding network trains, to at least {measured:.2f}"),
        ("exploding: no rate instead", above((slice(1, None), exploding), (0, exploding)), ">=", 0.0,
         "that is at least {measured:.2f} of accuracy more than at the best learning rate without a clip"),
        ("clipped: no NaN", broken[1:].sum(), "<=", 0.0, "{measured:.0f} of the clipped runs meet a NaN"),
        ("strong: learns less", above((slice(1, None), exploding), (slice(1, None), strong)), ">=", 0.0,
         "a stronger explosion costs the clipped networks at least {measured:.2f} of accuracy more"),
    ]  # fmt: skip
    source = "the prediction above; He et al. 2015, arXiv:1502.01852, show the first two"
    return [Claim(name, value, bound, 0.0, source, sign, words) for name, value, sign, bound, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Losses by initialization, the gradient by layer that explains them, and who trained."""
    title = "Clipping mends an explosion, up to a point. It never mends a vanished gradient"
    fig, axes = plotting.figure(1, 1, title, width=12.6, height=7.0)
    axes[0, 0].remove()
    panels = fig.subplot_mosaic([list(WEIGHT_STDS), ["gradients", "gradients", "table", "table"]])
    for i, name in enumerate(WEIGHT_STDS):
        _plot_losses(panels[name], i, name, config, result)
    _plot_gradients(panels["gradients"], config, result)
    _plot_table(panels["table"], result)
    return fig


def _plot_losses(ax, i: int, name: str, config: Config, result) -> None:
    """The loss of each step, median and quartiles over seeds, and a cross where the runs end in NaN."""
    for clip, (label, (_, _, look)) in enumerate(CLIPS.items()):
        loss, colour = result["loss"][clip, i], plotting.COLOURS[look]
        alive = np.flatnonzero(np.isfinite(loss).all(axis=0))
        low, middle, high = np.percentile(loss[:, alive], (25, 50, 75), axis=0)
        ax.fill_between(alive, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(alive, middle, color=colour, linestyle=plotting.DASHES[look], label=label)
        if len(alive) < config.steps:
            ax.plot(alive[-1], middle[-1], "X", color=colour, markersize=9)
            ax.annotate(f"{label}: NaN", (alive[-1], middle[-1]), (9, 3), textcoords="offset points")
    ax.axhline(math.log(10), color="grey", linewidth=0.8, linestyle=":")
    ax.annotate("guessing", (config.steps, math.log(10)), (0, 2), textcoords="offset points", ha="right", color="grey")
    ax.set(title=f"{name}: σw = {WEIGHT_STDS[name]:.3g}", yscale="log", ylim=(0.03, 2e5), xlabel="training step")
    if i == 0:
        ax.set_ylabel("training loss")
        ax.legend(loc="upper right", title="learning rate: the best of the grid")


def _plot_gradients(ax, config: Config, result) -> None:
    """Measured gradient norms by layer before training, theory through the last hidden layer, and the clip."""
    layer = np.arange(1, config.depth)
    for i, name in enumerate(WEIGHT_STDS):
        logs = result["before_gradients"][i][:, :-1] / math.log(10)
        shape = result["theory_gradients"][i] / math.log(10)
        level = shape - shape[-1] + np.median(logs[:, -1])
        plotting.theory(ax, layer, level, f"theory: {name}", i + 3)  # other colours than those of the clips
        plotting.measured(ax, layer, logs, f"measured: {name}", i + 3)
        ax.annotate(name, (config.depth, level[-1]), va="center", color=plotting.COLOURS[i + 3])
    bound = ax.axhline(0, color="grey", linewidth=1, label="bound of the clip by global norm")
    ax.set(
        title="Before training: too large in all layers alike, or gone in the first ones", xlim=(0, 1.25 * config.depth)
    )
    ax.set(xlabel="layer (1 is next to the input)", ylabel="log10 of the layer's gradient norm", ylim=(-5.8, 6.2))
    first, *_, last = ax.get_legend_handles_labels()[0]
    ax.legend([last, first, bound], ["measured, median and range", "theory", bound.get_label()], loc="lower right")


def _plot_table(ax, result) -> None:
    """Test accuracy of every pair at its best learning rate, in colour and in words."""
    means, broken = result["test_accuracy"].mean(axis=-1), ~np.isfinite(result["final_loss"])
    ax.imshow(means, vmin=0, vmax=1, aspect="auto")
    for (clip, start), value in np.ndenumerate(means):
        word = "not trained" if value < GUESSING else "in part" if value < 0.5 else "trained"
        word += f"\n({broken[clip, start].mean():.0%} of runs: NaN)" if broken[clip, start].any() else ""
        ax.text(
            start, clip, f"{value:.0%}\n{word}", ha="center", va="center", color="white" if value < 0.5 else "black"
        )
    ax.set(xticks=range(len(WEIGHT_STDS)), xticklabels=list(WEIGHT_STDS), yticks=range(len(CLIPS)))
    ax.set(yticklabels=[label.replace("clip by ", "clip by\n") for label in CLIPS])
    ax.set_title("Who learned: accuracy on unseen digits (guessing: 10%)")
    ax.grid(False)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
