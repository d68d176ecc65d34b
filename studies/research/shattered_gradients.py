"""Plain networks do not shatter their gradients; batch-norm does

Do the gradients of a deep network at two inputs become unrelated, like white noise, and which design causes it?

Two inputs that have nothing in common, and the gradient of one output with respect to each: their correlation says
whether a step that helps the one input also helps the other. It is quoted that this correlation falls like 2^-L in L
layers of ReLU. The argument: a unit is open for both inputs with probability 1/4 and for one with 1/2, so each layer
halves it. But this holds only while the two signals stay unrelated on their way up.

Prediction: they do not stay so. A plain He-ReLU layer turns an angle θ into arccos[(sin θ + (π − θ) cos θ)/π], always
a smaller one: signals become alike, gates open together, and the correlation Π(1 − θ_l/π) falls like L^-3 only.
Batch-norm keeps the signals of a batch apart, and there it is 2^-L. A skip connection gives 3/4 in its first block
and more in each later one. A skip connection with batch-norm gives a power of L: quoted as -1/2, here derived as
-π/(2π − 2) = -0.73, for batch-norm sees the variance of a branch over the batch, not its mean square. Controls: a
linear network, and mirrored ("looks linear") weights, whose gradients do not depend on the input at all: correlation
1 at any depth.

Predict: after 8 ReLU layers, is the correlation of two gradients near 2^-8 = 0.004?

Look: only with batch-norm; a plain network keeps {plain: correlation at 8 layers:.3f}, ten times as much, for its
signals have become alike.

Here: a batch of exactly unrelated inputs, exact gradients of one random output with respect to each at every depth,
and the correlation over all pairs; batch statistics count as constants. And the paper's own setting: networks of one
input x between -2 and 2, 24 layers of width 200, whose slopes at x and at x + d are correlated over many networks.

Reference: Balduzzi, Frean, Leary, Lewis, Ma, McWilliams (2017), The Shattered Gradients Problem, arXiv:1702.08591.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax import initializers
from gradjax.jacobians import input_output_jacobian
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.theory import shattering
from gradjax.theory.meanfield import correlation_map

ORDER = 16
HE = math.sqrt(2)
FLOAT = jnp.float32  # correlations need no more, and it is twice as fast


def _relu(x, weights):
    return HE * jax.nn.relu(x) @ weights


def _normalized(x):
    """Mean 0 and variance 1 over the batch, its statistics counted as constants."""
    mean, variance = (jax.lax.stop_gradient(f(x, axis=0, keepdims=True)) for f in (jnp.mean, jnp.var))
    return (x - mean) / jnp.sqrt(variance)


LAYERS = {  # name -> (signal of the batch, weights) -> signal
    "plain": _relu,
    "batch-norm": lambda x, weights: _relu(_normalized(x), weights),
    "residual": lambda x, weights: x + _relu(x, weights),
    "residual, batch-norm": lambda x, weights: x + _relu(_normalized(x), weights),
    "linear (control)": lambda x, weights: x @ weights,
}
LINE = np.arange(-2, 2, 1 / 64)  # the inputs of the paper's one-dimensional networks
APART = (1, 8, 32, 64)  # steps of LINE between two inputs: distances 1/64, 1/8, 1/2, 1
KINDS = ("he", "glorot", "batch-norm")  # weights of those networks; the last: He's, normalized
PLANTED = {  # fault -> which design stands for which
    "normalized": {"plain": "batch-norm", "residual": "batch-norm", "linear (control)": "plain"},
    "not_normalized": {"batch-norm": "plain", "residual, batch-norm": "residual"},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 512
    """Units a layer: the correlation of two unrelated gradients is noise of size 1 / sqrt(width)."""
    batch: int = 48
    """Inputs of a batch, all pairs of which are compared: batch-norm makes them anticorrelated by 1 / batch."""
    depths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    """Numbers of layers at which gradients are taken."""
    readouts: int = 2
    """Outputs of each network whose gradients are compared, at every depth."""
    seeds: int = 16
    """Networks a design: the points' spread, and the tolerance of the claims."""
    line_width: int = 200
    """Units a layer of the networks of one input, as in the paper."""
    line_depth: int = 24
    """Their layers, as in the paper."""
    line_seeds: int = 64
    """Those networks, a kind: their slopes are compared over the networks, not over the inputs."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {
    "quick": Config(width=128, batch=48, depths=(1, 4, 8), readouts=4, seeds=12, line_seeds=16),
    "full": Config(),
}
PLANTS = {  # a design measured in another's place; ordinary weights in the place of the mirrored ones
    "normalized": (
        "plain: correlation at 8 layers", "plain: power of depth", "residual: one block",
        "residual: correlation at 8 blocks", "linear control",
        "line, he: distance 1/64", "line, he: distance 1/8", "line, glorot: distance 1/64",
    ),
    "not_normalized": (
        "batch-norm: factor of a layer", "batch-norm: signals", "residual with batch-norm: power of depth",
        "line, batch-norm: distance 1/64",
    ),
    "not_mirrored": ("looks linear: departure from orthogonal",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Correlations (designs, seeds, depths) of gradients and signals, theory's, and the mirrored network's values."""
    designs = np.array([list(LAYERS).index(PLANTED.get(config.plant, {}).get(name, name)) for name in LAYERS])
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)

    def cell(_, network):
        """All designs on the same draws, one behind the other: side by side each would compute every layer."""
        return jax.lax.map(lambda design: _correlations(config, design, keys[network]), designs)

    found = gradjax.study.sweep(cell, {"network": range(config.seeds)}, seed=config.seed)
    gradients, signals = (values.swapaxes(0, 1) for values in found)
    return {
        "depth": np.array(config.depths),
        "gradient_correlation": gradients,
        "signal_correlation": signals,
        "theory": _theory(config),
        "mirrored": _mirrored(config),
        "line": np.array([_along_a_line(config, kind) for kind in KINDS]),
        "line_theory": np.array([_line_theory(config, kind) for kind in KINDS]),
    }


def _correlations(config: Config, design, key):
    """Mean correlation over pairs of inputs, of input gradients and of signals, at each depth."""
    width, batch, depths = config.width, config.batch, config.depths
    start, above, outputs = jax.random.split(key, 3)
    # rows exactly orthogonal, each of mean square 1
    x = math.sqrt(width) * jnp.linalg.qr(jax.random.normal(start, (width, batch), FLOAT))[0].T
    keys = jax.random.split(above, max(depths))

    def signals(x):
        def step(x, key):
            x = jax.lax.switch(
                design, list(LAYERS.values()), x, jax.random.normal(key, (width, width), FLOAT) / math.sqrt(width)
            )
            return x, x

        return jax.lax.scan(step, x, keys)[1][np.array(depths) - 1]

    hidden, pullback = jax.vjp(signals, x)
    units = jax.random.normal(outputs, (config.readouts, 1, width), FLOAT)

    def gradient(k, v):  # of the output v · h at the k-th depth, by every input
        return pullback(jnp.zeros_like(hidden).at[k].set(jnp.broadcast_to(v, hidden.shape[1:])))[0]

    def alike(k):
        return _mean_cosine(jax.vmap(lambda v: gradient(k, v), out_axes=1)(units).reshape(batch, -1))

    return jax.lax.map(alike, np.arange(len(depths))), jax.vmap(_mean_cosine)(hidden)


def _along_a_line(config: Config, kind: str) -> np.ndarray:
    """Correlation of the slopes at two inputs of each distance, over networks and their outputs, (groups, distances).

    One number for each eighth of the networks: their spread is the error.
    """
    kind = {"normalized": "batch-norm", "not_normalized": "he"}.get(config.plant, kind)
    keys = jax.random.split(jax.random.key(config.seed + 1), config.line_seeds)

    def cell(_, network):
        return _slopes(keys[network], kind, config.line_width, config.line_depth)

    slopes = gradjax.study.sweep(cell, {"network": range(config.line_seeds)}, seed=config.seed, name=kind)
    groups = slopes.astype(np.float64).reshape(8, -1, *slopes.shape[1:])
    products = [np.sum(groups[:, :, :-k] * groups[:, :, k:], axis=(1, 3)) for k in APART]
    squares = np.sum(groups**2, axis=(1, 3))
    pairs = zip(products, APART, strict=True)
    return np.stack([(p / np.sqrt(squares[:, :-k] * squares[:, k:])).mean(axis=1) for p, k in pairs], axis=1)


def _slopes(key, kind: str, width: int, depth: int):
    """dh/dx of every unit of the last layer at every x of LINE, (inputs, units): one jvp."""

    def draw(key, fan_in: int):
        std = math.sqrt(2 / (fan_in + width) if kind == "glorot" else 2 / fan_in)
        kernel, bias = jax.random.split(key)
        return std * jax.random.normal(kernel, (fan_in, width), FLOAT), std * jax.random.normal(bias, (1, width), FLOAT)

    def gate(h):
        return jax.nn.relu(_normalized(h) if kind == "batch-norm" else h)

    def layer(h, key):
        kernel, bias = draw(key, width)
        return gate(h) @ kernel + (bias if kind == "glorot" else 0.0), None  # He's: a bias in the first layer only

    def network(x):
        return gate(jax.lax.scan(layer, x @ kernel + bias, above)[0])

    (kernel, bias), above = draw(key, 1), jax.random.split(jax.random.fold_in(key, 1), depth - 1)
    x = jnp.asarray(LINE[:, None], FLOAT)
    return jax.jvp(network, (x,), (jnp.ones_like(x),))[1]


def _line_theory(config: Config, kind: str) -> list[float]:
    """The same at infinite width: the slopes' covariance is the mixed derivative of the signals' arc-cosine kernel.

    The product of gates' overlaps, as for directions that have nothing to do with the signal, falls too fast here: a
    step along x also lengthens the signal, and that part of a slope outlives the gates.
    """
    if kind == "batch-norm":  # slopes are unrelated
        return [0.0] * len(APART)
    weight, bias, scale = 2.0, 0.0, 2.0
    if kind == "glorot":
        weight, bias, scale = 1.0, 1 / config.line_width, 2 / (1 + config.line_width)
    x, y = np.meshgrid(LINE, LINE, indexing="ij")
    k, kx, ky, kxy = scale * (1 + x * y), scale * y, scale * x, np.full_like(x, scale)
    p, px, q, qy, slope = scale * (1 + x**2), 2 * scale * x, scale * (1 + y**2), 2 * scale * y, scale
    with np.errstate(divide="ignore", invalid="ignore"):  # on the diagonal, which is not looked at
        for _ in range(config.line_depth):
            size = np.sqrt(p * q)
            c = np.clip(k / size, -1, 1)
            angle, sine, part = np.arccos(c), np.sqrt(1 - c**2), weight / (2 * math.pi)
            by_k, by_p, by_q = (
                part * (math.pi - angle),
                part / 2 * np.sqrt(q / p) * sine,
                part / 2 * np.sqrt(p / q) * sine,
            )
            kk, kp, kq, pq = (
                1 / size,
                -c / (2 * p),
                -c / (2 * q),
                1 / (4 * size),
            )  # second derivatives, times sine / part
            mixed = kx * (kk * ky + kq * qy) + px * (kp * ky + pq * qy)
            kx, ky, kxy = by_k * kx + by_p * px, by_k * ky + by_q * qy, by_k * kxy + part / sine * mixed
            k = part * size * (sine + (math.pi - angle) * c) + bias
            p, q, px, qy, slope = (weight / 2 * value for value in (p, q, px, qy, slope))
            p, q = p + bias, q + bias
    return [float(np.diagonal(kxy / slope, steps).mean()) for steps in APART]


def _mean_cosine(rows):
    """Mean product of two different rows over their mean square."""
    count, square = rows.shape[0], jnp.sum(rows**2)
    return (jnp.sum(jnp.sum(rows, axis=0) ** 2) - square) / (count - 1) / square


def _theory(config: Config) -> np.ndarray:
    """(designs, depths), the control's last."""
    deep, b = max(config.depths), config.batch
    laws = [
        shattering.gradient_correlation("relu", HE, 0.0, deep),
        shattering.batchnorm_gradient_correlation("relu", deep, batch_size=b),
        shattering.residual_gradient_correlation("relu", HE, deep),
        shattering.batchnorm_residual_gradient_correlation("relu", HE, deep, batch_size=b),
        shattering.gradient_correlation("linear", 1.0, 0.0, deep),
    ]
    return np.stack(laws)[:, np.array(config.depths)]


def _mirrored(config: Config) -> np.ndarray:
    """Singular values of the Jacobian of a deep ReLU network of mirrored orthogonal weights at a random input."""
    width, depth = 32, max(config.depths)
    mirrors = ["output", *["both"] * (depth - 1), "input"]
    kernels = ["orthogonal"] * (depth + 1) if config.plant else [initializers.looks_linear(1.0, m) for m in mirrors]
    sizes = [width, *[2 * width] * depth, width]
    layers = mlp(jax.random.key(config.seed), sizes, "relu", kernels, dtype=float)
    return np.linalg.svd(
        input_output_jacobian(layers, jax.random.normal(jax.random.key(1), (width,))), compute_uv=False
    )


def _power(depth: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """Slope of ln correlation by ln depth from 4 to 12 layers: deeper down it drowns in the noise of finite width."""
    kept = (depth >= 4) & (depth <= 12)
    x = np.log(depth[kept]) - np.log(depth[kept]).mean()
    return np.log(correlation[..., kept]) @ x / (x @ x)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """The mean over seeds against theory: four standard errors over seeds, and a relative 4 / width for every layer
    that is passed, the size of what theory leaves out at finite width."""
    depth = result["depth"]
    at = {int(d): k for k, d in enumerate(depth)}
    plain, normal, residual, both, linear = range(len(LAYERS))
    found, theory = result["gradient_correlation"], result["theory"]

    def error(samples) -> float:
        return 4 * float(samples.std(ddof=1)) / math.sqrt(config.seeds)

    def claim(name: str, samples, expected: float, slack: float, words: str, source: str) -> Claim:
        return Claim(name, samples.mean(), expected, error(samples) + slack, source, statement=words)

    finite, ours, paper = 4 / config.width, "gradjax.theory.shattering", "Balduzzi et al. 2017, arXiv:1702.08591"
    deep = 8 * finite
    powers = {row: _power(depth, np.maximum(found[row], 1e-12)) for row in (plain, both)}
    factor = found[normal, :, at[4]] ** (1 / 4)
    return [
        claim("plain: correlation at 8 layers", found[plain, :, at[8]], theory[plain, at[8]],
              deep * theory[plain, at[8]], "8 plain ReLU layers leave a correlation of {measured:.4f}, not 2^-8",
              ours),
        claim("plain: power of depth", powers[plain], float(_power(depth, theory[plain])), deep,
              "from 4 to 12 plain ReLU layers the correlation falls like depth to the {measured:.2f}", ours),
        claim("batch-norm: factor of a layer", factor, theory[normal, at[1]], finite,
              "with batch-norm a ReLU layer multiplies the correlation by {measured:.3f}", paper),
        claim("batch-norm: signals", result["signal_correlation"][normal].mean(axis=-1),
              correlation_map("relu", HE, 0.0, -1 / (config.batch - 1))[0], finite,
              "with batch-norm two inputs' signals keep the correlation {measured:.3f} that one layer gives",
              "arc-cosine kernel at 0: Cho and Saul 2009"),
        claim("residual: one block", found[residual, :, at[1]], 0.75, finite,
              "one residual block leaves a correlation of {measured:.3f}", paper),
        claim("residual: correlation at 8 blocks", found[residual, :, at[8]], theory[residual, at[8]],
              deep * theory[residual, at[8]], "8 residual blocks leave {measured:.3f}, not (3/4)^8 = 0.100", ours),
        claim("residual with batch-norm: power of depth", powers[both], float(_power(depth, theory[both])), 4 * finite,
              "with skip and batch-norm it falls there like depth to the {measured:.2f}", ours),
        claim("linear control", found[linear, :, -1], 1.0, 1e-4,
              "in a linear network the two gradients have correlation {measured:.4f}", "no gate depends on x"),
        Claim("looks linear: departure from orthogonal", float(np.abs(np.log(result["mirrored"])).max()), 0.0,
              1e-6 * max(config.depths), paper,
              statement="mirrored weights: all singular values within {measured:.0e} of 1"),
        *_line_claims(config, result, paper),
    ]  # fmt: skip


def _line_claims(config: Config, result: dict[str, np.ndarray], paper: str) -> list[Claim]:
    """Four standard errors over eighths of the networks, and 2 depth / width of what theory leaves to 1; for batch-norm
    8 / inputs, since it takes the mean and the size of the whole line out of every layer."""
    found, theory = [], result["line_theory"]
    finite = 2 * config.line_depth / config.line_width
    rows = (
        ("he", "1/64", float(theory[0, 0]), finite * (1 - float(theory[0, 0])), "="),
        ("he", "1/8", float(theory[0, 1]), finite * (1 - float(theory[0, 1])), "="),
        ("glorot", "1/64", float(theory[1, 0]), finite * (1 - float(theory[1, 0])), "="),
        ("batch-norm", "1/64", 0.0, 8 / len(LINE), "="),
    )
    for kind, distance, expected, slack, relation in rows:
        groups = result["line"][KINDS.index(kind)][:, 0 if distance == "1/64" else 1]
        error = 4 * float(groups.std(ddof=1)) / math.sqrt(len(groups))
        words = f"one input, {kind}: the slopes at points {distance} apart have the correlation {{measured:.3f}}"
        name = f"line, {kind}: distance {distance}"
        found.append(Claim(name, groups.mean(), expected, error + slack, paper, relation, words))
    return found


def plot(config: Config, result: dict[str, np.ndarray]):
    """Gradient correlation with depth, linear and double logarithmic, and the signals' correlation that explains it."""
    fig, axes = plotting.figure(
        1, 4, "Gradients at two inputs: related far deeper in plain networks than under batch-norm", width=17
    )
    depth, (left, middle, right, line) = result["depth"], axes[0]
    for row, name in enumerate(LAYERS):
        theory, found = result["theory"][row], result["gradient_correlation"][row]
        shown = theory > 2e-3  # below, the noise of two unrelated gradients
        for ax in (left, middle):
            plotting.theory(ax, depth, theory, name, row)
            plotting.measured(ax, depth[shown], found[:, shown], f"measured: {name}", row)
        plotting.measured(right, depth, result["signal_correlation"][row], name, row)
    for ax, quoted, words in ((left, 0.5**depth, "quoted: 2^-L"), (middle, 2.0 / depth**3, "a power of -3")):
        ax.plot(depth, quoted, color="grey", linewidth=1, label=words)
        ax.set(yscale="log", ylim=(1e-3, 1.5), xlabel="layers L", ylabel="correlation of the gradients at two inputs")
    middle.set(xscale="log", title="the same, both axes logarithmic: powers are straight")
    left.set_title(f"lines: theory; points: {config.seeds} networks, width {config.width}")
    right.set(xlabel="layers L", ylabel="correlation of the signals", title="why: signals become alike, or stay apart")
    for row, name in enumerate(("He's weights", "Glorot's", "He's, batch-norm")):
        plotting.theory(line, np.array(APART) / 64, result["line_theory"][row], f"theory: {name}", row)
        plotting.measured(line, np.array(APART) / 64, result["line"][row], f"measured: {name}", row)
    line.set(xscale="log", xlabel="distance of the two inputs", ylabel="correlation of the slopes dy/dx")
    line.set_title(f"one input, {config.line_depth} layers of {config.line_width}")
    line.legend(loc=(0.01, 0.13), fontsize=6.5)
    handles = [item for item in left.lines if str(item.get_label()) in (*LAYERS, "quoted: 2^-L")]
    fig.legend(handles=[*handles, middle.lines[-1]], loc="outside lower center", ncols=7)
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
