"""The gradient grows or shrinks by one factor a layer, and theory names the factor

How fast does the gradient of a deep network explode or vanish on its way back from the loss, and what decides it?

Prediction: every layer multiplies the mean squared gradient norm by chi_1 = σw² E[φ'(√q* z)²], whatever the data. So
the logarithm of the gradient norm is a straight line in the number of layers passed, with slope ½ ln chi_1: below
chi_1 = 1 gradients vanish, above it they explode, and only at 1 do they reach the first layer unharmed. Control: a
linear network of orthogonal matrices, which turns the gradient and never stretches it: slope 0.

Here: digits of scikit-learn, the cross-entropy of a linear readout, one network and one digit a seed; the gradient with
respect to the weights of every layer by `gradjax.gradients.log_gradient_norms`, in log space, for e^-200 is no float32.

Reference: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (2017), Deep Information Propagation, arXiv:1611.01232.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax import initializers
from gradjax.activations import ACTIVATIONS
from gradjax.gradients import log_gradient_norms
from gradjax.networks import mlp
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.theory.meanfield import critical_weight_std, gradient_gain, length_fixed_point
from gradjax.theory.meanfield.moments import is_homogeneous, mean_over_gaussian
from gradjax.theory.quadrature import evaluate

ORDER = 4
INPUT_TRANSIENT = 20  # layers nearest to the input, where activations have not yet reached their stable length


@dataclasses.dataclass(frozen=True)
class Pair:
    """An activation at a weight scale: what the study compares."""

    activation: str
    weight_std: float
    bias_std: float = 0.0
    kernel: Callable = initializers.mean_field

    @property
    def name(self) -> str:
        orthogonal = "orthogonal " if self.kernel is initializers.scaled_orthogonal else ""
        return f"{orthogonal}{self.activation.replace('_', ' ')}, σw = {self.weight_std:.3g}"


def pairs() -> list[Pair]:
    """Vanishing, critical and exploding ones, and last the control: a line here adds a curve and a claim."""
    return [
        Pair("sigmoid", 4.0),
        Pair("relu", 1.2, 0.3),
        Pair("tanh", critical_weight_std("tanh", 0.3), 0.3),
        Pair("relu", 2**0.5),
        Pair("selu", 1.0),
        Pair("tanh", 2.5, 0.3),
        Pair("linear", 1.0, kernel=initializers.scaled_orthogonal),
    ]


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 256
    """Units in each hidden layer: theory is the limit of many, and misses a slope by about 1 / width."""
    depth: int = 300
    """Hidden layers: the gradient passes all of them on its way to the first."""
    seeds: int = 10
    """Networks and digits for each pair: the points' spread, and the tolerance of the claims."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=128, seeds=4), "full": Config()}
PLANTS = {  # weights of 1.2 times the variance (which a network without a stable length hides: its activations grow
    # by what its gradients lose); 1 / chi_1 for chi_1; 1.2 chi_1 for chi_1
    "weight_variance": tuple(f"slope: {pair.name}" for pair in pairs()[:3]),
    "inverse_gain": tuple(f"slope: {pair.name}" for pair in pairs()[:2] + pairs()[4:6]),
    "wrong_gain": tuple(f"slope: {pair.name}" for pair in pairs()),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Log gradient norms (seeds, depth), their slopes, and theory's gain, for every pair."""
    data = digits(seed=config.seed)
    result = {"layers_from_output": np.arange(config.depth)[::-1]}
    for index, pair in enumerate(gradjax.study.progress(pairs(), "pairs")):
        logs = np.asarray(_log_norms(pair, config, data))
        gain, spread = _theory(pair)
        result[f"log_norms_{index}"] = logs
        result[f"slopes_{index}"] = _slopes(logs, result["layers_from_output"])
        result[f"gain_{index}"] = np.array({"inverse_gain": 1 / gain, "wrong_gain": 1.2 * gain}.get(config.plant, gain))
        result[f"spread_{index}"] = np.array(spread)
    return result


def _log_norms(pair: Pair, config: Config, data) -> jax.Array:
    """ln of the gradient norm of every hidden layer, (seeds, depth), one network and one digit a seed."""
    factor = 1.2**0.5 if config.plant == "weight_variance" else 1.0
    kernels = [pair.kernel(pair.weight_std * factor)] * config.depth + ["lecun_normal"]
    biases = [initializers.normal(pair.bias_std)] * config.depth + ["zeros"]
    x, y = data.train_x, data.train_y
    sizes = [x.shape[1], *[config.width] * config.depth, 10]

    def one(seed: int) -> jax.Array:
        layers = mlp(jax.random.key(config.seed + seed), sizes, pair.activation, kernels, biases, x.dtype)
        return log_gradient_norms(Partial(_cross_entropy, y[seed]), layers, x[seed])[:-1]  # without the readout

    return jnp.stack([one(seed) for seed in range(config.seeds)])


def _cross_entropy(label, logits):
    return -jax.nn.log_softmax(logits)[label]


def _theory(pair: Pair) -> tuple[float, float]:
    """chi_1, and width times the relative variance of one layer's gain, 3 E φ'⁴ / (E φ'²)² − 1 (0 if orthogonal)."""
    activation = ACTIVATIONS[pair.activation]
    gain = gradient_gain(activation, pair.weight_std, pair.bias_std)
    if pair.kernel is initializers.scaled_orthogonal:
        return gain, 0.0
    q = 1.0 if is_homogeneous(activation) else length_fixed_point(activation, pair.weight_std, pair.bias_std)
    second, fourth = mean_over_gaussian(
        activation, q, lambda _, x: np.stack([evaluate(activation, x, order=1) ** (2 * k) for k in (1, 2)])
    )
    return gain, float(3 * fourth / second**2 - 1)


def _slopes(logs: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Least-squares slope of each seed's line, without the layers next to the input."""
    x = distance[INPUT_TRANSIENT:] - distance[INPUT_TRANSIENT:].mean()
    return logs[:, INPUT_TRANSIENT:] @ x / (x @ x)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """One a pair. A layer's gain has relative variance v/n at width n: the mean of its half log lies v/4n below the log
    of its mean, and a line fitted to a random walk of D such steps errs by sqrt(1.2 v / 4nD); four of these, over the
    seeds, and rounding."""
    found = []
    for index, pair in enumerate(pairs()):
        v, n, layers = result[f"spread_{index}"], config.width, config.depth - INPUT_TRANSIENT
        tolerance = v / (4 * n) + 4 * np.sqrt(1.2 * v / (4 * n * layers * config.seeds)) + 1e-9
        found.append(
            Claim(
                name=f"slope: {pair.name}",
                measured=result[f"slopes_{index}"].mean(),
                expected=float(np.log(result[f"gain_{index}"]) / 2),
                tolerance=float(tolerance),
                source="½ ln chi_1 by quadrature; Schoenholz et al. 2017, arXiv:1611.01232",
                statement=f"{pair.name}: a layer multiplies the gradient norm by e^({{measured:+.4f}})",
            )
        )
    return found


def plot(config: Config, result: dict[str, np.ndarray]):
    """Log gradient norm of every layer against its distance from the output, a line and points a pair."""
    fig, axes = plotting.figure(
        1, 1, "Each layer multiplies the gradient by one factor: vanishing, critical, exploding", width=8.4, height=5.2
    )
    ax, distance = axes[0, 0], result["layers_from_output"]
    shown = slice(None, None, max(1, config.depth // 25))
    for index, pair in enumerate(pairs()):
        logs = result[f"log_norms_{index}"]
        relative = (logs - logs[:, -1:]) / np.log(10)
        slope = np.log(result[f"gain_{index}"]) / 2 / np.log(10)
        plotting.theory(ax, distance, slope * distance, f"{pair.name}, σb = {pair.bias_std:.2g}", index)
        plotting.measured(ax, distance[::-1][shown], relative[:, ::-1][:, shown], f"measured: {pair.name}", index)
    ax.set_xlabel("layers between this layer and the output")
    ax.set_ylabel("log10 of gradient norm, relative to the last hidden layer")
    ax.set_title(
        f"lines: theory, ½ ln chi_1 a layer; points: median and range of {config.seeds} seeds, width {config.width}"
    )
    lines = [line for line in ax.lines if "σb" in str(line.get_label())]  # the points have their line's colour
    ax.legend(handles=lines, loc="lower left", fontsize=8)
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
