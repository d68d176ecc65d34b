"""Ten thousand plain layers train where their weights are orthogonal, and nowhere else

Can a network of ten thousand plain layers be trained, and what must its initial weights be for that?

No skip connection, no normalization: every layer is φ(h W + b) or a convolution of that form, φ = tanh. With critical
weights the mean squared gradient neither grows nor shrinks. That is enough for a network as wide as it is deep. At ten
thousand layers of sixteen units it is not: Gaussian matrices each shrink most directions a little, by chance, and ten
thousand such chances leave nothing.

Prediction: products of Gaussian matrices have singular values e^(λ_i L) with λ_i = ½ (ln(2/n) + ψ((n − i + 1)/2)): all
of them vanish. Orthogonal weights, and convolutions whose kernel is an orthogonal matrix at its centre and zero beside
it (delta-orthogonal), keep them together at any depth: the eigenvalues of J Jᵀ have the variance L (μ₂/μ₁² − 1), which
the distance to the critical point at zero signal sets, here to 1/4. One direction a position is lost all the same: the
length of the signal, which returns to its fixed point like e^(−L/ξ_q).

Predict: which part of its loss does the Gaussian network learn away in a hundred steps?

Look: {control: loss, convolution:.4f}; the delta-orthogonal one learns away {loss: convolution:.2f}, in the worst of
its seeds.

Here: a few digits, turned into as many numbers as there are units; stochastic gradient descent with momentum and a
clip at norm 1, the same for all. The spectrum is that of all layers of constant width; every layer's gradient is exact,
in log space. Control: the same networks with Gaussian weights of the same variance.

Reference: Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington (2018), arXiv:1806.05393; Pennington, Schoenholz,
Ganguli (2017), arXiv:1711.04735; Newman (1986) for the exponents of Gaussian products.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Stack
from gradjax.gradients import log_gradient_norms
from gradjax.initializers import delta_orthogonal, mean_field, normal, scaled_orthogonal
from gradjax.layers import compose, convolution, dense
from gradjax.spectra import jacobian_spectrum
from gradjax.study import Claim, plotting, progress
from gradjax.tasks import digits
from gradjax.theory.isometry import isometric_point
from gradjax.theory.meanfield import depth_scales
from gradjax.theory.special import digamma
from gradjax.training import cross_entropy, train

ORDER = 17
KINDS = ("convolution", "dense")
WEIGHTS = ("orthogonal", "Gaussian")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    depth: int = 10_000
    """Layers of weights in front of the readout."""
    channels: int = 8
    """Of the convolutional network; small, so that ten thousand layers are a matter of minutes."""
    positions: int = 4
    """Of its ring."""
    width: int = 16
    """Units a layer of the fully connected network."""
    variance: float = 0.25
    """Of the eigenvalues of J Jᵀ that theory is asked to set, over their squared mean."""
    classes: int = 2
    """Digits told apart, 0 and 1: in equal parts, so that the readout's bias alone learns nothing."""
    examples: int = 16
    """Digits trained on, all of them at every step."""
    steps: int = 100
    """Of training."""
    rate: float = 0.0006
    """Learning rate, behind a clip at norm 1 and with momentum 0.9."""
    seeds: int = 3
    """Networks of each kind."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(depth=600, steps=50, rate=0.002), "full": Config()}
LEARNS = tuple(f"loss: {kind}" for kind in KINDS)
PLANTS = {  # every network has Gaussian weights, or every one orthogonal ones
    "gaussian": (*LEARNS, "gradient: arrives", "spectrum: variance", "spectrum: length is forgotten"),
    "orthogonal": (
        *(f"control: loss, {kind}" for kind in KINDS), "control: gradient vanishes", "control: least exponent",
    ),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Loss and gradients by kind, weights and seed; spectra of the fully connected layers; what theory says."""
    point = isometric_point("tanh", config.depth, config.variance)
    found: dict[str, list] = {"loss": [], "log_gradient": [], "spectrum": []}
    depths = np.unique(np.geomspace(1, config.depth, 5).astype(int))
    for kind in progress(KINDS, "kinds"):
        x, y = _examples(config, kind, point.q)
        networks = [_networks(config, kind, weights, point) for weights in _weights(config)]
        stacked = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *networks)
        found["loss"].append(_by_weights(config, _train(dataclasses.replace(config, plant=""), stacked, x, y)))
        loss = partial(_weighed, size=config.classes)
        each = jax.jit(jax.vmap(lambda layers, x=x, loss=loss: log_gradient_norms(loss, layers, x[0])))
        found["log_gradient"].append(_by_weights(config, each(stacked)))
        for network in networks if kind == "dense" else []:
            members = [jax.tree.map(lambda leaf, i=i: leaf[i], network[:1]) for i in range(config.seeds)]
            rows = [jacobian_spectrum(layers, x[0], depths).log_singular_values for layers in members]  # pyright: ignore
            found["spectrum"].append(np.stack(jax.device_get(rows)))
    n, i = config.width, np.arange(1, config.width + 1)
    return {
        **{name: np.stack(arrays) for name, arrays in found.items()},
        "depths": depths,
        "exponents": (np.log(2 / n) + digamma((n - i + 1) / 2)) / 2,
        "length_scale": np.array(depth_scales("tanh", point.weight_std, point.bias_std).length),
    }


def _weights(config: Config) -> tuple[str, ...]:
    return {"gaussian": WEIGHTS[1:] * 2, "orthogonal": WEIGHTS[:1] * 2}.get(config.plant, WEIGHTS)


def _examples(config: Config, kind: str, q: float):
    """Some digits of each class, turned and cut to the number of units, each of mean square q."""
    data, units = digits(seed=config.seed, dtype=jnp.float32), _units(config, kind)
    labels, each = np.asarray(data.train_y), config.examples // config.classes
    chosen = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(config.classes)])
    pixels = np.asarray(data.train_x)[chosen]
    turn = np.linalg.qr(np.random.default_rng(config.seed).normal(size=(64, 64)))[0][:, :units]
    x = (pixels - pixels.mean(axis=0)) @ turn
    x = x * (q / np.mean(x**2, axis=1, keepdims=True)) ** 0.5
    shape = (config.positions, config.channels) if kind == "convolution" else (units,)
    return jnp.asarray(x.reshape(-1, *shape), jnp.float32), jnp.asarray(labels[chosen])


def _units(config: Config, kind: str) -> int:
    return config.positions * config.channels if kind == "convolution" else config.width


def _networks(config: Config, kind: str, weights: str, point) -> list:
    """One network a seed, along a leading axis: a Stack and a readout of every unit."""
    convolved = kind == "convolution"
    orthogonal, draw = (delta_orthogonal, convolution) if convolved else (scaled_orthogonal, dense)
    n = config.channels if convolved else config.width
    kernel = (orthogonal if weights == "orthogonal" else mean_field)(point.weight_std)

    def one(key):
        keys = jax.random.split(key, config.depth + 1)
        last, keys = keys[0], keys[1:]
        stack = jax.vmap(lambda key: draw(key, n, n, "tanh", kernel, normal(point.bias_std)))(keys)
        readout = dense(last, _units(config, kind), config.classes, kernel_init=mean_field(1.0))
        return [Stack(stack), compose([Partial(jnp.ravel), readout])]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(config.seed), config.seeds))


@partial(jax.jit, static_argnums=0)
def _train(config: Config, networks, x, y):
    """The loss of every network at every step."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(config.rate, momentum=0.9))
    return jax.vmap(lambda net: train(net, cross_entropy, optimizer, (x, y), steps=config.steps).trace.loss)(networks)


def _weighed(outputs, size: int):
    return jnp.sum(outputs * jnp.cos(jnp.arange(size).astype(outputs.dtype)))


def _by_weights(config: Config, array) -> np.ndarray:
    """(weights · seeds, …) -> (weights, seeds, …)."""
    array = np.asarray(array)
    return array.reshape(len(WEIGHTS), config.seeds, *array.shape[1:])


def _fall(result) -> np.ndarray:
    """The part of the loss that is gone at the end, (kinds, weights, seeds)."""
    return 1 - result["loss"][..., -1] / result["loss"][..., 0]


def _relative_variance(logs: np.ndarray) -> np.ndarray:
    """Of the squared singular values over their squared mean, from half logs (…, k)."""
    values = np.exp(2 * (logs - logs.max(axis=-1, keepdims=True)))
    return values.var(axis=-1) / values.mean(axis=-1) ** 2


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Every seed's loss; gradients within four deviations of one singular value's log; four standard errors else."""
    depth, n, seeds = config.depth, config.width, config.seeds
    fall, logs = _fall(result), result["log_gradient"]
    growth = (logs[..., 0] - logs[..., -2]).astype(float)  # from the last layer in front of the readout to the first
    xiao, paper = "Xiao et al. 2018, arXiv:1806.05393", "Pennington et al. 2017, arXiv:1711.04735"
    last = result["spectrum"][:, :, -1]
    variance = _relative_variance(last[0][:, :-1])
    # one matrix of n values: their variance has the relative error √(2/n), and every seed is one such matrix
    slack = 4 * config.variance * (2 / (n * seeds)) ** 0.5
    forgotten, least = -depth / float(result["length_scale"]), depth * result["exponents"][-1]
    # ln |z| of one Gaussian has the variance π²/8: the least singular value loses one such factor a layer
    wander = 4 * (np.pi**2 / 8 * depth / seeds) ** 0.5
    vanished = depth * result["exponents"][0] / 2
    found = []
    for kind, by_weights in zip(KINDS, fall, strict=True):
        found += [
            Claim(
                f"loss: {kind}",
                by_weights[0].min(),
                0.2,
                0.0,
                xiao,
                ">=",
                f"{kind}, orthogonal: in {config.steps} steps the loss falls by {{measured:.0%}} on the worst seed",
            ),
            Claim(
                f"control: loss, {kind}",
                by_weights[1].max(),
                0.1,
                0.0,
                xiao,
                "<=",
                f"{kind}, Gaussian: by {{measured:.2%}} on the best seed",
            ),
        ]
    return [
        *found,
        Claim("gradient: arrives", float(np.abs(growth[:, 0]).max()), 0.0, 4 * config.variance**0.5 / 2, paper, "=",
              "orthogonal: from the last layer to the first the gradient changes by {measured:.2f} nats at most"),
        Claim("control: gradient vanishes", float(growth[:, 1].mean()), vanished, 0.0, "Newman 1986", "<=",
              "Gaussian: by {measured:.0f} nats in the mean, half of the largest exponent's at least"),
        Claim("spectrum: variance", variance.mean(), config.variance, slack, "gradjax.theory.isometry; " + paper,
              statement="the eigenvalues of J Jᵀ have the relative variance {measured:.2f}"),
        Claim("spectrum: length is forgotten", last[0][:, -1].mean(), forgotten, -0.05 * forgotten,
              "gradjax.theory.meanfield.depth_scales",
              statement="all but one direction: the signal's length keeps e^{measured:.1f} of a change"),
        Claim("control: least exponent", last[1][:, -1].mean(), least, wander, "Newman 1986",
              statement="Gaussian: the least singular value is e^{measured:.0f}"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Singular values with depth, the gradient by layer, the loss."""
    title = f"{config.depth:,} plain tanh layers train from orthogonal weights, and not from Gaussian ones"
    fig, axes = plotting.figure(1, 3, title, width=13, height=4.2)
    left, middle, right = axes[0]
    depths, scale = result["depths"], result["length_scale"]
    for index, (weights, logs) in enumerate(zip(WEIGHTS, result["spectrum"], strict=True)):
        for rank, words in ((0, "largest"), (config.width // 2, "middle"), (-2, "least but one"), (-1, "least")):
            name = f"{weights}, {words}" if rank in (0, -1) else "_"
            plotting.measured(left, depths, logs[:, :, rank] / np.log(10), name, index, markersize=3.5)
    for rank, exponent in ((0, result["exponents"][0]), (-1, result["exponents"][-1])):
        label = "Gaussian theory" if rank == 0 else "_"
        plotting.theory(left, depths, exponent * depths / np.log(10), label, 1)
    plotting.theory(left, depths, -depths / scale / np.log(10), "length forgotten, theory", 0)
    left.set(xscale="log", yscale="symlog", xlabel="layers", ylabel="log10 of singular values", ylim=(None, 1e4))
    left.set_yticks([-(10**power) for power in range(5)] + [0, 1], minor=False)
    left.set_title(f"{config.width} units: all but one direction survive")
    left.legend(loc="upper left", ncols=2, fontsize=7)
    layers = np.unique(np.geomspace(1, config.depth, 25).astype(int))
    for row, kind in enumerate(KINDS):
        for column, weights in enumerate(WEIGHTS):
            logs = result["log_gradient"][row, column]
            away = (logs[:, config.depth - layers] - logs[:, -2:-1]) / np.log(10)
            look, name = 2 * row + column, f"{kind}, {weights}"
            plotting.measured(middle, layers, away, name, look)
            loss = result["loss"][row, column]
            right.plot(loss.T, color=plotting.COLOURS[look], linewidth=1.2, label="_")
            right.lines[-1].set_label(name)
    middle.set(xscale="log", yscale="symlog", xlabel="layers between this one and the readout, plus 1")
    middle.set_ylabel("log10 of the gradient, from the last layer")
    middle.set_title("the gradient of every layer's weights")
    middle.legend(loc="lower left")
    right.axhline(np.log(config.classes), color="grey", linewidth=0.8, linestyle=":", label="chance")
    right.set(xlabel="steps", ylabel="loss, in nats")
    right.set_title(f"training, {config.seeds} seeds each")
    right.legend(loc="lower left")
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
