"""A penalty on the stretches wakes a vanished gradient; for an explosion a clip is better

Can training be asked to keep the stretches of the whole network near one, and does a network then learn what it could
not learn behind a clip?

Prediction: a gradient that has vanished along every direction is not mended by a clip, which acts on large gradients
only. But how far the network stretches k directions is a smooth function of its weights, whatever its depth: push that
towards zero, and the gradient has k open paths to the first layer, or to the first step in time. So a penalty on the
mean square of these logarithms should train a network that starts vanished, where nothing and a clip do not. From an
explosion it should do less: there the penalty is large itself, its gradient fills the clip, and the task's is shortened
with it.

    math: λ_i = (1/L) ∑_l ln |(R_l)_ii|
    code: penalty = flossing_penalty(links, state, min(DIRECTIONS, CODE) if make is _autoencoder else DIRECTIONS)

Here: a deep tanh network and a deep autoencoder on scikit-learn's digits, and recurrent tanh networks on delayed copy
(say the number that came some steps ago) and on temporal order (in which order did two symbols come, long ago?); each
starts vanishing, exploding, or, the control, from orthogonal weights, where the penalty has little to mend. Each is
trained with nothing, behind a clip by global norm, and with the penalty added and the clip. The directions' stretches
come from a running QR, for it is these that the penalty holds: they are not the singular values of the product, from
which they differ by some nats in all, but their mean over the layers has the same limit, and their derivative is cheap.

Predict: the deep network starts with a gradient that shrinks to a half in every layer. Which of the three ways teaches
it anything?

Look: only the penalty: a test accuracy of {deep: the penalty trains:.2f} and more, where nothing and the clip stay at
guessing. So with the vanished autoencoder, whose error falls to {autoencoder: the penalty trains:.2f}, and with the
recurrent networks, which learn to remember, and to order, with it alone. It is no cure for an explosion: from exploding
weights it teaches {exploding: no cure:.0f} of the four networks, and {exploding: a clip is better:.0%} of their
trainings end at a greater loss than with the clip alone.

Reference: Engelken (2023), Gradient flossing, arXiv:2312.17306, who trains recurrent networks so; Hochreiter,
Schmidhuber (1997), for temporal order; Hinton, Salakhutdinov (2006), whose deep autoencoder needed pretraining.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import gradjax.study
from gradjax.chain import unroll
from gradjax.clipping import clip_by_global_norm
from gradjax.flossing import flossing_penalty
from gradjax.initializers import normal, scaled_orthogonal, variance_scaling
from gradjax.layers import at_each_step, dense, initial_state, over_time, recurrent
from gradjax.lyapunov import log_growths
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import delayed_copy, digits, temporal_order
from gradjax.training import accuracy, cross_entropy, predict

ORDER = 25
STARTS = ("vanishing", "exploding", "orthogonal")  # the last is the control
WEIGHT_STDS = {"deep": (0.6, 2.0, 1.0), "autoencoder": (0.6, 2.0, 1.0)}  # σw, by start
WEIGHT_STDS |= {"recurrent": (0.3, 2.0, 1.0), "order": (0.3, 2.0, 1.0)}
CODE = 8  # numbers that the autoencoder passes a digit through
WAYS = {"nothing": (1e9, 0.0), "clip": (1.0, 0.0), "penalty and clip": (1.0, 1.0)}  # threshold, part of the weight
DIRECTIONS = 12  # at least as many as numbers that the recurrent network must hold
TRAINED, GUESSING = 0.5, 0.25  # test accuracy
COPIED, FORGOTTEN = 0.5, 0.75  # mean squared error; always answering 0 has 1, and half way to it is not copied
ORDERED, UNORDERED = 0.75, 0.4  # test accuracy; knowing nothing has 0.25, one of the two symbols 0.5
REBUILT, BLANK = 0.85, 0.95  # squared error of the autoencoder; always answering the mean digit has 1
QUICKLY = {"xla_backend_optimization_level": 1}  # small programs, more time compiling than running


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    depth: int = 30
    """Layers of weights of the deep network."""
    width: int = 24
    """Units a layer of the deep network, and of the recurrent one."""
    delay: int = 10
    """Steps after which the recurrent network must say a number again; sequences have twice as many and four more."""
    steps: int = 400
    """Updates of each training."""
    batch: int = 32
    """Digits, or sequences, an update."""
    rate: float = 0.05
    """Learning rate of the deep network."""
    recurrent_rate: float = 0.05
    """Learning rate of the recurrent network."""
    weight: float = 10.0
    """Of the penalty in the loss."""
    seeds: int = 3
    """Networks trained for each start and way."""
    seed: int = 0
    """Of networks, batches and the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(depth=20, delay=6, steps=120), "full": Config()}
PLANTS = {  # no penalty acts; every network starts orthogonal; every one starts vanished
    "no_penalty": ("deep: the penalty trains", "autoencoder: the penalty trains", "recurrent: the penalty remembers",
                   "order: the penalty orders", "stretches: opened", "exploding: a clip is better"),
    "all_orthogonal": ("deep: a clip does not", "autoencoder: a clip does not", "recurrent: a clip does not",
                       "order: a clip does not", "exploding: no cure"),
    "all_vanishing": ("control: trains without", "control: rebuilds without", "control: remembers without",
                      "control: orders without"),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Both networks' losses, results and stretches before and after, axes (start, way, seed, …)."""
    data = digits(seed=config.seed, dtype=jnp.float32)
    found = {}
    makers = {"deep": _deep, "autoencoder": _autoencoder, "recurrent": _recurrent, "order": _order}
    grid = {"start": range(len(STARTS)), "way": range(len(WAYS)), "network": range(config.seeds)}
    for name, make in gradjax.study.progress(makers.items(), "networks"):
        cell = functools.partial(_cell, make, config, data)
        result = gradjax.study.sweep(cell, grid, seed=config.seed, name=name, compiler_options=QUICKLY)
        found |= {f"{name}_{key}": np.asarray(value, np.float64) for key, value in result.items()}
    return found


def _cell(make, config: Config, data, _, start, way, network):
    """The grid's cell: a training of the network of this index, on its own batches, from the start and in the way."""
    start = {"all_orthogonal": 2, "all_vanishing": 0}.get(config.plant, start)
    acts = 0.0 if config.plant == "no_penalty" else 1.0
    ways = jnp.asarray([(threshold, acts * part) for threshold, part in WAYS.values()], jnp.float32)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    return _train(make, config, start, ways[way], keys[network], data)


def _deep(config: Config, start, key, data):
    """The network, its loss on a batch, the chain whose stretches count, and what it is judged by."""
    sizes = [64, *[config.width] * (config.depth - 1), 10]
    layers = _by_start("deep", start, lambda kernel: mlp(key, sizes, "tanh", kernel))

    def loss(layers, key):
        rows = jax.random.randint(key, (config.batch,), 0, len(data.train_x))
        return cross_entropy(predict(layers, data.train_x[rows]), data.train_y[rows])

    def chain(layers, key):
        row = data.train_x[jax.random.randint(key, (), 0, len(data.train_x))]
        return [layers[1]], layers[0](row)

    return layers, loss, chain, lambda layers: accuracy(predict(layers, data.test_x), data.test_y), config.rate


def _autoencoder(config: Config, start, key, data):
    """The same of a deep autoencoder of digits; it is judged by its error on new ones, 1 for their mean."""
    half = [config.width] * (config.depth // 2 - 1)
    sizes = [64, *half, CODE, *half, 64]
    layers = _by_start("autoencoder", start, lambda kernel: mlp(key, sizes, "tanh", kernel))

    def error(layers, x):
        return jnp.sum((predict(layers, x) - x) ** 2) / jnp.sum(x**2)

    def loss(layers, key):
        return error(layers, data.train_x[jax.random.randint(key, (config.batch,), 0, len(data.train_x))])

    def chain(layers, key):
        row = data.train_x[jax.random.randint(key, (), 0, len(data.train_x))]
        return layers[1:-1], layers[0](row)

    return layers, loss, chain, lambda layers: error(layers, data.test_x), config.rate


def _order(config: Config, start, key, data):
    """The same of a recurrent network on temporal order; it is judged by its accuracy on new sequences."""
    cell_key, readout_key, test_key = jax.random.split(key, 3)
    length = 2 * config.delay + 4

    def made(kernel):
        cell = recurrent(cell_key, "rnn", config.width, 6, kernel_init=kernel)
        return [over_time(cell), dense(readout_key, config.width, 4)]

    def loss(layers, key):
        x, y = temporal_order(key, config.batch, length)
        return cross_entropy(predict(layers, x), y)

    def chain(layers, key):
        (cell,) = layers[0].args
        return [unroll(cell, temporal_order(key, 1, length)[0][0])], initial_state(cell)

    def judged(layers):
        x, y = temporal_order(test_key, 256, length)
        return accuracy(predict(layers, x), y)

    return _by_start("order", start, made), loss, chain, judged, config.recurrent_rate


def _recurrent(config: Config, start, key, data):
    """The same of a recurrent network on delayed copy; it is judged by its error on new sequences."""
    cell_key, readout_key, test_key = jax.random.split(key, 3)
    length = 2 * config.delay + 4

    def made(kernel):
        cell = recurrent(cell_key, "rnn", config.width, 1, kernel_init=kernel, input_init=normal(0.3))
        return [over_time(cell, every=True), at_each_step(dense(readout_key, config.width, 1))]

    def error(layers, key, examples):
        x, y = delayed_copy(key, examples, length, config.delay)
        return jnp.mean((predict(layers, x) - y)[:, config.delay :] ** 2)

    def chain(layers, key):
        (cell,) = layers[0].args
        return [unroll(cell, delayed_copy(key, 1, length, config.delay)[0][0])], initial_state(cell)

    loss = functools.partial(error, examples=config.batch)
    judged = functools.partial(error, key=test_key, examples=128)
    return _by_start("recurrent", start, made), loss, chain, judged, config.recurrent_rate


def _by_start(kind: str, start, make):
    """The network of the start's number: Gaussian ones of a σw, and orthogonal ones."""
    gaussian, orthogonal = make(variance_scaling(1.0)), make(scaled_orthogonal(1.0))
    scale = jnp.asarray(WEIGHT_STDS[kind], jnp.float32)[start]
    last = start == len(STARTS) - 1
    return jax.tree.map(lambda a, b: jnp.where(last, b, a * scale), gaussian, orthogonal)


def _train(make, config: Config, start, way, key, data):
    """One training; the stretches are those of one input, before and after."""
    layers, loss, chain, judge, rate = make(config, start, key, data)
    theta, rebuild = ravel_pytree(layers)
    threshold, part = way

    def objective(theta, key):
        layers, (batch_key, input_key) = rebuild(theta), jax.random.split(key)
        task = loss(layers, batch_key)
        links, state = chain(layers, input_key)
        penalty = flossing_penalty(links, state, min(DIRECTIONS, CODE) if make is _autoencoder else DIRECTIONS)
        return task + config.weight * part * penalty, task

    optimizer = optax.chain(clip_by_global_norm(threshold), optax.sgd(rate, momentum=0.9))

    def step(carry, key):
        theta, state = carry
        gradient, task = jax.grad(objective, has_aux=True)(theta, key)
        update, state = optimizer.update(gradient, state)
        return (theta + update, state), task

    keys = jax.random.split(jax.random.fold_in(key, 1), config.steps)
    (after, _), curve = jax.lax.scan(step, (theta, optimizer.init(theta)), keys)
    stretches = [jnp.mean(log_growths(*chain(rebuild(t), key)), axis=0) for t in (theta, after)]
    return {"loss": curve, "result": judge(rebuild(after)), "before": stretches[0], "after": stretches[1]}


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """What was reached stands two standard errors over seeds on the unfavourable side."""
    (low, high), (code_least, code_most), (least, most), (order_low, order_high) = (
        _bounds(result[f"{name}_result"]) for name in WEIGHT_STDS
    )  # (start, way)
    open_before, open_after = (
        np.abs(result[f"deep_{when}"][0, 2, :, :DIRECTIONS]).mean() for when in ("before", "after")
    )
    learned = (low[1, 2] >= TRAINED, code_most[1, 2] <= REBUILT, most[1, 2] <= COPIED, order_low[1, 2] >= ORDERED)
    worse = np.array([_left_by_penalty(result[f"{name}_loss"]) > 0 for name in WEIGHT_STDS])
    by_chance = 0.5 + 1 / np.sqrt(worse.size)  # the part, and two standard errors, if each fell as a coin does
    rows = [
        ("deep: a clip does not", high[0, :2].max(), "<=", GUESSING,
         "the vanished deep network reaches at most {measured:.2f} with nothing or a clip"),
        ("deep: the penalty trains", low[0, 2], ">=", TRAINED,
         "with the penalty it reaches a test accuracy of at least {measured:.2f}"),
        ("stretches: opened", open_after / open_before, "<=", 0.5,
         "its stretches end at {measured:.2f} of where they began, in the mean of their sizes"),
        ("control: trains without", low[2, 1], ">=", TRAINED,
         "from orthogonal weights a clip suffices: a test accuracy of at least {measured:.2f}"),
        ("autoencoder: a clip does not", code_least[0, :2].min(), ">=", BLANK,
         "the vanished deep autoencoder keeps an error of at least {measured:.2f} with nothing or a clip"),
        ("autoencoder: the penalty trains", code_most[0, 2], "<=", REBUILT,
         "with the penalty its error falls to at most {measured:.2f}"),
        ("control: rebuilds without", code_most[2, 1], "<=", REBUILT,
         "from orthogonal weights a clip suffices: an error of at most {measured:.2f}"),
        ("order: a clip does not", order_high[0, :2].max(), "<=", UNORDERED,
         "on temporal order the vanished network reaches at most {measured:.2f} with nothing or a clip"),
        ("order: the penalty orders", order_low[0, 2], ">=", ORDERED,
         "with the penalty it reaches a test accuracy of at least {measured:.2f}"),
        ("control: orders without", np.median(result["order_result"][2, 1]), ">=", UNORDERED,  # all or nothing by seed
         "from orthogonal weights behind a clip the median network reaches {measured:.2f}"),
        ("recurrent: a clip does not", least[0, :2].min(), ">=", FORGOTTEN,
         "the vanished recurrent network keeps an error of at least {measured:.2f} with nothing or a clip"),
        ("recurrent: the penalty remembers", most[0, 2], "<=", COPIED,
         "with the penalty its error falls to at most {measured:.2f}"),
        ("control: remembers without", most[2, 1], "<=", COPIED,
         "from orthogonal weights a clip suffices: an error of at most {measured:.2f}"),
        ("exploding: no cure", sum(learned), "<=", 0.0,
         "from exploding weights {measured:.0f} of the four networks learn with the penalty what vanished ones do"),
        ("exploding: a clip is better", worse.mean(), ">=", by_chance,
         "there {measured:.0%} of the trainings end at a greater loss with the penalty than with the clip alone"),
    ]  # fmt: skip
    source = "the prediction above; Engelken 2023, arXiv:2312.17306"
    return [Claim(name, value, bound, 0.0, source, sign, words) for name, value, sign, bound, words in rows]


def _bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean less and plus two standard errors over the seeds; what has diverged counts as the worst."""
    values = np.where(np.isfinite(values), values, 10.0)
    error = 2 * values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])
    return values.mean(axis=-1) - error, values.mean(axis=-1) + error


def _left_by_penalty(loss: np.ndarray) -> np.ndarray:
    """How much greater the exploding network's loss is with the penalty than behind the clip alone, by seed: the mean
    of the last twenty steps."""
    _, clipped, penalized = loss[1, :, :, -20:].mean(axis=-1)
    return penalized - clipped


def plot(config: Config, result: dict[str, np.ndarray]):
    """Losses by start and way, and the stretches before and after, of all four networks."""
    title = "A penalty on the stretches wakes what has vanished; what explodes is better served by a clip alone"
    fig, axes = plotting.figure(4, 4, title, width=14.0, height=13.0)
    tasks = {"deep": "deep network, digits", "autoencoder": "deep autoencoder, digits"}
    tasks |= {"recurrent": "recurrent, delayed copy", "order": "recurrent, temporal order"}
    for row, (name, words) in enumerate(tasks.items()):
        for column, start in enumerate(STARTS):
            ax = axes[row, column]
            for way, label in enumerate(WAYS):
                curve = np.median(result[f"{name}_loss"][column, way], axis=0)
                smooth = np.convolve(curve, np.full(10, 0.1), mode="valid")
                look = {"color": plotting.COLOURS[way], "linestyle": plotting.DASHES[way]}
                ax.plot(np.arange(len(smooth)) + 10, smooth, label=label, **look)
            ax.set(yscale="log", title=f"{words}: {start}", xlabel="training step", ylabel="loss of the task")
            ax.legend()
        _plot_stretches(axes[row, 3], name, result)
    return fig


def _plot_stretches(ax, name: str, result) -> None:
    """Stretches per layer of the vanishing start, by direction, before and after each way."""
    count = np.arange(1, result[f"{name}_before"].shape[-1] + 1)
    ax.plot(count, np.median(result[f"{name}_before"][0, 0], axis=0), color="grey", marker=".", label="before training")
    for way, label in enumerate(WAYS):
        plotting.measured(ax, count, result[f"{name}_after"][0, way], f"after: {label}", way)
    ax.axvline(min(DIRECTIONS, len(count)) + 0.5, color="grey", linestyle=":", linewidth=0.8)
    ax.set(xlabel="direction", ylabel="mean ln stretch a layer", title="vanishing: stretches")
    ax.legend(fontsize=6.5)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
