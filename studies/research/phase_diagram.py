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
Where gradients shrink because signals do, nothing is lost: the gradient of ln |h| is what tells (the gradient scale
coefficient). GELU networks of σw² = 2.5 have two fates: short signals settle, long ones grow without end. Controls:
linear networks, whose gain is σw² exactly, and the published pairs on the critical line, where the gradient keeps its
size.

Predict: on which side of the line does a network lie whose weights are drawn from U[-1/√n, 1/√n], as was once
standard?

Look: far inside order, at σw = 0.58: each layer divides the squared gradient by 3.

You are here: `gradjax.study.here.draw_here(ax, activation, layers)` puts the layers of any network on this map; below
the layers of a network whose weight scale drifts from 1 to 2.5.

Reference: Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli (2016), arXiv:1606.05340; Schoenholz, Gilmer, Ganguli, Sohl-
Dickstein (2017), arXiv:1611.01232; Xiao et al. (2018), arXiv:1806.05393; Glorot and Bengio (2010); He et al. (2015),
arXiv:1502.01852; Philipp, Song, Carbonell (2017), arXiv:1712.05577.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.initializers import INITIALIZERS, mean_field, normal
from gradjax.layers import convolution
from gradjax.networks import mlp
from gradjax.study import Claim, here, plotting, progress
from gradjax.theory import meanfield

ORDER = 4
SHOWN = ("tanh", "erf", "hard_tanh", "relu", "selu", "gelu")
USED = {  # of the simulated networks
    "tanh": ACTIVATIONS["tanh"],
    "linear": ACTIVATIONS["linear"],
    "gelu": ACTIVATIONS["gelu"],
    "prelu": functools.partial(jax.nn.leaky_relu, negative_slope=0.25),
}
NODES = {  # claim -> activation, Gauss-Hermite nodes, scales of weights and biases
    "hard tanh": ("hard_tanh", 200, (4.0, 0.3)),
    "tanh": ("tanh", 32, (4.0, 0.3)),
    "SELU": ("selu", 200, (1.0, 0.0)),
}
SELU = 1.0507009873554805, 1.6732632423543772  # its two constants (Klambauer et al. 2017)
FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512)  # behind the second layer of model B of He et al. (2015)


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
    length: float = 0.0  # of the signal at the start; 0: that at which it settles


POINTS = (  # a line here adds a network
    Point("ordered", "tanh", 1.3, 0.3),
    Point("chaotic", "tanh", 2.5, 0.3),
    Point("deep in chaos", "tanh", 4.0, 0.3),
    Point("depth scale", "tanh", math.sqrt(1.3), math.sqrt(0.05), correlation=0.9),
    Point("critical", "tanh", math.sqrt(1.76095), math.sqrt(0.05)),
    Point("critical, small bias", "tanh", math.sqrt(1.05), math.sqrt(2e-5)),
    Point("dropout on the critical line", "tanh", math.sqrt(1.76095), math.sqrt(0.05), keep=0.9),
    Point("linear, U[-1/√n, 1/√n]", "linear", math.sqrt(1 / 3), 0.0, uniform=True, length=1.0),
    Point("chaotic, small bias", "tanh", math.sqrt(2.5), math.sqrt(0.05)),
    Point("critical, no bias", "tanh", 1.0, 0.0, length=1e-4),
    Point("critical, PReLU", "prelu", math.sqrt(2 / (1 + 0.25**2)), 0.0, length=1.0),
    Point("GELU, short", "gelu", math.sqrt(2.5), 0.05, length=0.2),
    Point("GELU, long", "gelu", math.sqrt(2.5), 0.05, length=2.0),
)
AT = {point.name: index for index, point in enumerate(POINTS)}
ANSWERING = {"depth scale": 3, "chaotic": 5}  # where a small change is followed, and over how many layers


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 512
    """Units a layer of the simulated networks."""
    depth: int = 20
    """Their layers."""
    seeds: int = 32
    """Networks of each kind: the points' spread and the tolerance of the claims."""
    thinner: int = 1
    """Divides the convolutions' filters; their weights are as much wider, squared: what they do is the same."""
    grid: int = 40
    """Points of the diagram in either direction: not 100, for the record keeps every one of 18 panels."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=200, seeds=16, thinner=4, grid=12), "full": Config()}
PLANTS = {  # 1.6 times the stated weight variance; linear layers for tanh, tanh for others, biases and nodes where none
    # are; no dropout; the layers of the placed network in the other order
    "weight_variance": (
        "length: ordered", "length: chaotic", "length: deep in chaos", "gain: ordered",
        "gain: chaotic", "gain: deep in chaos", "gain: critical", "gain: critical, small bias",
        "gain: linear, U[-1/√n, 1/√n]", "gain: critical, no bias", "gain: critical, PReLU",
        "depth scale of the correlation", "GELU, short", "convolutions: fading", "convolutions: kernels",
        "rectangular layer: signal", "square layer: signal", "depth scale of the length",
    ),
    "other_networks": (
        *(f"{what}: {name}" for what in ("correlation", "curvature") for name in ("chaotic", "deep in chaos")),
        "correlation: chaotic, small bias", "coefficient: chaotic", "coefficient: linear, U[-1/√n, 1/√n]", "GELU, long",
        "Gauss-Hermite: hard tanh", "Gauss-Hermite: tanh", "Gauss-Hermite: SELU",
        "depth scale of the correlation: chaotic",
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
    grid = {"point": range(len(POINTS)), "network": range(config.seeds)}
    result = gradjax.study.sweep(_simulation(config), grid, seed=config.seed)
    drift = np.linspace(1.0, 2.5, 12)
    kernels = [mean_field(float(s)) for s in (drift[::-1] if config.plant == "reversed" else drift)]
    layers = mlp(jax.random.key(config.seed), [config.width] * 13, "tanh", kernels, normal(0.3), dtype=float)
    places = np.stack(here.layer_stds(layers))
    other = {"fading": _convolutions(config), "layers": _layers(config), "nodes": _few_nodes(config)}
    other |= {f"response_{AT[name]}": _responses(config, POINTS[AT[name]]) for name in ANSWERING}
    return maps | result | other | {"weights": weights, "biases": biases, "drift": drift, "places": places}


def _settings(config: Config, point: Point) -> tuple:
    factor = math.sqrt(1.6) if config.plant == "weight_variance" else 1.0
    activation, start, bias_std = point.activation, point.correlation, point.bias_std
    if config.plant == "other_networks":
        activation, start, bias_std = "linear" if activation == "tanh" else "tanh", 0.9, max(bias_std, 0.5)
    keep = 1.0 if config.plant == "no_dropout" else point.keep
    q = point.length or _length(point)
    return list(USED).index(activation), factor * point.weight_std, bias_std, keep, point.uniform, q, start


def _length(point: Point) -> float:
    return meanfield.length_fixed_point("tanh", point.weight_std, point.bias_std, keep_probability=point.keep)


def _simulation(config: Config):
    """The grid's cell: a network of this index at this point, by layer."""
    columns = [jnp.array(column) for column in zip(*(_settings(config, point) for point in POINTS), strict=True)]
    width, keys = config.width, jax.random.split(jax.random.key(config.seed), config.seeds)

    def cell(_, point, network):
        activation, weight_std, bias_std, keep, uniform, q, correlation = (column[point] for column in columns)
        start, above = jax.random.split(keys[network])
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
                return (mask * jax.lax.switch(activation, list(USED.values()), h)) @ w + bias_std * draws[1]

            following, push = jax.linearize(function, h)
            turn = jax.jvp(lambda h: jax.jvp(function, (h,), (velocity,))[1], (h,), (velocity,))[1]
            carry = following, function(other, masks[1]), push(velocity), push(bend) + turn
            return carry, _measures(*carry)

        first = u, other, v, -u  # the circle u cos t + v sin t at t = 0
        return jax.lax.scan(layer, first, jax.random.split(above, config.depth))[1]

    return cell


def _measures(h, other, velocity, bend) -> dict:
    """Mean square of a signal, its correlation with another, |v|² and squared curvature times width along a circle."""
    n, speed = h.size, jnp.sqrt(velocity @ velocity)
    along, turn = velocity / speed, bend / speed / speed  # in this order: the squares of long ones overflow
    bent = turn @ turn - (along @ turn) ** 2
    correlation = h @ other / jnp.sqrt(h @ h) / jnp.sqrt(other @ other)
    return {"lengths": (h @ h) / n, "correlations": correlation, "stretch": 2 * jnp.log(speed), "curvature": n * bent}


def _responses(config: Config, point: Point) -> np.ndarray:
    """What is left of a small change of the mean square, and of the correlation, by seed and layer."""
    plant = config.plant
    q, c = _length(point), min(meanfield.correlation_fixed_point("tanh", point.weight_std, point.bias_std), 0.5)
    weight_std = point.weight_std * (math.sqrt(1.6) if plant == "weight_variance" else 1.0)
    keys = jax.random.split(jax.random.key(config.seed), 8 * config.seeds)
    stds = weight_std, point.bias_std, list(USED).index("linear" if plant == "other_networks" else "tanh")
    return np.asarray(_follow(keys, config.width, ANSWERING[point.name], *stds, q, c))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _follow(keys, width: int, depth: int, weight_std, bias_std, activation, q, c):
    """d q_l / d q_0 and d c_l / d c_0 (seeds, 2, layers) of two signals, begun where both are at rest, by jvp."""

    def one(key):
        start, above = jax.random.split(key)
        u, v = jnp.linalg.qr(jax.random.normal(start, (width, 2)))[0].T * jnp.sqrt(q * width)

        def measures(growth, c):
            def layer(carry, key):
                first, second = jax.random.split(key)
                w = weight_std / math.sqrt(width) * jax.random.normal(first, (width, width))
                b = bias_std * jax.random.normal(second, (width,))
                h, other = (jax.lax.switch(activation, list(USED.values()), x) @ w + b for x in carry)
                return (h, other), jnp.stack([h @ h / width, h @ other / jnp.sqrt(h @ h) / jnp.sqrt(other @ other)])

            first = jnp.sqrt(growth) * u, c * u + jnp.sqrt(1 - c**2) * v
            return jax.lax.scan(layer, first, jax.random.split(above, depth))[1]

        by_growth = jax.jvp(lambda g: measures(g, c)[:, 0], (jnp.ones_like(c),), (jnp.ones_like(c),))[1]
        by_correlation = jax.jvp(lambda c: measures(jnp.ones_like(c), c)[:, 1], (c,), (jnp.ones_like(c),))[1]
        return jnp.stack([by_growth / q, by_correlation])

    return jax.lax.map(one, keys)


def _convolutions(config: Config) -> np.ndarray:
    """Of nine ReLU convolutions with weights of deviation 0.01: ln of the mean square of the gradient in front of them
    over that behind, by seed."""
    std = 0.01 * math.sqrt(config.thinner * (1.6 if config.plant == "weight_variance" else 1.0))
    keys = jax.random.split(jax.random.key(config.seed), config.seeds // 4)
    return np.asarray(_fading(keys, tuple(n // config.thinner for n in (64, *FILTERS)), std))


@functools.partial(jax.jit, static_argnums=1)
def _fading(keys, channels: tuple[int, ...], std):
    def one(key):
        *above, start, end = jax.random.split(key, len(channels) + 1)
        layers = [
            convolution(k, fan_in, fan_out, activation="relu", taps=(3, 3), kernel_init=normal(1.0), dtype=jnp.float32)
            for k, (fan_in, fan_out) in zip(above, itertools.pairwise(channels), strict=True)
        ]
        x, readout = (
            jax.random.normal(k, (4, 4, n), jnp.float32) for k, n in ((start, channels[0]), (end, channels[-1]))
        )
        # linear in every kernel, as long as no gate turns: the deviation comes in behind
        back = jax.vjp(lambda x: functools.reduce(lambda h, layer: layer(h) * std, layers, x), x)[1](readout)[0]
        return jnp.log(jnp.mean(back**2) / jnp.mean(readout**2))

    return jax.lax.map(one, keys)


def _layers(config: Config) -> np.ndarray:
    """ln of what layers with weights of variance 2/(n_in + n_out) do to a signal's mean square, 1 to 1 and 4 to 1,
    and the deviation of He's convolution kernels of 64 filters."""
    key, n = jax.random.key(config.seed), config.width
    factor = math.sqrt(1.6) if config.plant == "weight_variance" else 1.0
    found = []
    for outputs in (n, n // 4):
        kernel = factor * INITIALIZERS["glorot_normal"](key, (n, outputs), float)
        found.append(jnp.log(n * jnp.mean(kernel**2)))
    return np.array([*found, factor * jnp.std(INITIALIZERS["he_normal"](key, (3, 3, 64, 64), float))])


def _few_nodes(config: Config) -> np.ndarray:
    """Relative error of chi_1 by Gauss-Hermite, `NODES`."""
    found = []
    for name, count, stds in NODES.values():
        q = meanfield.length_fixed_point(name, *stds)
        z, weights = np.polynomial.hermite_e.hermegauss(count // (2 if config.plant == "other_networks" else 1))
        h = math.sqrt(q) * z
        slope = {
            "hard_tanh": np.where(abs(h) < 1, 1.0, 0.0),
            "tanh": np.cosh(h) ** -2.0,
            "selu": SELU[0] * np.where(h > 0, 1.0, SELU[1] * np.exp(np.minimum(h, 0))),
        }[name]
        rough = stds[0] ** 2 * float(weights @ slope**2 / weights.sum())
        found.append(abs(rough / meanfield.gradient_gain(name, *stds) - 1))
    return np.array(found)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Means over seeds and the later layers: four standard errors over seeds, and 5 / width for finite width."""
    found, n, late = [], config.width, slice(3 * config.depth // 4, None)
    poole, deep = "Poole et al. 2016, arXiv:1606.05340", "Schoenholz et al. 2017, arXiv:1611.01232"

    def claim(name: str, samples, expected: float, slack: float, source: str, words: str) -> None:
        error = 4 * float(np.std(samples, ddof=1, dtype=np.float64)) / math.sqrt(config.seeds)
        found.append(Claim(name, float(np.mean(samples)), float(expected), error + slack, source, statement=words))

    for name in ("ordered", "chaotic", "deep in chaos", "chaotic, small bias"):
        i, p = AT[name], POINTS[AT[name]]
        q, c = _length(p), meanfield.correlation_fixed_point("tanh", p.weight_std, p.bias_std)
        if p.bias_std == 0.3:
            claim(f"length: {name}", result["lengths"][i, :, late].mean(axis=1), q, 5 * q / n, poole,
                  f"tanh, σw = {p.weight_std}, σb = 0.3: the mean square settles at {{measured:.3f}}")  # fmt: skip
        if name == "chaotic, small bias":
            claim(f"correlation: {name}", result["correlations"][i, :, late].mean(axis=1), c, 5 / n, deep,
                  "tanh, σw² = 2.5, σb² = 0.05: two signals settle at the correlation {measured:.4f}")  # fmt: skip
        elif name != "ordered":
            claim(f"correlation: {name}", result["correlations"][i, :, late].mean(axis=1), c, 5 / n, poole,
                  f"tanh, σw = {p.weight_std}: two signals settle at the correlation {{measured:.4f}}")  # fmt: skip
            bend = meanfield.curvature_map("tanh", p.weight_std, p.bias_std, 1.0, q=q)[1]
            claim(f"curvature: {name}", result["curvature"][i, :, late].mean(axis=1), bend, 25 * bend / n, poole,
                  f"tanh, σw = {p.weight_std}: a circle's squared curvature settles at {{measured:.2f}}")  # fmt: skip
    for name in AT:
        if name in ("ordered", "chaotic", "deep in chaos") or name.startswith(("critical", "linear")):
            i, p = AT[name], POINTS[AT[name]]
            phi = p.activation if p.activation in ACTIVATIONS else USED[p.activation]
            gain = meanfield.gradient_gain(phi, p.weight_std, p.bias_std)
            rate = (result["stretch"][i, :, -1] - result["stretch"][i, :, 0]) / (config.depth - 1)
            claim(f"gain: {name}", rate, math.log(gain), 5 / n, "gradjax.theory.meanfield",
                  f"{name}: ln chi_1 = {{measured:.3f}}")  # fmt: skip
    return found + _depth_claims(config, result, claim, found, deep) + _other_claims(config, result)


def _other_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """The gradient scale coefficient, GELU's two fates, layers of unequal sides, convolutions, quadrature."""
    n, layers, found = config.width, config.depth - 1, []

    def claim(name: str, samples, expected: float, slack: float, source: str, words: str) -> None:
        error = 4 * float(np.std(samples, ddof=1, dtype=np.float64)) / math.sqrt(len(samples))
        found.append(Claim(name, float(np.mean(samples)), float(expected), error + slack, source, statement=words))

    philipp, glorot, he = "Philipp et al. 2017, arXiv:1712.05577", "Glorot and Bengio 2010", "He et al. 2015"
    for name, rate in (("chaotic", math.log(meanfield.gradient_gain("tanh", 2.5, 0.3)) / 2),
                       ("linear, U[-1/√n, 1/√n]", 0.0)):  # fmt: skip
        logs = (result["stretch"][AT[name]] - np.log(result["lengths"][AT[name]])) / 2
        claim(f"coefficient: {name}", (logs[:, -1] - logs[:, 0]) / layers, rate, 5 / n, philipp,
              f"{name}: ln of the gradient scale coefficient grows by {{measured:.3f}} a layer")  # fmt: skip
    for name in ("GELU, short", "GELU, long"):
        p = POINTS[AT[name]]
        ends = [p.length]
        for _ in range(config.depth):
            ends.append(float(meanfield.length_map(p.activation, p.weight_std, p.bias_std, ends[-1])))
        logs = np.log(result["lengths"][AT[name]])
        claim(name, logs[:, -1] - logs[:, 0], math.log(ends[-1] / ends[1]), 5 * layers / n, "gradjax.theory.meanfield",
              f"{name} signals at σw² = 2.5: ln of the mean square changes by {{measured:.2f}}")  # fmt: skip
    square, both, kernel = result["layers"]
    steps = result["fading"]
    expected = sum(math.log(9 * filters * 0.01**2 / 2) for filters in FILTERS)
    claim("convolutions: fading", steps / 2, expected / 2, 9 * 5 / (9 * 64) * config.thinner / 2, he,
          "nine convolutions, weights of deviation 0.01: the gradient fades by e^({measured:.2f})")  # fmt: skip
    paper = [
        ("square layer: signal", square, 0.0, 6 / n, glorot, "n to n, variance 2/(n + n): ln of q is {measured:.3f}"),
        ("rectangular layer: signal", both, math.log(1.6), 12 / n, glorot,
         "4 n to n, variance 2/(4 n + n): ln of the signal's mean square changes by {measured:+.3f}"),
        ("convolutions: kernels", kernel, math.sqrt(2 / (9 * 64)), 4 * 0.059 / math.sqrt(2 * 9 * 64**2), he,
         "He's 3 x 3 kernels of 64 filters have the deviation {measured:.4f}"),
        ("Gauss-Hermite: hard tanh", result["nodes"][0], 0.17045, 1e-4, "erf(1/√(2q)) in closed form",
         "200 Gauss-Hermite nodes miss chi_1 of hard tanh (4, 0.3) by {measured:.1%}"),
        ("Gauss-Hermite: tanh", result["nodes"][1], 0.46062, 1e-4, "gradjax.theory.quadrature",
         "32 Gauss-Hermite nodes miss chi_1 of tanh (4, 0.3) by {measured:.1%}"),
        ("Gauss-Hermite: SELU", result["nodes"][2], 0.00471, 1e-4, "gradjax.theory.quadrature",
         "200 Gauss-Hermite nodes miss chi_1 of SELU (1, 0) by {measured:.2%}"),
    ]  # fmt: skip
    return found + [Claim(name, float(value), expected, slack, source, statement=words)
                    for name, value, expected, slack, source, words in paper]  # fmt: skip


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
    for name, row, label, expected in (
        ("depth scale", 0, "length", meanfield.depth_scales("tanh", p.weight_std, p.bias_std).length),
        ("chaotic", 1, "correlation: chaotic", meanfield.depth_scales("tanh", 2.5, 0.3).correlation),
    ):
        kept, layers = result[f"response_{AT[name]}"][:, row, -1], ANSWERING[name]
        measured = -layers / math.log(max(float(kept.mean()), 1e-9))
        # the scale moves by ξ² times what 1/ξ does: by the standard error of what is left, and by 5 / width a layer
        error = expected**2 * (4 * float(kept.std(ddof=1)) / math.sqrt(len(kept)) / float(kept.mean()) / layers + 5 / n)
        where = f"tanh, σw² = {POINTS[AT[name]].weight_std ** 2:.4g}"
        words = f"{where}: a small change of the {label.split(':')[0]} fades over {{measured:.2f}} layers"
        found.append(Claim(f"depth scale of the {label}", measured, expected, abs(error), deep, statement=words))
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


def _correlations_with_depth(point: Point, q: float, depth: int) -> np.ndarray:
    found = [point.correlation]
    for _ in range(depth):
        found.append(meanfield.correlation_map("tanh", point.weight_std, point.bias_std, found[-1], q=q)[0])
    return np.array(found[1:])


def _curvature_with_depth(point: Point, q: float, first: float, depth: int) -> np.ndarray:
    found = [first]
    for _ in range(depth - 1):
        found.append(meanfield.curvature_map("tanh", point.weight_std, point.bias_std, found[-1], q=q)[0])
    return np.array(found)


def _plot_networks(config: Config, result: dict[str, np.ndarray], row) -> None:
    depth, lines = np.arange(1, config.depth + 1), ("ordered", "chaotic", "deep in chaos")
    quantities = {"lengths": "mean square q", "correlations": "correlation c", "curvature": "squared curvature"}
    quantities |= {"stretch": "ln |v|²"}
    for ax, (quantity, label) in zip(row, quantities.items(), strict=False):
        for index, name in enumerate(lines):
            p = POINTS[AT[name]]
            q = _length(p)
            chi = meanfield.gradient_gain("tanh", p.weight_std, p.bias_std, q=q)
            lines_of = {
                "lengths": np.full(len(depth), q),
                "correlations": _correlations_with_depth(p, q, len(depth)),
                "curvature": _curvature_with_depth(p, q, result["curvature"][AT[name], :, 0].mean(), len(depth)),
                "stretch": math.log(chi) * (depth - 1) + result["stretch"][AT[name], :, 0].mean(),
            }
            plotting.theory(ax, depth, lines_of[quantity], f"theory, σw = {p.weight_std}", index)
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
