"""Where the gradient is long it also turns fast: a clip is the step size that this asks for

Why may a clipped step be long in the plain and must be short on the cliff, and how much does that save?

Prediction: gradient descent is safe while the step is below one over the smoothness, the rate at which the gradient
itself changes. If that rate is bounded, ‖H‖ ≤ L0, one step size serves everywhere. If it grows with the gradient,
‖H‖ ≤ L0 + L1 ‖g‖, a fixed step has to be small enough for the worst place that will be visited, while the step
min(1/(2 L0), 1/(2 L1 ‖g‖)) is safe everywhere; and that step is nothing but the learning rate 1/(2 L0) behind a clip by
norm at L0/L1. On f(x) = cosh x − 1, which has L0 = L1 = 1, the clipped descent from x_0 takes 2 x_0 + 8 steps to a
gradient below 1/1000 and the safe fixed step cosh(x_0) times as many as a constant.

    math: η = min(1/2, 1/(2|f′(x)|))
    code: clipped = optax.chain(clip_by_global_norm(1.0), optax.sgd(0.5))

Does a network look like that? Measured along the training of an LSTM on the adding problem: the gradient norm, and the
change of the gradient along the step that is taken, over the length of the step. If the two go together, (L0, L1) is
the right picture and L0/L1 a threshold. Control: a least-squares problem with whitened inputs, where the smoothness is
1 at every point, however long the gradient.

Predict: descent on cosh x − 1 starts at x_0 = 10. How many times as many steps does the safe fixed step take?

Look: {constant: ratio:.0f} times as many. And along the training of an LSTM gradient norm and smoothness do go
together, with a rank correlation of at least {LSTM: together:.2f}; the smoothness grows like the norm to the power
{LSTM: slope:.2f} or more, which is less than the proportion that L1 alone would give.

Reference: Zhang, He, Sra, Jadbabaie (2020), arXiv:1905.11881, whose figure 1 is of a language model; the function cosh
and its step count are derived here.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import gradjax.study
from gradjax.clipping import clip_by_global_norm
from gradjax.layers import dense, over_time, recurrent
from gradjax.study import Claim, plotting
from gradjax.tasks import adding_problem
from gradjax.theory.learning import cosh_constant_steps
from gradjax.training import predict

ORDER = 22
CONTROL_RATE = 0.02
SMALL = 1e-3  # the gradient at which a descent has arrived
FRACTIONS = (0.25, 0.5, 1.0)  # of the step, at which the change of the gradient is looked at: its largest rate counts
QUICKLY = {"xla_backend_optimization_level": 1}  # small programs, more time compiling than running


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    starts: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    """Starting points x_0 of the descents on cosh x − 1."""
    size: int = 24
    """Units of the LSTM."""
    length: int = 24
    """Numbers in a sequence of the adding problem."""
    steps: int = 300
    """Updates of the LSTM's training."""
    batch: int = 32
    """Sequences an update."""
    rate: float = 0.5
    """Learning rate of the LSTM, behind a clip by global norm at 0.5."""
    seeds: int = 4
    """LSTMs trained."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(starts=(2.0, 4.0, 6.0), steps=150, seeds=3), "full": Config()}
PLANTS = {  # no clip acts on cosh x − 1; half the safe step; norms of other steps; a control of the fourth power
    "idle_clip": ("clipped: 2 x0 + 8 steps",),
    "half_step": ("constant: exponential", "constant: ratio"),
    "other_steps": ("LSTM: together", "LSTM: slope"),
    "quartic_control": ("control: one smoothness",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Steps on cosh x − 1 by start, clipped and not; gradient norm and smoothness at each step of each training."""
    with jax.enable_x64(True):
        counts = gradjax.study.sweep(
            functools.partial(_counts, config), {"start": config.starts}, seed=config.seed, name="cosh"
        )
    networks, options = {"network": range(config.seeds)}, {"seed": config.seed, "compiler_options": QUICKLY}
    found = gradjax.study.sweep(functools.partial(_watched, config), networks, name="trainings", **options)
    result = counts | {name: values.astype(np.float64) for name, values in found.items()}
    if config.plant == "other_steps":
        result["lstm_log_gradient"] = np.random.default_rng(0).permuted(result["lstm_log_gradient"], axis=1)
    return result


def _counts(config: Config, _, start):
    """The cell of the grid of starts: steps of the clipped descent and of the safe fixed step."""
    plain = _clipped_steps(start) if config.plant != "idle_clip" else _steps(start, optax.sgd(0.5))
    part = 0.5 if config.plant == "half_step" else 1.0
    return {"clipped_steps": plain, "constant_steps": _constant_steps(start, part)}


def _watched(config: Config, _, network):
    """The cell of the grid of networks: an LSTM watched along its training, and a control."""
    key = jax.random.split(jax.random.key(config.seed), config.seeds)[network]
    names = ("loss", "log_gradient", "log_smoothness")
    runs = {"lstm": _watched_lstm(config, key), "control": _watched_squares(config, key)}
    return {f"{kind}_{name}": v for kind, run in runs.items() for name, v in zip(names, run, strict=True)}


def _clipped_steps(start):
    clipped = optax.chain(clip_by_global_norm(1.0), optax.sgd(0.5))
    return _steps(start, clipped)


def _constant_steps(start, part: float):
    """The largest step that is safe from the start, one over the curvature there, or a part of it."""
    return _steps(start, optax.sgd(part / jnp.cosh(start)))


def _steps(start, optimizer):
    def step(carry):
        x, state, count = carry
        update, state = optimizer.update(jnp.sinh(x), state)
        return optax.apply_updates(x, update), state, count + 1

    first = (start, optimizer.init(start), 0)
    return jax.lax.while_loop(lambda carry: jnp.abs(jnp.sinh(carry[0])) >= SMALL, step, first)[2]


def _watched_lstm(config: Config, key):
    """An LSTM's training on fresh sequences at every step."""
    cell_key, readout_key, data_key = jax.random.split(key, 3)
    layers = [over_time(recurrent(cell_key, "lstm", config.size, 2)), dense(readout_key, config.size, 1)]
    theta, rebuild = ravel_pytree(layers)

    def loss(theta, key):
        x, y = adding_problem(key, config.batch, config.length)
        return jnp.mean((predict(rebuild(theta), x) - y) ** 2)

    optimizer = optax.chain(clip_by_global_norm(0.5), optax.sgd(config.rate))
    return _along(loss, theta, optimizer, jax.random.split(data_key, config.steps))


def _watched_squares(config: Config, key):
    """Least squares on whitened inputs, |θ − θ*|²/2: its curvature is 1 everywhere."""
    goal = jax.random.normal(key, (64,), jnp.float32)

    def loss(theta, key):
        squared = jnp.sum((theta - goal) ** 2) / 2
        return squared**2 / 64 if config.plant == "quartic_control" else squared

    return _along(loss, jnp.zeros_like(goal), optax.sgd(CONTROL_RATE), jax.random.split(key, config.steps))


def _along(loss, theta, optimizer, keys):
    """Loss, ln ‖g‖ and ln of the largest ‖g(θ + γd) − g(θ)‖ / ‖γd‖ over fractions γ of the step d, at each step."""
    gradient = jax.grad(loss)

    def step(carry, key):
        theta, state = carry
        value, g = jax.value_and_grad(loss)(theta, key)
        update, state = optimizer.update(g, state)
        fractions = jnp.array(FRACTIONS, theta.dtype)
        changes = jax.vmap(lambda f: jnp.linalg.norm(gradient(theta + f * update, key) - g) / f)(fractions)
        smoothness = jnp.max(changes) / jnp.linalg.norm(update)
        return (theta + update, state), (value, jnp.log(jnp.linalg.norm(g)), jnp.log(smoothness))

    return jax.lax.scan(step, (theta, optimizer.init(theta)), keys)[1]


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Counts are exact; the LSTM's numbers stand two standard errors over seeds on the unfavourable side."""
    starts = np.array(config.starts)
    clipped, constant = result["clipped_steps"], result["constant_steps"]
    theory = cosh_constant_steps(starts[-1], SMALL)
    ranks, slopes = (_low([f(*pair) for pair in _pairs(result)]) for f in (_rank_correlation, _slope))
    ratio = constant[-1] / clipped[-1]
    # of θ, at most 16 long, over the shortest step at which the control's gradient was taken
    shortest = min(FRACTIONS) * CONTROL_RATE * np.exp(result["control_log_gradient"].min())
    rounding = float(16 * np.finfo(np.float32).eps / shortest)
    rows = [
        ("clipped: 2 x0 + 8 steps", np.abs(clipped - (2 * starts + 8)).max(), "<=", 0.0, 0.0,
         "the clipped descent takes 2 x0 + 8 steps, to {measured:.0f} steps, from every start"),
        ("constant: exponential", constant[-1] / theory, "=", 1.0, 0.01,
         "from the farthest start the safe fixed step takes {measured:.4f} times what cosh(x0) ln(…) says"),
        ("constant: ratio", ratio, "=", theory / (2 * starts[-1] + 8), 0.01 * ratio,
         "there it takes {measured:.0f} times the steps of the clipped descent"),
        ("LSTM: together", ranks, ">=", 0.3, 0.0,
         "along the LSTM's training gradient norm and smoothness go together: rank correlation {measured:.2f}"),
        ("LSTM: slope", slopes, ">=", 0.1, 0.0,
         "the smoothness grows like the gradient norm to the power {measured:.2f}, at least"),
        ("control: one smoothness", np.abs(result["control_log_smoothness"]).max(), "<=", 0.0, rounding,
         "in the control ln of the smoothness stays within {measured:.1e} of 0"),
    ]  # fmt: skip
    source = "Zhang, He, Sra, Jadbabaie 2020, arXiv:1905.11881; steps on cosh derived here"
    return [Claim(name, value, bound, tol, source, sign, words) for name, value, sign, bound, tol, words in rows]


def _pairs(result):
    """ln gradient norm and ln smoothness of each LSTM."""
    return zip(result["lstm_log_gradient"], result["lstm_log_smoothness"], strict=True)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = np.stack([values.argsort().argsort() for values in (a, b)])
    return float(np.atleast_2d(np.corrcoef(ranks))[0, 1])


def _slope(log_gradient: np.ndarray, log_smoothness: np.ndarray) -> float:
    return float(np.polyfit(log_gradient, log_smoothness, 1)[0])


def _low(values: list[float]) -> float:
    """Mean less two standard errors."""
    return float(np.mean(values) - 2 * np.std(values, ddof=1) / np.sqrt(len(values)))


def plot(config: Config, result: dict[str, np.ndarray]):
    """Step counts by start; smoothness against gradient norm; both along one training."""
    title = "Where the gradient is long, it also changes fast: the clip is the step that this allows"
    fig, axes = plotting.figure(1, 3, title, width=13.5, height=4.2)
    _plot_counts(axes[0, 0], config, result)
    _plot_together(axes[0, 1], result)
    ax, step = axes[0, 2], np.arange(config.steps)
    for i, (name, words) in enumerate((("smoothness", "smoothness"), ("gradient", "gradient norm"))):
        values = result[f"lstm_log_{name}"][0] / np.log(10)
        ax.plot(step, values, color=plotting.COLOURS[i], linestyle=plotting.DASHES[i], linewidth=0.9, label=words)
    ax.set(xlabel="training step", ylabel="log10", title="Along the training of one LSTM")
    ax.legend()
    return fig


def _plot_counts(ax, config: Config, result) -> None:
    x = np.linspace(config.starts[0], config.starts[-1], 60)
    plotting.theory(ax, x, [cosh_constant_steps(start, SMALL) for start in x], "theory: cosh(x0) ln(…)", 1)
    plotting.theory(ax, x, 2 * x + 8, "theory: 2 x0 + 8", 0)
    plotting.measured(ax, config.starts, result["constant_steps"][None], "safe fixed step", 1)
    plotting.measured(ax, config.starts, result["clipped_steps"][None], "clipped step", 0)
    ax.set(yscale="log", xlabel="start x0", ylabel="steps to a gradient below 1/1000", title="On cosh x − 1")
    ax.legend(loc="upper left")


def _plot_together(ax, result) -> None:
    for i, (log_gradient, log_smoothness) in enumerate(_pairs(result)):
        look = {"color": plotting.COLOURS[i % 8], "marker": plotting.MARKERS[i % 8], "markersize": 2.5, "alpha": 0.5}
        ax.plot(np.exp(log_gradient), np.exp(log_smoothness), linestyle="none", label=f"LSTM {i + 1}", **look)
    control = [np.exp(result[f"control_log_{name}"][0]) for name in ("gradient", "smoothness")]
    ax.plot(*control, color="grey", linewidth=3, label="control: least squares")
    ax.set(xscale="log", yscale="log", xlabel="gradient norm", ylabel="smoothness along the step")
    ax.set_title("LSTMs on the adding problem, a point a step")
    ax.legend(loc="upper left", markerscale=2)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
