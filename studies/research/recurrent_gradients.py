"""A recurrent network's gradient reaches as far back as its gates stay open

How far back in time does the gradient of a recurrent network reach, and is a gradient that neither explodes nor
vanishes all that learning needs?

The gradient with respect to the state T steps ago is a product of T Jacobians, of one cell with the same weights each
time. Pascanu's bound says that its norm is at most (γ σ_max(W))^T, γ the steepest slope: below 1 it surely vanishes;
above 1 it may explode, or vanish all the same. What it does on average is said by random-matrix theory.

Prediction: a vanilla cell of large width stretches by g √E φ′² a step. In an LSTM the state c passes a step through its
forget gate alone, c′ = σ(f) c + …, so that half of its directions shrink by E ln σ(b + s z) a step, b being the gate's
bias and s² the variance of what enters it; a GRU's update gate does the same. A bias of 4 makes that a memory of 30
steps at once. Where there is no nonlinearity, T steps of one tied matrix have the singular values |λ_i|^T of its
eigenvalues, to a factor of the eigenvectors' condition; T untied matrices have those of Newman's exponents. Both draw
the same triangle on average, but one tied network differs from the next by its eigenvalues for ever.

And the state's Jacobian is half of the matter: in h′ = λ h + u its powers λ^T never explode, yet the sensitivity to λ
itself is E (∂h/∂λ)² = (1 + λ²) / (1 − λ²)³, which does as the memory grows. The linear recurrent unit takes its
eigenvalues' rate in a parameter of its own, λ = exp(−e^ν), and normalizes its input; then ν's part stays flat, but the
part of the angles still grows. Control: the singular values of that unit are |λ|^T, exactly.

Predict: weights with σ_max(W) = 1.8: does the gradient explode?

Look: it vanishes, by {vanilla: bound is not enough:.2f} in the log at each step or faster.

Reference: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063; Jozefowicz, Zaremba, Sutskever (2015) for the bias of the
forget gate; Newman (1986); Engelken, Wolf, Abbott (2023), arXiv:2006.02427; Orvieto et al. (2023), arXiv:2303.06349;
Zucchet, Orvieto (2024), arXiv:2405.21064.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import hidden_states, unroll
from gradjax.initializers import mean_field
from gradjax.jacobians import layer_jacobians
from gradjax.layers import recurrent
from gradjax.layers.state_space import state_space
from gradjax.lyapunov import log_growths
from gradjax.products import prefix_log_singular_values
from gradjax.study import Claim, fits, plotting
from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.theory.recurrent import memory_sensitivity, recurrent_exponent

ORDER = 27
INPUTS, DRIVE = 16, 0.5  # numbers a step; deviation of what they add to a unit of the vanilla cell
GAINS = (0.7, 0.9, 1.2, 1.5, 2.0, 3.0)
BIASES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
REACHES = (4, 8, 16, 32, 64)  # steps 1 / (1 − |λ|) of the linear unit's modes
RADIUS = 0.98  # |λ| of the linear unit whose singular values are looked at
CELLS = {  # kind, and the gain of its weights or the bias of its gate
    "vanilla, g = 0.9": ("rnn", 0.9),
    "LSTM, b = 1": ("lstm", 1.0),
    "LSTM, b = 4": ("lstm", 4.0),
    "GRU, b = 0": ("gru", 0.0),
    "linear unit": ("linear", RADIUS),
}
QUICKLY = {"xla_backend_optimization_level": 1}  # small programs, more time compiling than running


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 48
    """Numbers in a state; rates of vanilla cells, whose theory is off by some 3/width, have four times as many units.
    256 throughout would take some hundred times as long."""
    steps: int = 160
    """T, through time, of rates; singular values by T go half as far."""
    seeds: int = 10
    """Networks of each kind."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=24, steps=96, seeds=4), "full": Config()}
PLANTS = {  # recurrent weights eight times, matrices 1.25 times as large as said, modes an eighth; gates without their
    # bias; one matrix where fresh ones are said and fresh ones where it is one; inputs that are the same at every step
    "scaled": ("vanilla: bound", "vanilla: bound is not enough", "vanilla: rate", "untied: Newman",
               "control: linear unit"),
    "no_bias": ("LSTM: rate", "GRU: rate", "LSTM: reach"),
    "swapped": ("tied: eigenvalues", "tied: one differs from the next"),
    "same_inputs": ("sensitivity: closed form", "sensitivity: explodes", "sensitivity: flat", "sensitivity: angles"),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Singular values by time for each cell and for linear products, rates by gain and bias, sensitivities."""
    planted, networks = config.plant, {"network": range(config.seeds)}
    scale, width, steps = 8.0 if planted == "scaled" else 1.0, config.width, config.steps // 2
    depths = np.unique(np.geomspace(1, steps, 7).round().astype(int))

    def swept(name: str, cell, *arguments, **axes):
        """What the cell says of each network, in the order of these axes and then of the networks."""
        keys = jax.random.split(jax.random.key(config.seed), config.seeds)

        def keyed(_, network, **point):
            return cell(*arguments, keys[network], **point)

        options = {"seed": config.seed, "name": name, "compiler_options": QUICKLY}
        return gradjax.study.sweep(keyed, axes | networks, **options)

    factors = [swept(f"factors-{i}", _factors, *of, scale, width, steps) for i, of in enumerate(CELLS.values())]
    matrices, products = _tied_and_untied(config, steps)
    every = np.concatenate([*factors, *products]).astype(np.float64)  # one batch, one program
    logs = np.asarray(prefix_log_singular_values(every, depths, tolerance=1e-6)[0])
    rates = swept("vanilla", _vanilla_growth, scale, 4 * width, config.steps, gain=GAINS)
    biased, kinds = float(planted != "no_bias"), ("lstm", "gru")
    gates = [swept(kind, _gate_growth, kind, biased, width // 2, config.steps, bias=BIASES) for kind in kinds]
    return {
        "depths": depths,
        "logs": logs.reshape(len(CELLS) + 2, config.seeds, len(depths), width),
        "moduli": np.sort(np.log(np.abs(np.linalg.eigvals(matrices))), axis=1)[:, ::-1],
        "conditions": np.log(np.linalg.cond(np.linalg.eig(matrices)[1])),
        "rates": rates["rate"],
        "norms": rates["norm"] / scale,
        "gates": np.stack([[of["rate"], of["variance"]] for of in gates]),  # (kind, rate or variance, bias, seed)
        "sensitivities": swept("sensitivities", _sensitivities, 40 * max(REACHES), planted == "same_inputs"),
    }


def _gated(kind: str, key, bias, width: int) -> Partial:
    """An LSTM or GRU whose memory gate, the first of both, has this bias."""
    cell = recurrent(key, kind, width, INPUTS, forget_bias=0.0)
    return Partial(cell.func, cell.args[0] | {"bias": cell.args[0]["bias"].at[0].add(bias)})


def _vanilla(key, gain, width: int) -> Partial:
    cell = recurrent(key, "rnn", width, INPUTS, "tanh", mean_field(1.0), mean_field(DRIVE))
    return Partial(cell.func, cell.args[0] | {"kernel": gain * cell.args[0]["kernel"]})


def _unrolled(cell, key, steps: int):
    """The cell through time, driven by white noise."""
    return [unroll(cell, jax.random.normal(jax.random.fold_in(key, 1), (steps, INPUTS), jnp.float32))]


def _factors(kind: str, number: float, scale: float, width: int, steps: int, key):
    """The Jacobian of every step, (steps, width, width): two halves make an LSTM's state and a linear unit's."""
    whole, half = jnp.zeros(width, jnp.float32), jnp.zeros(width // 2, jnp.float32)
    if kind == "linear":
        cell, start = state_space(key, width // 2, INPUTS), jnp.stack([half, half])
        cell = Partial(cell.func, cell.args[0] | {"log_rate": jnp.log(-jnp.log(number / scale + half))})
    elif kind == "rnn":
        cell, start = _vanilla(key, scale * number, width), whole
    else:
        cell = _gated(kind, key, number, width // 2 if kind == "lstm" else width)
        start = (half, half) if kind == "lstm" else whole
    return layer_jacobians(_unrolled(cell, key, steps), start)[0]


def _vanilla_growth(scale: float, width: int, steps: int, key, gain):
    """Growth a step of the leading direction behind a transient, and σ_max(W)."""
    cell = _vanilla(key, scale * gain.astype(jnp.float32), width)
    growths = log_growths(_unrolled(cell, key, steps), jnp.zeros(width, jnp.float32), 1)
    return {"rate": growths[steps // 4 :].mean(), "norm": jnp.linalg.norm(cell.args[0]["kernel"][0], 2)}


def _gate_growth(kind: str, factor: float, width: int, steps: int, key, bias):
    """Mean growth a step of the N leading directions, and the variance of what enters the gate."""
    gated = _gated(kind, key, factor * bias.astype(jnp.float32), width)
    layers, zero = _unrolled(gated, key, steps), jnp.zeros(width, jnp.float32)
    start = (zero, zero) if kind == "lstm" else zero
    [states] = hidden_states(layers, start)[1]
    growths = log_growths(layers, start, width)[steps // 4 :]
    entering = (states[0] if kind == "lstm" else states)[steps // 4 :]
    return {"rate": growths.mean(), "variance": 1 + jnp.mean(entering**2)}


def _tied_and_untied(config: Config, steps: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gaussian matrices, one a seed; each of them at every step, and beside that fresh ones at every step."""
    random, n = np.random.default_rng(config.seed), config.width
    fresh = random.standard_normal((config.seeds, steps, n, n)) / n**0.5
    fresh *= 1.25 if config.plant == "scaled" else 1.0
    products = [np.broadcast_to(fresh[:, :1], fresh.shape), fresh]
    return fresh[:, 0], products[::-1] if config.plant == "swapped" else products


def _sensitivities(steps: int, same: bool, key):
    """Mean of |∂z/∂·|² over modes and time, by ν, by λ and by the angle's log, for an input of power 1 to each mode."""
    size = 16 * len(REACHES)
    radii = jnp.repeat(1 - 1 / jnp.array(REACHES, jnp.float32), 16)
    cell = state_space(key, size, INPUTS, radius=(0.5, 0.5))
    p = cell.args[0] | {"log_rate": jnp.log(-jnp.log(radii)), "log_gain": jnp.log(1 - radii**2) / 2}
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (steps, INPUTS), jnp.float32)
    inputs = jnp.broadcast_to(inputs[:1], inputs.shape) if same else inputs

    def states(rate, angle):
        moved = Partial(cell.func, p | {"log_rate": rate, "log_frequency": angle})
        [found] = hidden_states([unroll(moved, inputs)], jnp.zeros((2, size), jnp.float32))[1]
        return found[steps // 4 :]

    one, zero, at = jnp.ones(size, jnp.float32), jnp.zeros(size, jnp.float32), (p["log_rate"], p["log_frequency"])
    by_rate, by_angle = (jax.jvp(states, at, t)[1] for t in ((one, zero), (zero, one)))
    power = jnp.sum(p["input_kernel"] ** 2, axis=(0, 1))
    by_rate, by_angle = (jnp.mean(jnp.sum(d**2, axis=1), axis=0) / power for d in (by_rate, by_angle))
    squares = by_rate, by_rate / (radii * jnp.log(radii)) ** 2, by_angle / jnp.exp(2 * p["log_frequency"])
    return jnp.stack([s.reshape(len(REACHES), -1).mean(axis=1) for s in squares])


def _gate_rate(bias: float, variance: float) -> float:
    """E ln σ(b + s z), by the trapezoid rule, which is exact to rounding here."""
    z = np.linspace(-9, 9, 721)
    return float(-np.logaddexp(0, -(bias + variance**0.5 * z)) @ np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum())


def _closed_form() -> np.ndarray:
    """The sensitivities by ν, λ and the angle's log, over the angle squared, at each reach: γ² = 1 − λ²."""
    r = 1 - 1 / np.array(REACHES)
    by_value = np.array([memory_sensitivity(radius) for radius in r]) * (1 - r**2)
    return np.stack([(r * np.log(r)) ** 2 * by_value, by_value, r**2 * by_value])


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Student's quantile of one in a thousand times the standard error over seeds, and what infinite width leaves out.

    Of vanilla cells that is 5/n, measured and not derived: n (measured − theory) is −3 to −5 at 100 to 400 units. Of
    gates ln det(1 + A) = −tr A² / 2 of what is random beside them, 1/(2n) for entries of variance 1/n. The singular
    values of T fresh matrices begin with a direction of which √(1/n) is the leading one: ln(n) / 2 over T; there the
    error is pooled over ranks, four of it. Sensitivities that differ by more than half among networks settle nothing.
    """

    def error(samples) -> float:
        deviation = np.max(np.std(samples, axis=-1, ddof=1))
        return (4 + 18 / (config.seeds - 1)) * float(deviation) / config.seeds**0.5

    steps, rates, logs = int(result["depths"][-1]), result["rates"], result["logs"]
    linear, tied, untied = logs[-3:, :, -1] / steps
    theory = np.array([recurrent_exponent("tanh", g, DRIVE) for g in GAINS])
    gates = [
        np.array([_gate_rate(b, v) for b, v in zip(BIASES, of[1].mean(axis=1), strict=True)]) for of in result["gates"]
    ]
    reach = -1 / result["gates"][0, 0]
    # the upper half of the rates: the smallest are noisy in both
    spread = (tied.var(axis=0)[: config.width // 2].mean() / untied.var(axis=0)[: config.width // 2].mean()) ** 0.5
    apart = np.abs(tied - result["moduli"]) * steps / result["conditions"][:, None]
    found, expected = result["sensitivities"], _closed_form()
    powers = np.array([fits.power(REACHES, of[1]) for of in found])
    ratios, growth = found[:, 1] / expected[1], np.log(found[:, 2, -1] / found[:, 2, 0])
    middle = np.log(found[:, 0, -1] / found[:, 0, 0])
    newman = np.sqrt(np.mean((untied.mean(axis=0) - gaussian_product_exponents(config.width, 1.0)) ** 2))
    fresh = np.log(config.width) / (2 * steps) + 4 * (untied.var(axis=0, ddof=1).mean() / config.seeds) ** 0.5
    pascanu, lru = "Pascanu et al. 2013, arXiv:1211.5063", "Zucchet, Orvieto 2024, arXiv:2405.21064; derived here"
    rows = [
        ("vanilla: bound", (rates - np.log(result["norms"])).max(), "<=", 0.0, 0.0, pascanu,
         "no vanilla cell grows faster than ln σ_max(W) a step: all stay {measured:.2f} or more below"),
        ("vanilla: bound is not enough", rates[1].mean(), "<=", theory[1] / 2, 0.0, pascanu,
         "at g = 0.9 σ_max(W) is 1.8, and yet the gradient shrinks by {measured:.2f} in the log each step"),
        ("vanilla: rate", np.abs(rates.mean(axis=1) - theory).max(), "<=", 0.0, error(rates) + 5 / (4 * config.width),
         "gradjax.theory.recurrent; Engelken et al. 2023", "rates are ln g √E φ′² at all six gains, to {measured:.3f}"),
        *((f"{name}: rate", np.abs(of[0].mean(axis=1) - line)[1:].max(), "<=", 0.0, error(of[0, 1:]) + 1 / config.width,
           "E ln σ(b + s z), derived here", f"with gate biases from 1 to 5 the {name}'s rate is E ln σ(b + s z), "
           "to {measured:.4f}") for name, of, line in zip(("LSTM", "GRU"), result["gates"], gates, strict=True)),
        ("LSTM: reach", reach[4].mean() / reach[0].mean(), ">=", 10.0, 0.0, "Jozefowicz et al. 2015",
         "a bias of 4 instead of 0 makes the memory {measured:.0f} times as long"),
        ("tied: eigenvalues", apart.max(), "<=", 1.0, 1e-3, "σ_i(V Λ^T V⁻¹), derived here",
         "T steps of one matrix have the singular values |λ_i|^T, to {measured:.2f} of what its eigenvectors allow"),
        ("untied: Newman", newman, "<=", 0.0, fresh, "Newman 1986",
         "fresh matrices have Newman's rates, to {measured:.3f} (rms)"),
        ("tied: one differs from the next", spread, ">=", 1.5, 0.0, "self-averaging",
         "rates differ from one tied network to the next {measured:.1f} times as much as among untied ones"),
        ("sensitivity: closed form", np.abs(ratios.mean(axis=0) - 1).max(), "<=", 0.0, min(0.5, error(ratios.T)), lru,
         "at every memory E |∂h/∂λ|² is its closed form, to {measured:.2f} of it"),
        ("sensitivity: explodes", powers.mean(), "=", fits.power(REACHES, expected[1]), min(0.5, error(powers)), lru,
         "though the state is normalized, E |∂h/∂λ|² grows with the memory, with the power {measured:.2f}"),
        ("sensitivity: flat", np.exp(middle.mean()), "=", expected[0, -1] / expected[0, 0],
         min(0.5, 1.4 * error(middle)), lru,
         "by ν, λ = exp(−e^ν), a memory of 64 steps has {measured:.2f} times that of 4"),
        ("sensitivity: angles", growth.mean(), "=", np.log(expected[2, -1] / expected[2, 0]),
         min(0.5, error(growth)), lru,
         "by the angles it grows by {measured:.1f} in the log from a memory of 4 steps to one of 64"),
        ("control: linear unit", np.abs(linear - np.log(RADIUS)).max(), "<=", 0.0, 1e-6, "σ = |λ|^T, exact",
         "the linear unit's singular values are all |λ|^T, to {measured:.0e} a step"),
    ]  # fmt: skip
    return [Claim(n, float(v), float(e), float(t), source, sign, words) for n, v, sign, e, t, source, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Singular values by time and by rank, rates by gain and gate bias, tied against untied, sensitivities."""
    title = "How far back a gradient reaches is set by the gates; the sensitivity to parameters grows where it does not"
    fig, axes = plotting.figure(2, 3, title, width=13.5, height=7.6)
    _plot_times(axes[0, 0], axes[1, 0], config, result)
    _plot_rates(axes[0, 1], axes[0, 2], config, result)
    _plot_tied(axes[1, 1], config, result)
    ax, expected = axes[1, 2], _closed_form()
    names = ("by λ itself", "by ν, λ = exp(−e^ν)", "by the angle's log (over angle²)")
    for index, row in enumerate((1, 0, 2)):
        plotting.theory(ax, REACHES, expected[row], f"theory {names[index]}", index)
        plotting.measured(ax, REACHES, result["sensitivities"][:, row], names[index], index)
    ax.set(
        xscale="log", yscale="log", xlabel="memory 1 / (1 − |λ|), steps", ylabel="mean squared sensitivity of the state"
    )
    ax.minorticks_off()
    ax.set_xticks(REACHES, labels=[str(reach) for reach in REACHES])
    ax.set_title("Linear unit: powers of λ stay below 1, this does not")
    ax.legend(handles=ax.containers, loc="upper left")
    return fig


def _plot_times(ax, below, config: Config, result) -> None:
    """The largest and the median singular value by T; all of them by rank at the longest T."""
    depths, logs, last = result["depths"], result["logs"] / np.log(10), result["depths"][-1]
    for index, name in enumerate(CELLS):
        plotting.measured(ax, depths, logs[index, :, :, 0], name, index)
        shown = np.unique(np.linspace(0, config.width - 1, 17).round().astype(int))
        plotting.measured(below, (shown + 0.5) / config.width, logs[index, :, -1][:, shown], name, index)
    norm = np.log10(result["norms"][1].mean())
    plotting.theory(ax, depths, depths * norm, "Pascanu's bound, g = 0.9", 5)
    plotting.theory(ax, depths, depths * np.log10(RADIUS), "|λ|^T", 6)
    ax.set(xlabel="steps T", ylabel="log10 of the largest singular value", ylim=(-11, 5))
    ax.set_title("Largest singular value of ∂h_T / ∂h_0")
    ax.legend(loc="lower left", fontsize=7)
    below.set(xlabel="rank of the singular value / all", ylabel="log10 of the singular value", ylim=(-60, 5))
    below.set_title(f"All of them after {last} steps: half of an LSTM's state passes")
    below.legend(loc="lower left", fontsize=7)


def _plot_rates(left, right, config: Config, result) -> None:
    """Rates of vanilla cells by gain with the bound, rates of gated cells by the gate's bias."""
    fine = np.linspace(min(GAINS), max(GAINS), 40)
    plotting.theory(left, fine, [recurrent_exponent("tanh", g, DRIVE) for g in fine], "theory: ln g √E φ′²", 0)
    plotting.theory(left, GAINS, np.log(result["norms"]).mean(axis=1), "Pascanu's bound ln σ_max(W)", 1)
    plotting.measured(left, GAINS, result["rates"].T, f"measured, {4 * config.width} units", 0)
    left.axhline(0, color="grey", linewidth=0.8)
    left.set(xlabel="gain g of the recurrent weights", ylabel="ln growth of the gradient a step")
    left.set_title("Vanilla: the bound allows what does not happen")
    left.legend(loc="lower right")
    for index, (name, of) in enumerate(zip(("LSTM", "GRU"), result["gates"], strict=True)):
        line = [-_gate_rate(b, v) for b, v in zip(BIASES, of[1].mean(axis=1), strict=True)]
        plotting.theory(right, BIASES, line, f"theory: −E ln σ(b + s z), {name}", index)
        plotting.measured(right, BIASES, -of[0].T, f"measured, {name}", index)
    right.set(yscale="log", xlabel="bias b of the forget (update) gate", ylabel="ln loss of the gradient a step")
    right.set_title("Gated: a bias of 4 keeps it for some 30 steps")
    right.legend(loc="lower left")


def _plot_tied(ax, config: Config, result) -> None:
    """Rates by rank of one matrix many times, and of fresh ones."""
    n, steps = config.width, result["depths"][-1]
    ranks = (np.arange(n) + 0.5) / n
    plotting.theory(ax, ranks, gaussian_product_exponents(n, 1.0), "Newman's exponents", 0)
    for index, (name, row) in enumerate((("untied", -1), ("tied", -2))):
        shown = slice(None, None, max(1, n // 16))
        plotting.measured(ax, ranks[shown], result["logs"][row, :, -1][:, shown] / steps, f"measured, {name}", index)
    ax.set(xlabel="rank / width", ylabel="ln singular value a step")
    ax.set_title("No nonlinearity: tied networks differ from each other")
    ax.legend(loc="lower left")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
