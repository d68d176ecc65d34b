"""All singular values near one: orthogonal weights reach it, Gaussian and ReLU ones never

Which deep networks pass a gradient on without stretching it in any direction, not only on average?

At criticality, chi_1 = 1, the mean of the squared singular values of the Jacobian J is 1. That says nothing about
their spread: half of them may be 0 and a few very large. A network is close to isometry where all of them are close
to 1.

Prediction: multiplication of free random matrices gives the whole density. The variance of the eigenvalues of J Jᵀ is
L for linear Gaussian layers, 2 L for ReLU with Gaussian and L with orthogonal weights: none stays bounded. For
orthogonal weights and an activation nearly linear at small signals it is L (μ₂/μ₁² − 1), which a weight scale close
enough to the critical point at zero signal keeps at any value, here 1/4, at any depth. What is left of the activation
in the limit is its class only: piecewise linear ones (hard tanh) keep an atom at e^(1/4), a share 3/4 of all
directions stretched alike; smooth ones (tanh) have a continuous density up to a higher edge. At the variance 2 hard
tanh has an edge as well, 2 e. Controls: a linear network of orthogonal weights, all of whose singular values are 1, and
a convolutional one with delta-orthogonal kernels.

Predict: will 1024 tanh layers, at the right scale, distort a gradient more than 4 layers do?

Look: no; the three densities of each class lie on each other, and on the theory.

And what it is for: in a deep linear network each singular value of the task is learnt on its own, in a time that
theory gives exactly; it is measured here with gradient descent on chains of scalars, and so is the largest stable step.

Here: random networks of digits' size upwards, their exact Jacobians by `jax.jvp` of every direction, eigenvalues of J
Jᵀ.

Reference: Pennington, Schoenholz, Ganguli (2017), arXiv:1711.04735; (2018), arXiv:1802.09979; Saxe, McClelland,
Ganguli (2014), arXiv:1312.6120.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.initializers import INITIALIZERS, mean_field, scaled_orthogonal
from gradjax.jacobians import input_output_jacobian
from gradjax.layers import convolution
from gradjax.products import log_singular_values
from gradjax.study import Claim, plotting, progress
from gradjax.theory import isometry
from gradjax.theory.learning import mode_time

ORDER = 11
VARIANCE = 0.25
KERNELS = scaled_orthogonal(1.0), mean_field(1.0)
ACTIVATIONS_USED = ("linear", "relu", "hard_tanh", "tanh")


@dataclasses.dataclass(frozen=True)
class Network:
    """An activation with its weights and depth; tuned: at the point where its spectrum has the variance."""

    activation: str
    weights: str
    depth: int
    variance: float = VARIANCE

    @property
    def name(self) -> str:
        other = "" if self.variance == VARIANCE else f", variance {self.variance:g}"
        return f"{self.activation.replace('_', ' ')}, {self.weights}, depth {self.depth}{other}"

    @property
    def tuned(self) -> bool:
        return self.activation in ("hard_tanh", "tanh")

    def point(self) -> tuple[float, float, float]:
        """Mean square of the pre-activations, and standard deviations of weights and biases."""
        if self.tuned:
            return isometry.isometric_point(self.activation, self.depth, self.variance)
        return 1.0, math.sqrt(2) if self.activation == "relu" else 1.0, 0.0


FAMILIES = ("linear", "gaussian"), ("relu", "gaussian"), ("relu", "orthogonal")
WIDE = tuple(Network(*kind, depth) for kind in FAMILIES for depth in (1, 4, 8, 64))
DEEP = Network("linear", "gaussian", 1024)
TUNED = tuple(Network(name, "orthogonal", depth) for name in ("hard_tanh", "tanh") for depth in (4, 64, 1024))
SPREAD = tuple(Network(name, "orthogonal", 1024, 2.0) for name in ("hard_tanh", "tanh"))
CONTROL = Network("linear", "orthogonal", 64)
NETWORKS = (*WIDE, *TUNED, CONTROL, *SPREAD, DEEP)
EDGE = Network("relu", "orthogonal", 4)
GATED = tuple(network for network in WIDE if network.activation == "relu" and network.depth == 64)
DEEPEST = TUNED[-1], SPREAD[-1]
COMPARED = tuple(network for network in NETWORKS if network != CONTROL)  # by their whole distribution
JUDGED = tuple(filter(lambda of: of.activation != "relu" or of.depth in (1, 64), COMPARED))  # others' ranks blur them
LOWEST = 12.0, 600.0  # -ln of the least eigenvalue compared, and of the deep network's: below, floats end
CHAINS = (2, 4, 9, 29)  # weight matrices whose learning time is measured
LONG = 1000  # matrices of a chain that stands for an infinite one


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 256
    """Units a layer of the shallow networks: all singular values are taken."""
    deep_width: int = 128
    """Units a layer of the others: not 256, for 1024 orthogonal matrices of that size take a minute a network."""
    seeds: int = 10
    """Networks of each kind (of the shallow ones four times as many): the histograms, the claims' tolerance."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=64, deep_width=64, seeds=4), "full": Config()}
PLANTS = {  # three times the depth, or the other weights; classes exchanged; a learning rate 1.1 times
    "deeper": (
        *(f"variance: {network.name}" for network in (*WIDE, *DEEPEST) if network.depth in (4, 8, 1024)),
        *(f"density: {network.name}" for network in JUDGED if network not in GATED),
        f"edge: {EDGE.name}", "control", "convolutions",
    ),
    "classes": (
        "atom of hard tanh: place", "atom of hard tanh: mass", "edge of tanh",
        *(f"edge: {network.name}" for network in SPREAD), *(f"density: {network.name}" for network in GATED),
    ),
    "rate": (*(f"learning time: {chain} matrices" for chain in CHAINS), "largest step", "conserved",
             "learning time"),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """Eigenvalues of J Jᵀ (seeds x width) of each network, ln of them of deep ones, theory's densities, and learning
    times."""
    result = {}
    for index, network in enumerate(progress(NETWORKS, "networks")):
        point, count = network.point(), config.seeds * (4 if network in WIDE and network.depth <= 8 else 1)
        keys = jax.random.split(jax.random.key(config.seed), count)
        width = config.width if network in WIDE else config.deep_width
        found = _log_eigenvalues if network == DEEP else _eigenvalues
        result[f"values_{index}"] = found(keys, width, *_planted(config.plant, network), *point).astype(np.float32)
        if network in COMPARED:
            result |= _density(index, network, point[0])
    factor = 1.1 if config.plant == "rate" else 1.0
    result["times"] = np.array([_learning_time(chain, factor) for chain in CHAINS])
    result["long"] = np.array(LONG * _learning_time(LONG, factor, 1e-6))
    result["steps"] = np.array([_largest_step(chain, factor if chain == 29 else 1.0) for chain in CHAINS])
    result["conserved"] = np.array(_conserved(1.0 if config.plant == "rate" else 2e-4))
    result["convolutions"] = _convolutions(config)
    return result


def _largest_step(weights: int, factor: float) -> float:
    """The largest learning rate at which a chain of equal scalars, displaced by 1e-6, returns to its minimum u = 1."""

    def returns(rate: float) -> bool:
        a = 1 + 1e-6
        for _ in range(4000):
            a -= factor * rate * a ** (weights - 1) * (a**weights - 1)
            if not abs(a - 1) < 2e-6:
                return False
        return True

    low, high = 0.0, 2.0
    for _ in range(30):
        low, high = ((low + high) / 2, high) if returns((low + high) / 2) else (low, (low + high) / 2)
    return low


def _conserved(rate: float, time: float = 3.0) -> float:
    """The change of a² − b² along gradient descent on (1 − a b)²/2."""
    a, b = 1.5, 0.1
    for _ in range(int(time / rate)):
        error = 1 - a * b
        a, b = a + rate * error * b, b + rate * error * a
    return a * a - b * b - (1.5**2 - 0.1**2)


def _convolutions(config: Config) -> np.ndarray:
    """Singular values of eight layers of delta-orthogonal convolutions (3 x 3 taps, circular) over a small image."""
    keys = jax.random.split(jax.random.key(config.seed), 8)
    kernel_init = INITIALIZERS["he_normal" if config.plant == "deeper" else "delta_orthogonal"]
    layers = [convolution(key, 8, 8, taps=(3, 3), kernel_init=kernel_init) for key in keys]
    return np.linalg.svd(
        input_output_jacobian(layers, jnp.ones((4, 4, 8), jnp.float32)).reshape(128, 128), compute_uv=False
    )


def _planted(plant: str, network: Network) -> tuple[int, bool, int]:
    """The activation's number, whether weights are orthogonal, and the depth."""
    other = {"tanh": "hard_tanh", "hard_tanh": "tanh"} if plant == "classes" else {}
    other |= {"relu": "linear"} if plant == "classes" and network in GATED else {}
    exchanged = plant == "deeper" and network in (CONTROL, DEEP)
    orthogonal = (network.weights == "orthogonal") != exchanged
    used = other.get(network.activation, network.activation)
    return ACTIVATIONS_USED.index(used), orthogonal, network.depth * (3 if plant == "deeper" and not exchanged else 1)


def _eigenvalues(keys, width: int, *settings) -> np.ndarray:
    jacobians = np.stack([_jacobian(key, width, *settings) for key in keys])
    return np.linalg.svd(jacobians, compute_uv=False) ** 2


def _log_eigenvalues(keys, width: int, activation, orthogonal, depth: int, *scales) -> np.ndarray:
    """ln of them, where floats do not hold their range: the exact product of the layers' Jacobians."""
    drawn = (_factors(key, width, depth, activation, orthogonal, *scales) for key in keys)  # one at a time: 134 MB
    return np.stack([2 * log_singular_values(np.asarray(f, np.float64), tolerance=1e-3) for f in drawn])


def _first(key, width: int, q):
    h = jax.random.normal(key, (width,))
    return jnp.sqrt(q * width / jnp.sum(h**2)) * h


def _step(key, width: int, activation, orthogonal, weight_std, bias_std):
    """The layer h ← W φ(h) + b."""
    first, second = jax.random.split(key)
    w = weight_std * jax.lax.cond(orthogonal, *[functools.partial(k, first, (width, width), float) for k in KERNELS])
    b = bias_std * jax.random.normal(second, (width,))
    return lambda h: jax.lax.switch(activation, [ACTIVATIONS[name] for name in ACTIVATIONS_USED], h) @ w + b


@functools.partial(jax.jit, static_argnums=1)
def _jacobian(key, width: int, activation, orthogonal, depth, q, weight_std, bias_std):
    """The Jacobian of `depth` layers at pre-activations of mean square q, by jvp of every direction."""
    start, above = jax.random.split(key)

    def layer(index, carry):
        key = jax.random.fold_in(above, index)
        h, push = jax.linearize(_step(key, width, activation, orthogonal, weight_std, bias_std), carry[0])
        return h, jax.vmap(push, 1, 1)(carry[1])

    return jax.lax.fori_loop(0, depth, layer, (_first(start, width, q), jnp.eye(width)))[1]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _factors(key, width: int, depth: int, activation, orthogonal, q, weight_std, bias_std):
    """The Jacobian of each of these layers."""
    start, above = jax.random.split(key)

    def layer(h, key):
        h, push = jax.linearize(_step(key, width, activation, orthogonal, weight_std, bias_std), h)
        return h, jax.vmap(push, 1, 1)(jnp.eye(width))

    return jax.lax.scan(layer, _first(start, width, q), jax.random.split(above, depth))[1]


def _density(index: int, network: Network, q: float) -> dict[str, np.ndarray]:
    """Theory's density on a grid that is fine at the edge, its atoms, and its distribution function."""
    arguments = network.activation, network.weights, network.depth, q
    edge = isometry.largest_squared_singular_value(*arguments)
    lowest = math.log(edge) + LOWEST[network == DEEP]
    x = edge * np.exp(-(np.linspace(0, math.sqrt(lowest), 600)[1:][::-1] ** 2))
    law = isometry.squared_singular_value_density(*arguments, x)
    heights = law.values * x  # per nat
    below = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2 * np.diff(np.log(x)))])
    atoms = np.array(law.atoms).reshape(-1, 2)
    mass = 1 - below[-1] - atoms[:, 1].sum()  # what lies below the grid
    distribution = mass + below + (atoms[None, :, 1] * (atoms[None, :, 0] <= x[:, None])).sum(axis=1)
    return {f"x_{index}": x, f"density_{index}": law.values, f"atoms_{index}": atoms, f"below_{index}": distribution}


def _learning_time(weights: int, factor: float, rate: float = 2e-4) -> float:
    """Time in which gradient descent on (1 − u)²/2 takes u, a product of equal scalars, from 1/1000 to 1/2."""
    a, steps = 1e-3 ** (1 / weights), 0
    while a**weights < 0.5:
        a += factor * rate * a ** (weights - 1) * (1 - a**weights)
        steps += 1
    return steps * rate


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Variances: four standard errors over seeds and 2 L / width of the value (tuned networks: Student's quantile, and
    6 / width). Distances of distributions: 6 / width, for eigenvalues repel, so that the number below any point is
    right to a few."""
    found, (paper, later) = [], ("Pennington et al. 2017, arXiv:1711.04735", "Pennington et al. 2018, arXiv:1802.09979")
    rows = {network: index for index, network in enumerate(NETWORKS)}
    for network in (*WIDE, *DEEPEST):
        if network.tuned or network.depth in (4, 8):  # deeper ones of this width have not that of infinitely wide ones
            values, arguments = result[f"values_{rows[network]}"].astype(np.float64), _arguments(network)
            expected = isometry.squared_singular_value_variance(*arguments)
            spread = values.var(axis=1) / values.mean(axis=1) ** 2
            finite = 6 / config.deep_width if network.tuned else 2 * network.depth / config.width
            error = (_student(spread) if network.tuned else 4 * _error(spread)) + expected * finite
            words = f"{network.name}: J Jᵀ has the relative variance {{measured:.2f}}"
            found.append(Claim(f"variance: {network.name}", spread.mean(), expected, error, paper, statement=words))
    for network in JUDGED:
        distance = _distance(result, rows[network])
        words = f"{network.name}: the distribution differs from theory's by {{measured:.3f}}"
        width = config.width if network in WIDE else config.deep_width
        # a product's rank is the fewest open gates of a layer: the least of L Gaussian numbers, at most √(2 ln L) out
        gates = math.sqrt(2 * math.log(network.depth) / width) / 2 if network.activation == "relu" else 0.0
        slack = _closed(result[f"values_{rows[network]}"]) if network in TUNED[:3] else 6 / width + gates
        found.append(Claim(f"density: {network.name}", distance, 0.0, slack, later, statement=words))
    return found + _ends(config, result, rows, later)


def _distance(result: dict[str, np.ndarray], index: int) -> float:
    """Largest difference of the two distribution functions, away from the places of the atoms."""
    x, below, values = result[f"x_{index}"], result[f"below_{index}"], np.sort(result[f"values_{index}"], axis=None)
    places = np.log(x) if NETWORKS[index] == DEEP else x
    away = np.all(np.abs(np.log(x[:, None] / np.maximum(result[f"atoms_{index}"][None, :, 0], 1e-300))) > 0.01, axis=1)
    empirical = np.searchsorted(values, places, side="right") / len(values)
    return float(np.abs(empirical - below)[away].max())


def _closed(values: np.ndarray) -> float:
    """Five deviations of the share of directions that hard tanh cuts: closed gates are few, and obey Poisson's law."""
    return 5 * math.sqrt(VARIANCE / values.size)


def _ends(config: Config, result: dict[str, np.ndarray], rows: dict[Network, int], later: str) -> list[Claim]:
    hard = result[f"values_{rows[Network('hard_tanh', 'orthogonal', 1024)]}"]
    place = isometry.limit_largest_squared_singular_value("bernoulli", VARIANCE)
    edge, steps = isometry.largest_squared_singular_value(*_arguments(TUNED[-1])), result["steps"]
    top, control = np.median(hard), np.sqrt(result[f"values_{rows[CONTROL]}"])
    saxe = "gradjax.theory.learning; Saxe et al. 2014, arXiv:1312.6120"
    return [
        Claim("atom of hard tanh: place", top, place, 0.01, later,
              statement="hard tanh, depth 1024: most directions are stretched alike, J Jᵀ by {measured:.4f}"),
        Claim("atom of hard tanh: mass", np.mean(np.abs(hard / top - 1) < 1e-3), 1 - VARIANCE,
              _closed(hard), later,
              statement="hard tanh, depth 1024: {measured:.1%} of them"),
        _edge("edge of tanh", result, rows[TUNED[-1]], edge, later),
        *(_edge(f"edge: {network.name}", result, rows[network],
                isometry.largest_squared_singular_value(*_arguments(network)), later) for network in (*SPREAD, EDGE)),
        Claim("control", np.abs(np.log(control)).max(), 0.0, 1e-5, "a product of orthogonal matrices is one",
              statement="linear and orthogonal: all singular values within {measured:.0e} of 1"),
        *(Claim(f"learning time: {chain} matrices", time, mode_time(1.0, 1e-3, 0.5, chain), 2e-3 * time, saxe,
                statement=f"a chain of {chain} matrices learns a mode in the time {{measured:.3f}}")
          for chain, time in zip(CHAINS, result["times"], strict=True)),
        Claim("learning time", float(result["long"]), mode_time(1.0, 1e-3, 0.5, np.inf),
              -2 * math.log(1e-3) / LONG * float(result["long"]), saxe,  # u^(2/LONG) is not yet 1 at the start
              statement=f"{LONG} matrices: the time that a mode takes, times their number, is {{measured:.1f}}"),
        Claim("largest step", steps[CHAINS.index(4)] / steps[-1], 29 / 4, 0.01, saxe,
              statement="4 matrices bear steps {measured:.3f} times as large as 29"),
        Claim("conserved", float(result["conserved"]), 0.0, 1e-3, saxe,
              statement="two matrices of different size: a² − b² changes by {measured:.0e} while a b learns 1"),
        Claim("convolutions", np.abs(np.log(result["convolutions"])).max(), 0.0, 1e-5,
              "Xiao et al. 2018, arXiv:1806.05393",
              statement="delta-orthogonal convolutions: all singular values within {measured:.0e} of 1"),
    ]  # fmt: skip


def _arguments(network: Network) -> tuple[str, str, int, float]:
    return network.activation, network.weights, network.depth, network.point()[0]


def _error(samples: np.ndarray) -> float:
    return float(samples.std(ddof=1)) / math.sqrt(len(samples))


def _student(samples: np.ndarray) -> float:
    """Student's quantile of about one in a thousand times the standard error: few networks know their spread badly."""
    return (4 + 18 / (len(samples) - 1)) * _error(samples)


def _edge(name: str, result: dict[str, np.ndarray], index: int, edge: float, source: str) -> Claim:
    """The mean ln of the networks' largest eigenvalues over the mean one, which is 1 in theory and wanders with the
    length of a narrow network's signal (hard tanh does not stretch, it cuts: none there): Student's quantile, and how
    far inside of the edge the largest of so many lies: 0.28 of them beyond, by the law of Tracy and Widom (its mean is
    -1.2065)."""
    values, network = result[f"values_{index}"].astype(np.float64), NETWORKS[index]
    own, over = (1.0, "") if network.activation == "hard_tanh" else (values.mean(axis=1), " over their mean")
    tops = np.log(values.max(axis=1) / own)
    inside = np.interp(1 - 0.28 / result[f"values_{index}"].shape[1], result[f"below_{index}"], result[f"x_{index}"])
    error = _student(tops) + math.log(edge / inside)
    words = f"{network.name}: ln of the largest eigenvalue of J Jᵀ{over} is {{measured:.3f}}"
    return Claim(name, tops.mean(), math.log(edge), error, source, statement=words)


def plot(config: Config, result: dict[str, np.ndarray]):
    """A row a kind of network, a panel a depth: histogram, theory's line, and atoms as stems."""
    title = "Squared singular values of deep Jacobians: orthogonal weights hold them near 1 at any depth"
    fig, axes = plotting.figure(3, 3, title, width=12, height=8)
    for row, networks in enumerate(((WIDE[0], WIDE[3], DEEP), TUNED[:3], TUNED[3:])):
        for ax, network in zip(axes[row], networks, strict=True):
            index = NETWORKS.index(network)
            values, x, density = (result[f"{name}_{index}"] for name in ("values", "x", "density"))
            logs = values.ravel() if network == DEEP else np.log(np.maximum(values.ravel(), 1e-30))
            low, high = (np.log(x[0]), np.log(x[-1]) + 0.5) if row == 0 else (-8.0, 0.6) if row == 1 else (-2.5, 1.2)
            bins = np.linspace(low, high, 49)
            heights = np.histogram(logs, bins)[0] / len(logs) / (bins[1] - bins[0])
            ax.stairs(heights, bins, fill=True, alpha=0.35, color=plotting.COLOURS[row], label="measured")
            plotting.theory(ax, np.log(x), density * x, "theory", row, linestyle="-")
            for place, mass in result[f"atoms_{index}"]:
                if place > 0:
                    ax.plot(
                        [np.log(place)] * 2,
                        [0, mass / (bins[1] - bins[0])],
                        color="black",
                        label=f"atom, mass {mass:.2f}",
                    )
            ax.set(xlim=(low, high), title=network.name, xlabel="ln of the eigenvalue of J Jᵀ", ylabel="density")
            ax.set_ylim(0, 1.25 * max(1e-9, heights.max()) if row != 1 else 0.12)
            ax.legend(loc="upper left", fontsize=7)
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
