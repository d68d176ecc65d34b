"""Two scales decide whether a deep network is ordered or chaotic: weights and biases

At which weight and bias scales do signals and gradients survive depth, and how deep can they reach?

In wide networks of random weights N(0, σw²/n) and biases N(0, σb²) three numbers follow simple maps from layer to
layer: the mean square q of the pre-activations, the correlation c of two signals, and the factor chi_1 of the squared
gradient.

Prediction: q settles at a fixed point q*. There chi_1 = σw² E φ'(√q* z)². Where chi_1 < 1 all signals become alike
(c* = 1) and gradients vanish: order. Where chi_1 > 1 any two signals decorrelate down to some c* < 1 and gradients
explode: chaos. Differences fade over ξ layers, 1/ξ = -ln of the slope of the map of c at c*, which is infinite only
on the line chi_1 = 1. Dropout removes that line: two copies of one input differ by their masks, c* < 1 everywhere,
and ξ stays finite. In chaos a curve is stretched and folded: its curvature settles at 3 chi_2 / (chi_1 (chi_1 - 1)).
Controls: linear networks, whose gain is σw² exactly, and the published pairs on the critical line, where the gradient
keeps its size.

Predict: on which side of the line does a network lie whose weights are drawn from U[-1/√n, 1/√n], as was once
standard?

Look: far inside order, at σw = 0.58: each layer divides the squared gradient by 3.

You are here: `gradjax.study.here.draw_here(ax, activation, layers)` puts the layers of any network on this map; below
the layers of a network whose weight scale drifts from 1 to 2.5.

Reference: Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli (2016), arXiv:1606.05340; Schoenholz, Gilmer, Ganguli, Sohl-
Dickstein (2017), arXiv:1611.01232; Xiao et al. (2018), arXiv:1806.05393; Glorot and Bengio (2010).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.initializers import mean_field, normal
from gradjax.networks import mlp
from gradjax.study import Claim, here, plotting, progress
from gradjax.theory import meanfield

ORDER = 4
SHOWN = ("tanh", "erf", "hard_tanh", "relu", "selu", "gelu")
USED = ("tanh", "linear")


@dataclasses.dataclass(frozen=True)
class Point:
    """A place on the diagram, and what stands there: what the study simulates."""

    name: str
    activation: str
    weight_std: float
    bias_std: float
    keep: float = 1.0
    uniform: bool = False
    correlation: float = 0.3


POINTS = (  # a line here adds a network
    Point("ordered", "tanh", 1.3, 0.3),
    Point("chaotic", "tanh", 2.5, 0.3),
    Point("deep in chaos", "tanh", 4.0, 0.3),
    Point("depth scale", "tanh", math.sqrt(1.3), math.sqrt(0.05), correlation=0.9),
    Point("critical", "tanh", math.sqrt(1.76095), math.sqrt(0.05)),
    Point("critical, small bias", "tanh", math.sqrt(1.05), math.sqrt(2e-5)),
    Point("dropout on the critical line", "tanh", math.sqrt(1.76095), math.sqrt(0.05), keep=0.9),
    Point("linear, U[-1/√n, 1/√n]", "linear", math.sqrt(1 / 3), 0.0, uniform=True),
)
AT = {point.name: index for index, point in enumerate(POINTS)}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 512
    """Units a layer of the simulated networks."""
    depth: int = 20
    """Their layers."""
    seeds: int = 16
    """Networks of each kind: the points' spread and the tolerance of the claims."""
    grid: int = 40
    """Points of the diagram in either direction: not 100, for the record keeps every one of 18 panels."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=200, seeds=16, grid=12), "full": Config()}
PLANTS = {  # 1.6 times the stated weight variance, linear layers for tanh; no dropout; the layers
    # of the placed network in the other order
    "weight_variance": (
        "length: ordered", "length: chaotic", "length: deep in chaos", "gain: ordered",
        "gain: chaotic", "gain: deep in chaos", "gain: critical", "gain: critical, small bias",
        "gain: linear, U[-1/√n, 1/√n]", "depth scale of the correlation",
    ),
    "tanh_for_linear": (
        *(f"{what}: {name}" for what in ("correlation", "curvature") for name in ("chaotic", "deep in chaos")),
    ),
    "no_dropout": ("dropout: correlation",),
    "reversed": ("you are here",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """The diagrams (activations, weights, biases), the simulated networks (points, seeds, layers), and the places."""
    weights, biases = np.linspace(0.3, 3.2, config.grid), np.linspace(0, 1.2, config.grid)
    diagrams = [meanfield.phase_diagram(name, weights, biases) for name in progress(SHOWN, "diagrams")]
    maps = {  # six digits: the record holds every point
        name: np.stack([np.round(getattr(d, name), 4) for d in diagrams])
        for name in ("gain", "correlation_scale", "correlation")
    }
    simulated = [_simulate(config, point) for point in progress(POINTS, "networks")]
    names = ("lengths", "correlations", "stretch", "curvature")
    result = {name: np.stack([s[i] for s in simulated]) for i, name in enumerate(names)}
    drift = np.linspace(1.0, 2.5, 12)
    kernels = [mean_field(float(s)) for s in (drift[::-1] if config.plant == "reversed" else drift)]
    layers = mlp(jax.random.key(config.seed), [config.width] * 13, "tanh", kernels, normal(0.3), dtype=float)
    places = np.stack(here.layer_stds(layers))
    return maps | result | {"weights": weights, "biases": biases, "drift": drift, "places": places}


def _simulate(config: Config, point: Point) -> list[np.ndarray]:
    factor = math.sqrt(1.6) if config.plant == "weight_variance" else 1.0
    activation = "linear" if config.plant == "tanh_for_linear" else point.activation
    keep = 1.0 if config.plant == "no_dropout" else point.keep
    q = 1.0 if point.activation == "linear" else _length(point)
    scales = factor * point.weight_std, point.bias_std
    start = 0.9 if config.plant == "tanh_for_linear" else point.correlation
    settings = USED.index(activation), *scales, keep, point.uniform, q, start
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    return [np.asarray(part) for part in _networks(keys, config.width, config.depth, *settings)]


def _length(point: Point) -> float:
    return meanfield.length_fixed_point("tanh", point.weight_std, point.bias_std, keep_probability=point.keep)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _networks(keys, width: int, depth: int, activation, weight_std, bias_std, keep, uniform, q, correlation):
    """Mean square of a signal, its correlation with another, |v|² and squared curvature times width along a circle."""

    def phi(h):
        return jax.lax.switch(activation, [ACTIVATIONS[name] for name in USED], h)

    def one(key):
        start, above = jax.random.split(key)
        u, v = jnp.linalg.qr(jax.random.normal(start, (width, 2)))[0].T * jnp.sqrt(q * width)
        other = jnp.where(keep < 1, u, correlation * u + jnp.sqrt(1 - correlation**2) * v)

        def layer(carry, key):
            h, other, velocity, bend = carry
            draws = [
                jax.random.normal(k, s) for k, s in zip(jax.random.split(key), ((width, width), (width,)), strict=True)
            ]
            flat = jax.random.uniform(key, (width, width), minval=-1.0, maxval=1.0) * math.sqrt(3)
            w = weight_std / math.sqrt(width) * jnp.where(uniform, flat, draws[0])
            masks = jax.random.bernoulli(jax.random.fold_in(key, 1), keep, (2, width)).astype(h.dtype) / keep

            def function(h, mask=masks[0]):
                return (mask * phi(h)) @ w + bias_std * draws[1]

            following, push = jax.linearize(function, h)
            turn = jax.jvp(lambda h: jax.jvp(function, (h,), (velocity,))[1], (h,), (velocity,))[1]
            carry = following, function(other, masks[1]), push(velocity), push(bend) + turn
            return carry, _measures(*carry)

        first = u, other, v, -u  # the circle u cos t + v sin t at t = 0
        return jax.lax.scan(layer, first, jax.random.split(above, depth))[1]

    return jax.lax.map(one, keys)


def _measures(h, other, velocity, bend):
    n, speed = h.size, velocity @ velocity
    bent = (bend @ bend) * speed - (velocity @ bend) ** 2
    return (h @ h) / n, h @ other / jnp.sqrt((h @ h) * (other @ other)), jnp.log(speed), n * bent / speed**3


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Means over seeds and the later layers: four standard errors over seeds, and a few / width for finite width."""
    found, n, late = [], config.width, slice(3 * config.depth // 4, None)
    poole, deep = "Poole et al. 2016, arXiv:1606.05340", "Schoenholz et al. 2017, arXiv:1611.01232"

    def claim(name: str, samples, expected: float, slack: float, source: str, words: str) -> None:
        error = 4 * float(np.std(samples, ddof=1)) / math.sqrt(config.seeds)
        found.append(Claim(name, float(np.mean(samples)), float(expected), error + slack, source, statement=words))

    for name in ("ordered", "chaotic", "deep in chaos"):
        i, p = AT[name], POINTS[AT[name]]
        q, c = _length(p), meanfield.correlation_fixed_point("tanh", p.weight_std, p.bias_std)
        claim(f"length: {name}", result["lengths"][i, :, late].mean(axis=1), q, 5 * q / n, poole,
              f"tanh, σw = {p.weight_std}, σb = 0.3: the mean square settles at {{measured:.3f}}")  # fmt: skip
        if name != "ordered":
            claim(f"correlation: {name}", result["correlations"][i, :, late].mean(axis=1), c, 5 / n, poole,
                  f"tanh, σw = {p.weight_std}: two signals settle at the correlation {{measured:.4f}}")  # fmt: skip
            bend = meanfield.curvature_map("tanh", p.weight_std, p.bias_std, 1.0, q=q)[1]
            claim(f"curvature: {name}", result["curvature"][i, :, late].mean(axis=1), bend, 0.1 * bend, poole,
                  f"tanh, σw = {p.weight_std}: a circle's squared curvature settles at {{measured:.2f}}")  # fmt: skip
    for name in AT:
        if name not in ("depth scale", "dropout on the critical line"):
            i, p = AT[name], POINTS[AT[name]]
            gain = meanfield.gradient_gain(p.activation, p.weight_std, p.bias_std)
            rate = (result["stretch"][i, :, -1] - result["stretch"][i, :, 0]) / (config.depth - 1)
            claim(f"gain: {name}", rate, math.log(gain), 5 / n, "gradjax.theory.meanfield",
                  f"{name}: ln chi_1 = {{measured:.3f}}")  # fmt: skip
    return found + _depth_claims(config, result, claim, found, deep)


def _depth_claims(config: Config, result: dict[str, np.ndarray], claim, found: list[Claim], deep: str) -> list[Claim]:
    before, n = len(found), config.width
    p = POINTS[AT["depth scale"]]
    rest = np.log(1 - result["correlations"][AT[p.name]])[:, 4:]
    x = np.arange(rest.shape[1]) - (rest.shape[1] - 1) / 2
    scale = meanfield.depth_scales("tanh", p.weight_std, p.bias_std).correlation
    slopes = -rest @ x / (x @ x)
    error = scale**2 * 4 * slopes.std(ddof=1) / math.sqrt(config.seeds) + 0.05 * scale
    words = "tanh, σw² = 1.3, σb² = 0.05: a difference of two signals fades over {measured:.2f} layers"
    found.append(Claim("depth scale of the correlation", 1 / slopes.mean(), scale, error, deep, statement=words))
    p = POINTS[AT["dropout on the critical line"]]
    c = meanfield.correlation_fixed_point("tanh", p.weight_std, p.bias_std, keep_probability=p.keep)
    claim("dropout: correlation", result["correlations"][AT[p.name], :, -1], c, 5 / n, deep,
          "dropout of 10%, critical weights: copies of an input settle at the correlation {measured:.3f}")  # fmt: skip
    added = found[before:]
    del found[before:]
    off = np.abs(result["places"][0] / result["drift"] - 1).max()
    words = "the placed layers lie within {measured:.1%} of the weight scales that were drawn"
    return [*added, Claim("you are here", off, 0.0, 5 / (math.sqrt(2) * n), "what was drawn", statement=words)]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Three rows of diagrams, a column an activation, and a row of what the simulated networks do."""
    fig, axes = plotting.figure(4, 6, "Order and chaos: where signals and gradients survive depth", width=17, height=12)
    weights, biases = result["weights"], result["biases"]
    for column, name in enumerate(SHOWN):
        for ax, quantity in zip(axes[:3, column], ("gain", "correlation_scale", "correlation"), strict=True):
            values = result[quantity][column]
            with np.errstate(divide="ignore", invalid="ignore"):
                log_gain, logs = np.log10(result["gain"][column]), np.log10(np.clip(np.abs(values), 1, 100))
            if quantity == "gain":
                mesh = here.background(ax, weights, biases, log_gain)
            else:
                shown, most = (values, 1.0) if quantity == "correlation" else (logs, 2.0)
                mesh = ax.pcolormesh(weights, biases, shown.T, vmin=0.0, vmax=most, rasterized=True)
                ax.contour(weights, biases, np.ma.masked_invalid(log_gain.T), levels=[0.0], colors="black")
            label = {"gain": "log10 chi_1", "correlation_scale": "log10 ξ (correlation)", "correlation": "c*"}[quantity]
            ax.set(title=f"{name.replace('_', ' ')}: {label}", xlabel="weight scale σw", ylabel="bias scale σb")
            ax.grid(False)
            if column == 5:
                fig.colorbar(mesh, ax=ax, label=label)
    _plot_networks(config, result, axes[3])
    return fig


def _plot_networks(config: Config, result: dict[str, np.ndarray], row) -> None:
    depth, lines = np.arange(1, config.depth + 1), ("ordered", "chaotic", "deep in chaos")
    quantities = {"lengths": "mean square q", "correlations": "correlation c", "curvature": "squared curvature"}
    quantities |= {"stretch": "ln |v|²"}
    for ax, (quantity, label) in zip(row, quantities.items(), strict=False):
        for index, name in enumerate(lines):
            p = POINTS[AT[name]]
            q = _length(p)
            chi = meanfield.gradient_gain("tanh", p.weight_std, p.bias_std, q=q)
            fixed = {
                "lengths": q, "correlations": meanfield.correlation_fixed_point("tanh", p.weight_std, p.bias_std),
                "curvature": meanfield.curvature_map("tanh", p.weight_std, p.bias_std, 1.0, q=q)[1],
                "stretch": math.log(chi) * depth + result["stretch"][AT[name], :, 0].mean() - math.log(chi),
            }[quantity]  # fmt: skip
            plotting.theory(ax, depth, np.broadcast_to(fixed, depth.shape), f"theory, σw = {p.weight_std}", index)
            plotting.measured(ax, depth, result[quantity][AT[name]], f"σw = {p.weight_std}", index)
        ax.set(xlabel="layer", ylabel=label, title=f"tanh, σb = 0.3: {label}")
    row[2].set_yscale("log")
    row[0].legend(fontsize=7)
    here.background(row[4], result["weights"], result["biases"], np.log10(result["gain"][0]))
    row[4].plot(*result["places"], "o-", color="black", label="layers of a network")
    row[4].set(title="you are here: 12 layers that drift into chaos", xlabel="weight scale σw", ylabel="bias scale σb")
    row[5].remove()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
