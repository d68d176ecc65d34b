"""Why gradients explode and vanish: a product of many factors

What happens to a gradient on its way back through one layer, ten layers, a hundred layers?

A deep network is many small functions, one inside the other. The chain rule says what that does to a slope: the
slopes multiply. A sum of a hundred numbers near one is near a hundred. A product of a hundred numbers near one can be
anything.

One weight, repeated
--------------------
The smallest deep network has one unit a layer and one weight $w$ in all of them: $x$ goes in, $w x$ comes out of the
first layer, $w w x$ out of the second. After $L$ layers, its depth, the output is $w^L x$, and the slope is that
power.

math: df / dx = w^L
code: layer = Partial(bent_layer if bent else lambda w, b, h: w * h + b, weight[:, None], bias[:, None])

Powers are merciless. At $w = 1.1$ a hundred layers multiply the slope by $1.1^100$, nearly 14 thousand. At $w = 0.9$
they leave a part in 38 thousand. Only $w = 1$ keeps it. The figure's upright axis counts powers of ten, so each of
these is a straight line, and a layer is one step on it.

term: vanish, vanishes, vanishing, vanished: a gradient vanishes when every layer it passes makes it smaller, by a
factor

term: explode, explodes, exploding, exploded: a gradient explodes when every layer it passes makes it larger, by a
factor

Slopes in between
-----------------
Between two weights stands a bend, without which all layers would collapse into a single straight one.

term: activation function, activation functions: the bend: a fixed curve φ that every unit's sum is sent through

term: sigmoid: the S-shaped activation function 1/(1 + e⁻ᶻ), which squeezes every number into the range from 0 to 1

Now a layer is $h ← φ(w h + b)$, and its slope has two factors: the weight, and the slope φ′ of the bend at this
place.

math: df / dx = ∏_(l=1)^L w_l φ′(z_l)
code: by_hand += np.log(abs(w * h * (1 - h)))  # the log of a product is a sum of logs; φ′(z) = φ(z)(1 − φ(z))

The sigmoid is nowhere steeper than 1/4. So with a weight of 1 each layer quarters the gradient at best, with a weight
of 2 it halves it at best, and only a weight of 4 can bring it through unchanged: ten layers of the first kind leave a
millionth. The tanh has the slope 1 at its steepest; ReLU, which is $h$ above zero and 0 below, has 1 or nothing at
all.

Many units: the whole Jacobian
------------------------------
A layer of many units has no single slope. It has a Jacobian, and that stretches some directions and squeezes others.

term: singular values, singular value: the factors by which a matrix stretches and squeezes directions, which lie at
right angles to each other

term: Gaussian: drawn from the bell curve

term: orthogonal: a matrix that only turns and mirrors, so that all of its singular values are 1

math: J = J_L … J_2 J_1
code: "log_singular_values": np.asarray(log_singular_values(first)),

Is one number a layer enough, say the mean square of its singular values? Take two kinds of layers for which that
number is 1: Gaussian weights, and orthogonal ones. Judged by it, both keep the gradient. Nor does the largest
singular value tell: what one layer stretches most the next one may squeeze, so the product of the largest is not the
largest of the product. What counts is the spread of all the singular values of the product.

A real deep network
-------------------
Theory of wide networks with random weights gives the one factor that remains for the mean square: χ, the mean of the
squared slopes times the squared spread σ_w of the weights. The norm of the gradient is multiplied by its root.

math: χ = σ_w^2 "mean of" φ′(z)^2
code: gains = [gradient_gain(activation, weight_std, bias_std) for activation, weight_std, bias_std in theory]

Predict: A tanh network of 100 layers has weights with σ_w = 2.5, a little too large: does its gradient explode in the
first layers, in the last ones, or in all of them?

Look: seen from the output it grows with every layer it passes, so
the first layers have the largest gradient: a factor e^{slope: tanh, σw = 2.5:.2f} a layer, where theory says
e^{expected slope: tanh, σw = 2.5:.2f}. A network of ten layers has the same factor; it only has fewer of them. Behind
the straight lines of the sigmoid stands the quarter: e^{slope: sigmoid, σw = 1:.2f} a layer.

Answer: The gradient of an early layer is the product of the slopes of all layers behind it, and a product of many
numbers of about the same size is a power. If each layer stretches by {one weight: 1.1:.1f}, a hundred of them stretch
{a hundred of 1.1:.0f}-fold; if each shrinks to {one weight: 0.9:.1f}, a hundred leave one part in
{a hundred of 0.9:.0f}. So gradients explode where the layers stretch a little on average, vanish where they shrink a
little, and survive only where the average factor is 1.

Two controls, where nothing may happen: the weight 1, and a network of orthogonal matrices without any bend.

Reference: Hochreiter (1991); Bengio, Simard, Frasconi (1994), IEEE Transactions on Neural Networks 5; singular
values: Newman (1986); χ: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (2017), arXiv:1611.01232.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.chain import Stack
from gradjax.ensembles import Members, gradient_norms_by_depth
from gradjax.gradients import log_signal_norms
from gradjax.initializers import mean_field, scaled_orthogonal, stacked
from gradjax.products import log_singular_values
from gradjax.study import Claim, fits, plotting
from gradjax.tasks import digits
from gradjax.theory.meanfield import critical_weight_std, gradient_gain, gradient_gain_spread
from gradjax.theory.special import digamma, trigamma

ORDER = 4
CHAINS = {  # name -> has the bend, weight, factor a layer; the weights 1 and 4 are controls
    **{f"one weight: {w}": (False, w, w) for w in (0.9, 1.0, 1.1)},
    **{f"sigmoid, weight {w:.0f}": (True, w, w / 4) for w in (1.0, 2.0, 4.0)},
}
TRANSIENT = 20  # layers nearest to the input, where activations have not yet reached their stable size
PAIRS = {  # name -> activation, σw, σb: what a line adds is a curve and a claim; the last is a control
    "sigmoid, σw = 1": ("sigmoid", 1.0, 0.0),
    "sigmoid, σw = 4": ("sigmoid", 4.0, 0.0),
    "relu, σw = 1.2": ("relu", 1.2, 0.3),
    "tanh, critical σw": ("tanh", None, 0.3),
    "relu, σw = √2": ("relu", math.sqrt(2), 0.0),
    "selu, σw = 1": ("selu", 1.0, 0.0),
    "tanh, σw = 2.5": ("tanh", 2.5, 0.3),
    "orthogonal, no bend": ("linear", 1.0, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the chapter is run with."""

    width: int = 256
    """Units a layer of the real network: theory is the limit of many, and misses a slope by about 1 / width."""
    square: int = 32
    """Units a layer where every singular value is computed: theory is exact there at any width."""
    depths: tuple[int, ...] = (2, 3, 5, 10, 20, 50, 100)
    """Layers of the networks."""
    seeds: int = 10
    """Networks and digits: the spread of the points, and the tolerance of the claims."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=96, seeds=4), "full": Config()}
PLANTS = {  # 1.2 times the stated variance; 1.2 χ for χ; tanh where the text says sigmoid; orthogonal for Gaussian
    "weight_variance": (
        *CHAINS,
        "a hundred of 1.1",
        "a hundred of 0.9",
        "Gaussian: mean square",
        "orthogonal: mean square",
        "orthogonal: all",
    ),
    "wrong_gain": (*(f"slope: {pair}" for pair in PAIRS), "depth alone"),
    "wrong_bend": ("steepest sigmoid", "slopes multiply", "sigmoid, weight 1", "sigmoid, weight 2"),
    "orthogonal": ("Gaussian: typical", "Gaussian: the largest do not multiply"),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Chains of single units, all singular values of square layers, and gradients by layer of real networks."""
    factor = math.sqrt(1.2) if config.plant == "weight_variance" else 1.0
    return _chains(config, factor) | _spectra(config, factor) | _networks(config, factor)


def _chains(config: Config, factor: float) -> dict[str, np.ndarray]:
    """ln of the slope df/dx after 0, 1, … layers of one unit each, and after a chain of random weights, twice."""
    bend = ACTIVATIONS["tanh" if config.plant == "wrong_bend" else "sigmoid"]
    depth, z = max(config.depths), jnp.linspace(-5.0, 5.0, 201)

    def slopes(bent, weight, bias, x):
        layer = Partial(bent_layer if bent else lambda w, b, h: w * h + b, weight[:, None], bias[:, None])
        return np.asarray(log_signal_norms(jnp.sum, [Stack(layer)], jnp.array([x]))[::-1])

    def bent_layer(weight, bias, h):
        return bend(weight * h + bias)

    # the bias −w/2 brings the unit's sum to 0, where the sigmoid is steepest, in every layer: its value there is 1/2
    rows = [(bent, factor * w, -factor * w / 2 if bent else 0.0) for bent, w, _ in CHAINS.values()]
    chains = [slopes(bent, jnp.full(depth, w), jnp.full(depth, b), 0.5) for bent, w, b in rows]
    random = 3 * np.random.default_rng(config.seed).standard_normal((depth, 2))
    by_hand, h = 0.0, 0.5
    for w, b in random:
        h = 1 / (1 + np.exp(-(w * h + b)))
        by_hand += np.log(abs(w * h * (1 - h)))  # the log of a product is a sum of logs; φ′(z) = φ(z)(1 − φ(z))
    twice = np.array([slopes(True, jnp.asarray(random[:, 0]), jnp.asarray(random[:, 1]), 0.5)[-1], by_hand])
    bends = np.stack([jax.vmap(jax.grad(phi))(z) for phi in (bend, jnp.tanh, jax.nn.relu)])
    return {"chains": np.stack(chains), "random_chain": twice, "z": np.asarray(z), "slopes_of_bends": bends}


def _spectra(config: Config, factor: float) -> dict[str, np.ndarray]:
    """ln singular values with depth, (kind, seed, depth, value); of single layers the mean square and the largest."""
    shape, depths = (config.seeds * max(config.depths), config.square, config.square), np.array(config.depths)
    kinds = [scaled_orthogonal if config.plant == "orthogonal" else mean_field, scaled_orthogonal]
    layers = np.stack([stacked(kind(factor))(jax.random.key(config.seed), shape) for kind in kinds]).astype(float)
    single = np.linalg.svd(layers, compute_uv=False).reshape(2, config.seeds, -1, config.square)
    # all products at once: the first L layers as they are, the identity in place of those behind them
    kept = np.arange(max(depths)) < depths[:, None]
    first = np.where(kept[..., None, None], layers.reshape(2, config.seeds, 1, -1, *shape[1:]), np.eye(config.square))
    return {
        "log_singular_values": np.asarray(log_singular_values(first)),
        "mean_squares": (single**2).mean(axis=(1, 2, 3)),
        "sums_of_largest": np.log(single[..., 0]).cumsum(axis=-1)[..., depths - 1],
    }


def _networks(config: Config, factor: float) -> dict[str, np.ndarray]:
    """ln gradient norm by layer, (pair, depth, seed, layer), with theory's gain and the spread of one layer's gain."""
    data, seeds = digits(seed=config.seed, dtype=jnp.float32), config.seeds
    names, weight_std, bias_std = zip(*PAIRS.values(), strict=True)
    weight_std = [w or critical_weight_std(name, b) for name, w, b in PAIRS.values()]
    turns = np.array([pair.startswith("orthogonal") for pair in PAIRS])
    bends, scales = list(dict.fromkeys(names)), np.array([factor * np.array(weight_std), bias_std], np.float32)
    members = Members(np.array([bends.index(name) for name in names]), scales[0], scales[1], turns)
    logs = gradient_norms_by_depth(
        tuple(ACTIVATIONS[name].fn for name in bends), config.depths, config.width, members,
        jax.random.split(jax.random.key(config.seed), seeds), data.train_x[:seeds], data.train_y[:seeds],
    )  # fmt: skip
    theory = list(zip(names, weight_std, bias_std, strict=True))
    gains = [gradient_gain(activation, weight_std, bias_std) for activation, weight_std, bias_std in theory]
    spreads = [0.0 if turn else gradient_gain_spread(*pair) for pair, turn in zip(theory, turns, strict=True)]
    return {
        "log_norms": np.asarray(logs).transpose(1, 2, 0, 3),
        "gains": np.array(gains) * (1.2 if config.plant == "wrong_gain" else 1.0),
        "spreads": np.array(spreads),
    }


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """What one unit a layer does exactly, what many do within the spread of their random weights."""
    return _chain_claims(config, result) + _spectrum_claims(config, result) + _slope_claims(config, result)


def _chain_claims(config: Config, result) -> list[Claim]:
    """Exact but for the rounding of each layer, of which ten are allowed."""
    eps, found = 10 * float(np.finfo(result["chains"].dtype).eps), []
    for (name, (_, _, factor)), logs in zip(CHAINS.items(), result["chains"], strict=True):
        worst = 1 + np.argmax(np.abs(logs - np.arange(len(logs)) * math.log(factor))[1:])
        words = f"{name}: each layer multiplies the slope by {factor:.3g}, at every depth up to {len(logs) - 1}"
        found.append(Claim(name, math.exp(logs[worst] / worst), factor, eps * factor, "chain rule", "=", words))
    ends = dict(zip(CHAINS, np.abs(result["chains"][:, 100]), strict=True))
    for factor, words in ((1.1, "a hundred layers of 1.1 stretch {measured:.0f}-fold"),
                          (0.9, "a hundred layers of 0.9 leave one part in {measured:.0f}")):  # fmt: skip
        measured, power = math.exp(ends[f"one weight: {factor}"]), factor ** math.copysign(100, factor - 1)
        found.append(Claim(f"a hundred of {factor}", measured, power, 100 * eps * power, "w^L", "=", words))
    (measured, by_hand), deepest = result["random_chain"], max(config.depths)
    words = "through sigmoids with random weights `jax.grad` gives e^({measured:.2f}), as does the product of slopes"
    found.append(Claim("slopes multiply", measured, by_hand, eps * deepest * abs(by_hand), "chain rule", "=", words))
    words = "the sigmoid is nowhere steeper than {measured:.4f}"
    return [*found, Claim("steepest sigmoid", result["slopes_of_bends"][0].max(), 0.25, eps, "σ(1 − σ)", "=", words)]


def _spectrum_claims(config: Config, result) -> list[Claim]:
    """A Gaussian layer multiplies a squared volume by χ²_n χ²_{n−1} … χ²_1 / n^n: mean and variance of its log are
    exact. Four standard errors over all layers; orthogonal ones are as good as float32 rounding, where x64 is off."""
    n, depth, layers = config.square, max(config.depths), max(config.depths) * config.seeds
    deepest, squares, k = result["log_singular_values"][:, :, -1], result["mean_squares"], np.arange(1, n + 1)
    typical, error = (digamma(k / 2) + math.log(2 / n)).mean() / 2, math.sqrt(trigamma(k / 2).sum() / layers) / 2 / n
    gap, rounding = (result["sums_of_largest"][0, :, -1] - deepest[0].max(axis=-1)).mean() / depth, 1e-6 * depth
    rows = [
        ("Gaussian: mean square", squares[0], "=", 1.0, 4 * math.sqrt(2 / layers) / n,
         "one number a layer: the mean squared singular value of a Gaussian layer is {measured:.3f}"),
        ("orthogonal: mean square", squares[1], "=", 1.0, rounding, "that of an orthogonal layer is {measured:.3f}"),
        ("Gaussian: typical", deepest[0].mean() / depth, "=", typical, 4 * error,
         "all the same, a Gaussian layer multiplies a typical direction by e^({measured:.3f})"),
        ("orthogonal: all", np.abs(deepest[1]).max(), "=", 0.0, rounding,
         "and orthogonal layers none: every ln singular value of the product is within {measured:.1e} of 0"),
        ("Gaussian: the largest do not multiply", gap, ">=", math.log(2), 0.2,
         "the product of the largest singular values is above the largest of the product by e^{measured:.2f} a layer"),
    ]  # fmt: skip
    source = "determinants of Gaussian matrices, Newman (1986); the largest singular value of one is near 2"
    return [Claim(name, value, at, room, source, sign, words) for name, value, sign, at, room, words in rows]


def _slope_claims(config: Config, result) -> list[Claim]:
    """One a pair. At width n the mean of a layer's half log gain lies v/4n below the log of its mean, v its spread, and
    a line fitted to a random walk of D such steps errs by sqrt(1.2 v / 4nD), a difference of sums by sqrt(2 v / 4nD);
    four of these, over the seeds, and rounding."""
    names, logs, bias = list(PAIRS), result["log_norms"], result["spreads"] / (4 * config.width)
    distance = -np.arange(logs.shape[-1])[TRANSIENT:]
    measured = [[fits.slope(distance, seed[TRANSIENT:]) for seed in pair] for pair in logs[:, -1]]
    theory, room = np.log(result["gains"]) / 2, bias + 4 * np.sqrt(1.2 * bias / len(distance) / config.seeds) + 1e-5
    source, words = (
        "½ ln χ; Schoenholz et al. 2017",
        "{}: a layer multiplies the gradient norm by e^({{measured:+.3f}})",
    )
    found = [
        Claim(f"slope: {name}", float(np.mean(slopes)), at, give, source, "=", words.format(name))
        for name, slopes, at, give in zip(names, measured, theory, room, strict=True)
    ]
    shallow, deep = config.depths[-2:]
    ratio = [logs[:, i, :, 0] - logs[:, i, :, depth - 1] for i, depth in ((-2, shallow), (-1, deep))]
    off = np.abs((ratio[1] - ratio[0]).mean(axis=-1) / (deep - shallow) - theory)
    far = (off / (bias + 4 * np.sqrt(2 * bias / (deep - shallow) / config.seeds) + 1e-5)).max()
    words = f"from depth {shallow} to {deep} the first layer feels that factor a layer ({{measured:.2f}} tolerances)"
    return [*found, Claim("depth alone", far, 1.0, 0.0, "the same", "<=", words)]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Chains, bends and singular values above; real networks below, by pair and by depth."""
    title = "A deep gradient is a product: a little less than 1 a layer and it vanishes, a little more and it explodes"
    fig, axes = plotting.figure(1, 1, title, width=12.6, height=8.4)
    axes[0, 0].remove()
    panels = fig.subplot_mosaic([["chains", "bends", "spectra"], ["pairs", "pairs", "depths"]])
    for index, (name, slopes) in enumerate(zip(("sigmoid", "tanh", "ReLU"), result["slopes_of_bends"], strict=True)):
        plotting.theory(panels["bends"], result["z"], slopes, name, index)
    panels["bends"].set(title="The slope of each bend: the sigmoid's is at most 1/4", xlabel="z, the sum of a unit")
    panels["bends"].set(ylabel="slope φ′(z)", yticks=[0, 0.25, 0.5, 0.75, 1])
    panels["bends"].legend()
    _plot_chains(panels["chains"], result)
    _plot_spectra(panels["spectra"], np.array(config.depths), result)
    _plot_pairs(panels["pairs"], config, result)
    _plot_depths(panels["depths"], config, result)
    return fig


def _plot_chains(ax, result) -> None:
    layers, logs = np.arange(result["chains"].shape[1]), result["chains"] / math.log(10)
    for index, (name, (_, _, factor)) in enumerate(CHAINS.items()):
        plotting.theory(ax, layers, layers * math.log10(factor), f"{name}: {factor:.3g}^L", index)
        plotting.measured(ax, layers[index::10], logs[index : index + 1, index::10], f"jax.grad, {name}", index)
    ax.set(title="One unit a layer: a power", xlabel="layers L", ylabel="log10 of the slope df/dx")
    ax.legend(handles=[line for line in ax.lines if "^L" in str(line.get_label())])


def _plot_spectra(ax, depths, result) -> None:
    """Each line is the singular value of one rank, in the first network of each kind."""
    logs, sums = result["log_singular_values"][:, 0] / math.log(10), result["sums_of_largest"][0, 0] / math.log(10)
    lines = {"product of the layers' largest": (sums, 1, 2), "Gaussian: all of the product's": (logs[0], 0, 0.7)}
    for name, (values, look, wide) in (lines | {"orthogonal: all of the product's": (logs[1], 6, 3)}).items():
        ax.plot(depths, values, color=plotting.COLOURS[look], linewidth=wide)[0].set_label(name)
    ax.set(title="Many units, mean square 1 in every layer", xlabel="layers L")
    ax.set(ylabel="log10 of the singular values")
    ax.legend(loc="lower left")


def _plot_pairs(ax, config: Config, result) -> None:
    """Gradient of each layer in the deepest networks against the layers behind it."""
    behind = np.arange(result["log_norms"].shape[-1])[::-1]
    for index, name in enumerate(PAIRS):
        logs, line = result["log_norms"][index, -1] / math.log(10), behind * math.log10(result["gains"][index]) / 2
        plotting.theory(ax, behind, line, name, index)
        plotting.measured(ax, behind[::4], (logs - logs[:, -1:])[:, ::4], f"measured: {name}", index)
    ax.set(title=f"{len(behind)} layers, {config.width} units each; line: theory; points: median and range of networks")
    ax.set(xlabel="layers between this layer and the output", ylabel="log10 of the gradient norm; last layer: 0")
    ax.legend(handles=[line for line in ax.lines if str(line.get_label()) in PAIRS], loc="lower left")


def _plot_depths(ax, config: Config, result) -> None:
    """Two pairs, one curve a depth: the median over the networks."""
    for name, look in (("tanh, σw = 2.5", 6), ("relu, σw = 1.2", 2)):
        for i, depth in enumerate(config.depths):
            logs = np.median(result["log_norms"][list(PAIRS).index(name), i, :, :depth], axis=0) / math.log(10)
            label = name if i == 0 else f"_{name}, depth {depth}"
            ax.plot(
                range(1, depth + 1), logs, ".-", color=plotting.COLOURS[look], linewidth=1, markersize=2, label=label
            )
    ax.set(title=f"Depths {config.depths[0]} to {config.depths[-1]}: the same steps, more of them")
    ax.set(xlabel="layer (1 is next to the input)", ylabel="log10 of the gradient norm")
    ax.legend()


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
