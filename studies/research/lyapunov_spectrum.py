"""Random networks stretch each direction at its own rate, through depth and through time

How fast does a deep or a recurrent random network stretch each direction, and how many of them grow at all?

A Lyapunov exponent is the growth of one direction a step: the mean logarithm of what a running orthonormal frame is
stretched by. There is one for each unit. Where the largest is positive small differences explode: chaos.

Prediction: for products of Gaussian matrices the exponents are ½ [ln(2/N) + ψ((N − i + 1)/2)], at any width. For tanh
networks of gain g they follow from random matrix theory; and a recurrent network, which uses the same weights at every
step, has nearly the spectrum of a feed-forward one, its largest exponent being ln(g √E φ'²). Fractions of N count:
the share of growing directions, the entropy rate (sum of the positive exponents, over N) and the attractor's dimension
(Kaplan and Yorke, over N) do not depend on N. The largest singular value of the weights only bounds the gradient: it
surely vanishes below 1 (Pascanu et al. 2013), but above 1 it need not explode: here are weights whose largest singular
value is 1.8 and whose gradients vanish. With the logistic function, whose slope is 1/4 at most, it surely does below 4.

Half the directions of a ReLU network die. In continuous time, ẋ = -x + W tanh x, far fewer grow (Clark 2026), and the
spectrum is the same seen from either end. A linear recurrent network follows the eigenvalues of its weights alone.
A gate that stands open keeps the gradient of a recurrent network near 1 (Chen et al. 2018); and the longer a memory,
the more sensitive it is to its parameter, though no gradient explodes (Zucchet and Orvieto 2024). Controls: the network
below its bound, and orthogonal weights without activation, exponents 0.

Predict: does a network with twice the units have twice as many growing directions?
Look: yes; as fractions of the units the two spectra lie on each other.

Here: running QR on exact Jacobians by `gradjax.lyapunov.log_growths`, through the layers of a feed-forward network and
through the steps of a recurrent one without input, behind a transient.

Reference: Newman (1986), Comm. Math. Phys. 103; Engelken, Wolf, Abbott (2023), arXiv:2006.02427; Pascanu, Mikolov,
Bengio (2013), arXiv:1211.5063; Chen, Pennington, Schoenholz (2018), arXiv:1806.05394; Zucchet, Orvieto (2024),
arXiv:2405.21064.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Stack, unroll
from gradjax.lyapunov import log_growths
from gradjax.study import Claim, plotting
from gradjax.theory import isometry, recurrent
from gradjax.theory.finite_width import gaussian_product_exponents

ORDER = 13
GAINS = (1.5, 3.0, 5.0)
TRANSIENT = 50  # steps at the beginning left out
SUBCRITICAL = 0.9
LOGISTIC = 1.7  # the gain of weights whose largest singular value, twice as large, is below 4
TIME, INNER = 0.05, 10  # of the continuous network: an Euler step, and how many between two orthonormalizations
GATE = 1.0, 4.0, 0.5  # deviation of the gate's weights, its bias, mean square of the inputs
MEMORIES = 0.9, 0.99  # factors of two linear memories


def _tanh_layer(w, h):
    return jnp.tanh(h) @ w


def _sigmoid_layer(w, h):
    return jax.nn.sigmoid(h) @ w


def _linear_layer(w, h):
    return h @ w


def _relu_layer(w, h):
    return jax.nn.relu(h) @ w


TIED = {"recurrent": _tanh_layer, "sigmoid": _sigmoid_layer}


def _flow(w, time, h):
    """Some Euler steps of ẋ = -x + W tanh x."""
    return jax.lax.fori_loop(0, INNER, lambda _, h: h + time * (jnp.tanh(h) @ w - h), h)


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 200
    """Units: not 256, for each step orthonormalizes as many directions; theory misses by about 1 / width."""
    steps: int = 500
    """Layers or time steps measured."""
    small_width: int = 4
    """Units of the Gaussian product whose exponents are exact at any width."""
    small_steps: int = 20000
    """Layers of that product."""
    continuous_width: int = 600
    """Units of the network in continuous time: its finite-size effects are the largest."""
    seeds: int = 3
    """Networks of each kind: not 10, for every exponent is a mean over all steps already."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=140, steps=150, small_steps=2000, continuous_width=160, seeds=4), "full": Config()}
KINDS = ("feed-forward", "recurrent")
COUNTED = "share of growing directions", "entropy rate", "dimension"
PLANTS = {  # weights of 1.5 times the stated gain everywhere; half of the larger network cut off, and a wrong bound
    "gain": (
        "gaussian product", *(f"spectrum: {kind}, g = {gain:g}" for kind in KINDS for gain in GAINS),
        *(f"largest: recurrent, g = {gain:g}" for gain in GAINS[1:]), "vanishes above the bound",
        "orthogonal control", "spectrum: relu", "largest: recurrent, g = 1.5",
        "continuous: largest", "linear: spectral radius",
    ),
    "cut": (*(f"{name}{gain}" for name in COUNTED for gain in ("", ", g = 5")), "size does not matter",
            "bound of Pascanu", "bound of Pascanu: sigmoid", "gate", "memory", "continuous: share",
            "continuous: dimension", "continuous: symmetric"),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Exponents, descending, of every network, and theory's at the same fractions."""
    factor = 1.5 if config.plant == "gain" else 1.0
    keys, n = jax.random.split(jax.random.key(config.seed), config.seeds), config.width
    found = {kind: _spectra(config, keys, kind, np.array(GAINS) * factor, n) for kind in KINDS}
    half = _spectra(config, keys, "recurrent", np.array([3.0 * factor]), n // 2)[0]
    if config.plant == "cut":
        found["recurrent"][1:3] = _spectra(config, keys, "recurrent", np.array(GAINS[1:3]), n, n // 2)
    small = _product(keys[0], factor, config.small_width, config.small_steps)
    share = 0.3 if config.plant == "cut" else 1.0
    below = {"recurrent": SUBCRITICAL * factor, "sigmoid": LOGISTIC}
    quiet = {
        kind: np.array([_below(k, kind, gain, n, config.steps, share) for k in keys]) for kind, gain in below.items()
    }
    fractions = (np.arange(n) + 0.5) / n
    alive = fractions[: int(0.35 * n)]  # of a ReLU network: at finite width the last of its half die early
    relu = _spectra(config, keys, "relu", np.array([math.sqrt(2) * factor]), n)[0]
    wide, bias = config.continuous_width, 2.0 if config.plant == "cut" else GATE[1]
    time = 1.0 if config.plant == "cut" else TIME  # no continuous time any more
    memories = np.array(MEMORIES) - (0.0, 0.01 if config.plant == "cut" else 0.0)
    return {
        "relu": relu,
        "relu_theory": isometry.lyapunov_spectrum("relu", math.sqrt(2), 0.0, alive),
        "continuous": np.array([_continuous(key, 3.0 * factor**4, time, wide, config.steps) for key in keys]),
        "gate": np.array([_gated(key, GATE[0], bias, GATE[2], n, config.steps) for key in keys]),
        "memory": np.array([_sensitivities(key, memories) for key in keys]),
        "feed_forward": found["feed-forward"],
        "recurrent": found["recurrent"],
        "half": half,
        "small": small,
        "small_theory": gaussian_product_exponents(config.small_width, 1.0),
        "subcritical": quiet["recurrent"],
        "sigmoid": quiet["sigmoid"],
        "orthogonal": np.asarray(_orthogonal(keys[0], factor, n)),
        "theory": np.stack([isometry.lyapunov_spectrum("tanh", gain, 0.0, fractions) for gain in GAINS]),
        "largest": np.array([recurrent.recurrent_exponent("tanh", gain, 0.0) for gain in GAINS]),
        "chaos": np.array([recurrent.chaos("tanh", gain, 0.0) for gain in GAINS[1:]]),
        "linear": np.array([_linear(key, SUBCRITICAL, factor, n, config.steps) for key in keys]),
        "flow": _flow_spectrum(keys[0], 3.0, time, n, config.steps),
    }


@functools.partial(jax.jit, static_argnums=(1, 3, 4))
def _growths(key, kind: str, gain, width: int, steps: int, kept):
    """ln |R_ii| of every step behind the transient; units from `kept` on are cut off."""
    start, above = jax.random.split(key)
    x, scale = jax.random.normal(start, (width,)), gain / math.sqrt(width)
    count = {"relu": int(0.35 * width), "sigmoid": 1}.get(kind)
    open_ = (jnp.arange(width) < kept).astype(float)[None, :]
    if kind in TIED:
        w = scale * open_ * jax.random.normal(above, (width, width))
        layers = [unroll(lambda h, u: TIED[kind](w, h), jnp.zeros((steps + TRANSIENT, 1)))]
    else:
        w = scale * open_[None] * jax.random.normal(above, (steps + TRANSIENT, width, width))
        layers = [Stack(Partial(_relu_layer if kind == "relu" else _tanh_layer, w))]
    return log_growths(layers, x, count)[TRANSIENT:]


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _flow_growths(key, gain, time, width: int, steps: int, count: int):
    start, above = jax.random.split(key)
    w, x = gain / math.sqrt(width) * jax.random.normal(above, (width, width)), jax.random.normal(start, (width,))
    x = jax.lax.fori_loop(0, 4 * TRANSIENT, lambda _, h: _flow(w, time, h), x)
    return log_growths([unroll(lambda h, u: _flow(w, time, h), jnp.zeros((steps, 1)))], x, count)[TRANSIENT:]


def _continuous(key, gain: float, time: float, width: int, steps: int) -> np.ndarray:
    """Largest exponent, share of growing directions and dimension over N of a network in continuous time."""
    growths = np.asarray(_flow_growths(key, gain, time, width, steps, width // 8), np.float64)
    exponents = -np.sort(-growths.mean(axis=0)) / (time * INNER)
    share, _, dimension = _counts(exponents) * len(exponents) / width
    return np.array([exponents[0], share, dimension])


def _flow_spectrum(key, gain: float, time: float, width: int, steps: int) -> np.ndarray:
    """All exponents of a network in continuous time, descending, over a time step."""
    growths = np.asarray(_flow_growths(key, gain, time, width, steps, width), np.float64)
    return -np.sort(-growths.mean(axis=0)) / (time * INNER)


def _linear(key, gain: float, factor: float, width: int, steps: int) -> tuple[float, float]:
    """Growth a step of the gradient through h ← h W of a linear recurrent network, and ln of W's spectral radius."""
    w = gain / math.sqrt(width) * jax.random.normal(jax.random.split(key)[1], (width, width))
    layers = [unroll(lambda h, u: _linear_layer(factor * w, h), jnp.zeros((steps + TRANSIENT, 1)))]
    growth = np.asarray(log_growths(layers, jnp.ones(width), 1))[TRANSIENT:].mean()
    return float(growth), float(np.log(np.abs(np.linalg.eigvals(np.asarray(w, np.float64))).max()))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _gated(key, weight_std, bias, input_square, width: int, steps: int):
    """Mean ln growth a step of the squared gradient through h ← u h + (1 - u) z, behind a transient."""
    first, second, inputs, start = jax.random.split(key, 4)
    u, v = (weight_std / math.sqrt(width) * jax.random.normal(k, (width, width)) for k in (first, second))

    def step(carry, key):
        z = jnp.sqrt(input_square) * jax.random.normal(key, (width,))

        def cell(h):
            gate = jax.nn.sigmoid(u @ h + v @ z + bias)
            return gate * h + (1 - gate) * z

        h, tangent = jax.jvp(cell, *([part] for part in carry))  # pyright: ignore[reportArgumentType]: two lists
        square = tangent @ tangent
        return (h, tangent / jnp.sqrt(square)), jnp.log(square)

    tangent = jax.random.normal(start, (width,))
    carry = jnp.zeros(width), tangent / jnp.linalg.norm(tangent)
    return jnp.mean(jax.lax.scan(step, carry, jax.random.split(inputs, steps + 2 * TRANSIENT))[1][2 * TRANSIENT :])


def _sensitivities(key, factors: np.ndarray, chains: int = 2000, steps: int = 1000) -> np.ndarray:
    """Mean square of dh/d(factor) of linear memories h ← factor h + x of white inputs, by jvp, behind `steps` steps."""
    noise = jax.random.normal(key, (steps, chains))

    def memory(factor):
        return jax.lax.scan(lambda h, x: (factor * h + x, None), jnp.zeros(chains), noise)[0]

    return np.array([jnp.mean(jax.jvp(memory, (f,), (jnp.ones_like(f),))[1] ** 2) for f in jnp.asarray(factors)])


def _spectra(config: Config, keys, kind: str, gains: np.ndarray, width: int, kept: int | None = None) -> np.ndarray:
    """The exponents, descending, (gains, networks, directions)."""

    def cell(_, gain, network):
        growths = _growths(keys[network], kind, jnp.asarray(gains)[gain], width, config.steps, kept or width)
        return jnp.mean(growths, axis=0)

    grid = {"gain": range(len(gains)), "network": range(config.seeds)}
    found = gradjax.study.sweep(cell, grid, seed=config.seed, name=f"{kind}-{width}-{kept or width}")
    return -np.sort(-found)


def _product(key, factor: float, width: int, steps: int) -> np.ndarray:
    w = factor / math.sqrt(width) * jax.random.normal(key, (steps, width, width))
    return np.asarray(log_growths([Stack(Partial(_linear_layer, w))], jnp.ones(width)))[TRANSIENT:]


def _orthogonal(key, factor: float, width: int):
    w = factor * jnp.linalg.qr(jax.random.normal(key, (64, width, width)))[0]
    return jnp.mean(log_growths([Stack(Partial(_linear_layer, w))], jnp.ones(width)), axis=0)


def _below(key, kind: str, gain: float, width: int, steps: int, share: float) -> tuple[float, float, float]:
    """A recurrent network that vanishes: largest singular value of W, ln growth of J a step, its bound."""
    w = gain / math.sqrt(width) * jax.random.normal(jax.random.split(key)[1], (width, width))
    growths = _growths(key, kind, gain, width, steps, width)
    top = share * float(np.linalg.norm(np.asarray(w), 2))
    activation = {"recurrent": "tanh"}.get(kind, kind)
    return top, float(np.asarray(growths).mean(axis=0).max()), recurrent.log_gradient_bound(activation, top, 1)


def _lopsided(exponents: np.ndarray) -> float:
    """How far the spectrum is from symmetric about its mean, root-mean-square."""
    return float(np.std(exponents + exponents[::-1])) / 2


def _counts(exponents: np.ndarray) -> np.ndarray:
    """Share of growing directions, entropy rate, and attractor dimension, all over N, of a descending spectrum."""
    sums, n = np.cumsum(exponents), len(exponents)
    last = int(np.flatnonzero(sums >= 0)[-1]) if sums[0] >= 0 else -1
    rest = sums[last] / -exponents[last + 1] if 0 <= last < n - 1 and np.isfinite(exponents[last + 1]) else 0.0
    return np.array([np.mean(exponents > 0), exponents[exponents > 0].sum() / n, (last + 1 + rest) / n])


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Root-mean-square differences over the top nine tenths; finite width moves a spectrum by several / N."""
    n, found = config.width, []
    newman = result["small"].mean(axis=0)
    error = result["small"].std(axis=0) / math.sqrt(len(result["small"]))
    worst = np.abs((newman - result["small_theory"]) / error).max()
    words = "Gaussian layers: every exponent within {measured:.1f} standard errors of Newman's"
    found.append(Claim("gaussian product", worst, 0.0, 5.0, "Newman 1986, exact at any width", statement=words))
    top = slice(0, int(0.9 * n))
    for kind in KINDS:
        spectra = np.median(result[kind.replace("-", "_")], axis=1)
        for gain, measured, theory in zip(GAINS, spectra, result["theory"], strict=True):
            rms = math.sqrt(np.mean((measured - theory)[top] ** 2))
            slack = (8 if kind == "feed-forward" else 14) / n + 4 * 0.7 / math.sqrt(config.steps * n * config.seeds)
            words = f"{kind}, g = {gain:g}: exponents are within {{measured:.3f}} of theory's (rms)"
            source = "gradjax.theory.isometry; Engelken et al. 2023, arXiv:2006.02427"
            found.append(Claim(f"spectrum: {kind}, g = {gain:g}", rms, 0.0, slack, source, statement=words))
    return found + _recurrent_claims(config, result)


def _recurrent_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    spectra, theirs, finite = result["recurrent"], "Engelken et al. 2023, arXiv:2006.02427", 6 / config.width
    counts = np.median([_counts(s) for s in spectra[1]], axis=0)  # a small network may end in a cycle, and be far off
    smaller = np.median([_counts(s) for s in result["half"]], axis=0)
    largest, error = np.median(spectra[..., 0], axis=1), 4 * np.std(spectra[..., 0], axis=1, ddof=1) / config.seeds**0.5
    singular, growth, bound = result["subcritical"].T
    steep, logistic, limit = result["sigmoid"].T
    rows = [
        Claim(
            f"largest: recurrent, g = {gain:g}",
            value,
            theory,
            finite + noise,
            theirs,
            statement=f"recurrent, g = {gain:g}: the largest exponent is {{measured:.3f}}",
        )
        for gain, value, theory, noise in zip(GAINS, largest, result["largest"], error, strict=True)
    ][1:]  # at g = 1.5, near the transition, small networks often end in a fixed point or a cycle
    for gain, suffix, found, chaos in zip(GAINS[1:], ("", ", g = 5"), spectra[1:], result["chaos"], strict=True):
        counted = np.array([_counts(s) for s in found])
        spread = 4 * np.std(counted, axis=0, ddof=1) / math.sqrt(config.seeds)
        slacks = spread + np.array([2, 1, 3]) / config.width  # theory misses by so many directions, or their nats
        rows += [
            Claim(name + suffix, value, theory, slack, theirs,
                  statement=f"recurrent, g = {gain:g}: {name} {{measured:.3f}} a unit")
            for name, value, theory, slack in zip(COUNTED, np.median(counted, axis=0), chaos, slacks, strict=True)
        ]  # fmt: skip
    return [
        *rows,
        *_other_claims(config, result),
        Claim("size does not matter", smaller[2] - counts[2], 0.0, 2 * finite, theirs,
              statement="half the units: the dimension a unit differs by {measured:+.3f}"),
        Claim("bound of Pascanu", (growth - bound).max(), 0.0, 0.0, "Pascanu et al. 2013, arXiv:1211.5063", "<=",
              "no gradient passes the bound ln σ_max a step: the nearest stays {measured:.2f} from it"),
        Claim("bound of Pascanu: sigmoid", (logistic - limit).max(), 0.0, 0.0, "Pascanu et al. 2013, γ = 1/4", "<=",
              f"sigmoid, σ_max = {steep.mean():.2f}: nor the bound ln(σ_max / 4), by {{measured:.2f}} or more"),
        Claim("vanishes above the bound", growth.max(), 0.0, 0.0, "σ_max > 1 is necessary, not sufficient", "<=",
              f"weights with σ_max = {singular.mean():.2f}: the gradient shrinks, ln growth {{measured:.3f}} a step"),
        Claim("orthogonal control", np.abs(result["orthogonal"]).max(), 0.0, 1e-5, "an orthogonal matrix keeps norms",
              statement="orthogonal layers: all exponents within {measured:.0e} of 0"),
    ]  # fmt: skip


def _other_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Four standard errors over networks, and some / width: near the transition small networks stay below theory."""

    def claim(name: str, samples, expected: float, slack: float, source: str, words: str, relation: str = "=") -> Claim:
        error = 4 * float(np.std(samples, ddof=1, dtype=np.float64)) / math.sqrt(config.seeds)
        return Claim(name, float(np.median(samples)), float(expected), error + slack, source, relation, words)

    n, clark, wide = config.width, "Clark 2026, continuous time, g = 3", config.continuous_width
    rms = math.sqrt(np.mean((result["relu"].mean(axis=0) - result["relu_theory"]) ** 2))
    largest, share, dimension = result["continuous"].T
    ours, theirs = "gradjax.theory.recurrent", "Engelken et al. 2023, arXiv:2006.02427"
    flow = result["flow"] - result["flow"].mean()
    step = TIME / 2 * float(np.std(flow**2))  # what an Euler step leaves out: ln(1 + dt μ) / dt = μ - dt μ² / 2
    radius = np.abs(np.subtract(*result["linear"].T)).max()
    ratio = np.log10(result["memory"][:, 1] / result["memory"][:, 0])
    expected = math.log10(recurrent.memory_sensitivity(MEMORIES[1]) / recurrent.memory_sensitivity(MEMORIES[0]))
    return [
        Claim("spectrum: relu", rms, 0.0, 8 / n, "gradjax.theory.isometry",
              statement="ReLU: exponents of the best 35% are within {measured:.3f} of ½ ln(2 (½ - x)) (rms)"),
        claim("largest: recurrent, g = 1.5", result["recurrent"][0, :, 0], result["largest"][0], 0.0, ours,
              "recurrent, g = 1.5: the largest exponent is {measured:.3f}, below theory's at this width", "<="),
        claim("continuous: largest", largest, 0.22, 16 / wide, clark,
              "continuous time, g = 3: the largest exponent is {measured:.3f} a unit of time"),
        claim("continuous: share", share, 0.033, 5 / wide, clark,
              "continuous time, g = 3: a share {measured:.4f} of the directions grows"),
        claim("continuous: dimension", dimension, 0.09, 0.0, clark,
              "continuous time, g = 3: the attractor's dimension is {measured:.3f} a unit", "<="),
        Claim("continuous: symmetric", _lopsided(result["flow"]), 0.0, 6 / n + step, theirs,
              statement="continuous time, g = 3: the spectrum from below is that from above, to {measured:.3f} (rms)"),
        Claim("linear: spectral radius", radius, 0.0, math.log(n) / config.steps,
              "what a start holds of the leading direction, about 1/n, is forgotten once",
              statement="linear, recurrent: ln growth a step is ln of the spectral radius, to {measured:.4f}"),
        claim("gate", result["gate"], math.log(recurrent.gate_gain(*GATE)), 2 / n, ours,
              "minimalRNN, bias 4: the squared gradient changes by e^({measured:.4f}) a step"),
        claim("memory", ratio, expected, 4 * math.sqrt(2 * 2 / 2000) / math.log(10) / math.sqrt(config.seeds), ours,
              "factor 0.9 to 0.99: the memory's sensitivity to it grows 10^({measured:.2f}) times"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Spectra against i / N: feed-forward, recurrent, and two sizes of one recurrent network."""
    fig, axes = plotting.figure(1, 3, "Every direction has its own rate: theory and networks", width=13, height=4.2)
    shown = np.arange(0, config.width, max(1, config.width // 32))
    fractions = (np.arange(config.width) + 0.5) / config.width
    for ax, kind in zip(axes[0], KINDS, strict=False):
        for index, gain in enumerate(GAINS):
            plotting.theory(ax, fractions, result["theory"][index], f"theory, g = {gain:g}", index)
            found = result[kind.replace("-", "_")][index]
            plotting.measured(ax, fractions[shown], found[:, shown], f"measured, g = {gain:g}", index)
        ax.set(title=f"{kind}, {config.width} tanh units, {config.steps} steps")
    right, half = axes[0, 2], (np.arange(config.width // 2) + 0.5) / (config.width // 2)
    plotting.theory(right, fractions, result["theory"][1], "theory, g = 3", 0)
    plotting.measured(right, fractions[shown], result["recurrent"][1][:, shown], f"{config.width} units", 0)
    plotting.measured(right, half[shown[: len(shown) // 2]], result["half"][:, shown[: len(shown) // 2]],
                      f"{config.width // 2} units", 1)  # fmt: skip
    right.set(title="recurrent, g = 3: the size does not matter")
    for ax in axes[0]:
        ax.axhline(0, color="grey", linewidth=0.8)
        ax.set(xlabel="rank of the direction, i / N", ylabel="Lyapunov exponent a step", ylim=(-3, 0.8))
        ax.legend(loc="lower left", fontsize=7)
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
