"""Batch-norm tames the signal and makes the gradient explode

Batch-norm keeps every layer's signal at the same size. Does it keep the gradient at the same size, too?

Batch-norm subtracts a unit's mean over the batch and divides by its standard deviation r. The signal then cannot grow.
But on the way back the gradient is divided by r as well, and nothing makes up for it.

Prediction: in deep networks of random weights the squared gradient norm grows by one factor a layer,
E φ'(z)² / Var φ(z) for large batches, whatever the scale of the weights: π/(π − 1) = 1.467 for ReLU. The often quoted
1.21 is its square root, the growth of the norm. The factor is larger for small batches, (B − 2)/(B − 3) even for the
identity, which explodes least of all activations. Controls: the same ReLU network without batch-norm (He weights),
where nothing grows, and a linear network with batch-norm whose weights are orthogonal: its batch becomes isotropic,
batch-norm then divides by 1, and the explosion ends (Meterez et al. 2024). It needs more inputs in a batch than units.
Theory is for widths far beyond the batch: a layer of finite width makes the batch a little unequal, and an activation
close to linear forgets that slowly. GELU at batch 64 shows it: {beside the width: gelu, batch 64:.3f} instead of 1.344.

Predict: does batch-norm make the gradients of a ReLU network that neither grow nor shrink safer, or less safe?

Look: less safe; without it a layer multiplies the squared gradient by {without batch-norm:.2f}, with it by {rate:
relu, batch 64:.2f}.

Here: random networks, the exact gradient of a random linear function of the last layer with respect to the signal of
every layer by `jax.grad`, and the growth of its squared norm over the middle layers.

Reference: Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz (2019), arXiv:1902.08129; Meterez, Joudaki, Orabona,
Immer, Rätsch, Daneshmand (2024), arXiv:2310.02012.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.activations import ACTIVATIONS
from gradjax.initializers import mean_field
from gradjax.study import Claim, plotting, progress
from gradjax.theory.normalization import batchnorm_gradient_rate

ORDER = 14
GAUSSIAN = mean_field(1.0)


@dataclasses.dataclass(frozen=True)
class Case:
    """An activation, a batch size, and a scale of the weights, which must not matter."""

    activation: str
    batch: int
    weight_std: float = 1.0

    @property
    def name(self) -> str:
        scale = "" if self.weight_std == 1 else f", weights times {self.weight_std:g}"
        return f"{self.activation}, batch {self.batch}{scale}"


CASES = (  # a line here adds a point and a claim
    *(Case("relu", batch) for batch in (8, 16, 64, 128)),
    *(Case("linear", batch) for batch in (8, 16, 64)),
    *(Case("tanh", batch) for batch in (16, 64)),
    Case("gelu", 16),
    Case("relu", 64, 2.0),
    Case("gelu", 64),
)
SMALL = [CASES.index(Case(name, 16)) for name in ("linear", "relu", "tanh", "gelu")]
LARGEST, BESIDE = CASES.index(Case("relu", 128)), CASES.index(Case("gelu", 64))
USED = ("relu", "linear", "tanh", "gelu")
LIMITS = {  # activation -> its cases at batch 16 and 64, whose rates are extrapolated to infinite batches
    name: tuple(CASES.index(Case(name, batch)) for batch in (16, 64)) for name in ("relu", "tanh", "gelu")
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 512
    """Units a layer: theory is the limit of many."""
    depth: int = 48
    """Layers; the first and the last quarter, where signal and gradient settle, are left out of the rate."""
    orthogonal_depth: int = 400
    """Layers of the linear networks of 48 units: the orthogonal one takes some dozens to become isotropic."""
    seeds: int = 10
    """Networks of each kind: the points' spread and the tolerance of the claims."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=192, depth=24, seeds=4), "full": Config()}
PLANTS = {  # batch-norm left out where it belongs, put in where it does not, and weights 1.2 times too wide, which
    # batch-norm would have hidden; the two kinds of weights exchanged
    "no_norm": (
        *(f"rate: {case.name}" for case in CASES if case != CASES[BESIDE]), "beside the width: gelu, batch 64",
        "norm itself: relu, batch 128", "least for the identity", "without batch-norm",
        *(f"large batch: {name}" for name in LIMITS),
    ),
    "weights": ("orthogonal weights",),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """ln squared gradient norms (cases, seeds, layers), those without batch-norm and of the linear networks, theory."""
    planted = config.plant == "no_norm"
    shape = config.width, config.depth, config.seeds

    def run(case: Case, normal: bool) -> np.ndarray:
        pad = 64 if case.batch <= 64 else case.batch  # one program for all small batches
        scale, phi = case.weight_std * (1.2 if planted else 1.0), USED.index(case.activation)
        return _log_squares(config.seed, phi, case.batch, scale, normal, False, pad, False, *shape)

    small = 64, True, 48, config.orthogonal_depth, config.seeds
    kinds = (False, True) if config.plant == "weights" else (True, False)
    linear = [_log_squares(config.seed, USED.index("linear"), 64, 1.0, True, kind, *small) for kind in kinds]
    batches = np.unique(np.geomspace(5, 400, 16).astype(int))
    return {
        "logs": np.stack([run(case, not planted) for case in progress(CASES, "cases")]),
        "without": np.asarray(run(Case("relu", 16, 2**0.5), planted)),
        "linear": np.stack(linear),
        "theory": np.array([batchnorm_gradient_rate(case.activation, case.batch) for case in CASES]),
        "batches": batches,
        "curves": np.array([[batchnorm_gradient_rate(name, b) for b in batches] for name in ("relu", "linear")]),
    }


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9, 10))
def _log_squares(seed, phi, batch, scale, normal, turned, pad: int, may_turn: bool, width: int, depth: int, seeds: int):
    """ln |d loss / d h_l|² of every layer, (seeds, depth): the gradient with respect to a zero added to the signal.

    The batch is the first rows of `pad`: the others count nowhere. `turned`: orthogonal weights, not Gaussian ones.
    """
    counts = (jnp.arange(pad) < batch)[:, None].astype(jnp.float32)

    def mean(h):
        return jnp.sum(counts * h, axis=0, keepdims=True) / batch

    def layer(h, given):
        key, zero = given
        h = h + zero
        centred = h - mean(h)
        h = jnp.where(normal, centred / jnp.sqrt(mean(centred**2)), h)
        weights = GAUSSIAN(key, (width, width), jnp.float32)
        weights = scale * jnp.where(turned, jnp.linalg.qr(weights)[0], weights) if may_turn else scale * weights
        return jax.lax.switch(phi, [ACTIVATIONS[name] for name in USED], h) @ weights, None

    def one(key):
        start, end, above = jax.random.split(key, 3)
        x, readout = (jax.random.normal(k, (pad, width), jnp.float32) for k in (start, end))

        def loss(zeros):
            return jnp.sum(counts * readout * jax.lax.scan(layer, x, (jax.random.split(above, depth), zeros))[0])

        return jnp.log(jnp.sum(jax.grad(loss)(jnp.zeros((depth, pad, width), jnp.float32)) ** 2, axis=(1, 2)))

    return jax.lax.map(one, jax.random.split(jax.random.key(seed), seeds))


def _rates(logs: np.ndarray) -> np.ndarray:
    """Factor a layer, going back, over the middle half of the layers: (..., layers) -> (...)."""
    quarter = logs.shape[-1] // 4
    return np.exp((logs[..., quarter] - logs[..., -1 - quarter]) / (logs.shape[-1] - 1 - 2 * quarter))


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Rates against theory: four standard errors over seeds, and 8 / width for what theory of wide layers omits; for a
    batch that is large beside the width, the part batch / width of the growth."""
    rates, finite = _rates(result["logs"]), 8 / config.width
    paper, found = "gradjax.theory.normalization; Yang et al. 2019, arXiv:1902.08129", []

    def claim(name: str, samples: np.ndarray, expected: float, slack: float, source: str, words: str) -> Claim:
        error = 4 * float(samples.std(ddof=1)) / len(samples) ** 0.5
        return Claim(name, samples.mean(), float(expected), error + slack, source, statement=words)

    for case, samples, expected in zip(CASES, rates, result["theory"], strict=True):
        words = f"{case.name}: a layer multiplies the squared gradient by {{measured:.3f}}"
        if case == CASES[BESIDE]:  # its batch forgets slowly what the last layer's finite width made of it
            part = case.batch / config.width * (expected - 1)
            found.append(claim(f"beside the width: {case.name}", samples, expected, part, paper, words))
        else:
            found.append(claim(f"rate: {case.name}", samples, expected, finite, paper, words))
    norm, (identity, *others) = rates[LARGEST] ** 0.5, SMALL
    least = rates[others].min(axis=0) - rates[identity]
    # by then the batch is isotropic, and what the gradient had along the signals is gone (some 48 layers each)
    start, end = 120, config.orthogonal_depth - 150
    linear = np.exp((result["linear"][..., start] - result["linear"][..., end]) / (end - start))
    excess = 0.2 / (64 - 3)  # a fifth of what theory gives Gaussian weights
    margin = 0.5 * (result["theory"][others].min() - result["theory"][identity])
    meterez = "Meterez et al. 2024, arXiv:2310.02012"
    return [
        *found,
        *_large_batches(found, paper),
        claim("norm itself: relu, batch 128", norm, result["theory"][LARGEST] ** 0.5, finite, paper,
              "the norm itself, not squared, grows by {measured:.4f} a layer"),
        Claim("least for the identity", least.mean(), float(margin), 0.0, "theorem 9 of Yang et al. 2019", ">=",
              "of all activations at batch 16 the identity explodes least, by at least {measured:.3f} a layer"),
        claim("without batch-norm", _rates(result["without"]), 1.0, finite + 5 / config.width, "He et al. 2015",
              "without batch-norm a He-scaled ReLU layer multiplies the squared gradient by {measured:.3f}"),
        Claim("orthogonal weights", linear[0].mean(), 1.0, excess, meterez,
              statement="linear, batch-norm, orthogonal weights: {measured:.4f} a layer"),
    ]  # fmt: skip


def _large_batches(found: list[Claim], source: str) -> list[Claim]:
    """Rates of infinite batches: those of 16 and 64 less what is proportional to one over the batch."""
    limits = []
    for name, pair in LIMITS.items():
        few, many = (found[row] for row in pair)
        value, line = ((4 * a - b) / 3 for a, b in ((many.measured, few.measured), (many.expected, few.expected)))
        exact = batchnorm_gradient_rate(name, np.inf)
        tolerance = (4 * many.tolerance + few.tolerance) / 3 + abs(line - exact)
        words = f"{name}, extrapolated to infinite batches: a layer multiplies the squared gradient by {{measured:.3f}}"
        limits.append(Claim(f"large batch: {name}", value, exact, tolerance, source, statement=words))
    return limits


def plot(config: Config, result: dict[str, np.ndarray]):
    """The gradient by layer, the rate by batch size, and the linear networks that explode or do not."""
    title = "Batch-norm makes gradients explode: by 1.47 a layer for ReLU, less for smoother activations"
    fig, axes = plotting.figure(1, 3, title, width=13, height=4.2)
    left, middle, right = axes[0]
    depth, layers = config.depth, np.arange(config.depth)[::-1]
    shown = slice(None, None, 3)
    for index, name in enumerate(
        ("relu, batch 8", "relu, batch 64", "gelu, batch 16", "tanh, batch 16", "linear, batch 64")
    ):
        row = [case.name for case in CASES].index(name)
        _lines(left, layers, result["logs"][row], result["theory"][row], name, index, shown)
    _lines(left, layers, result["without"], 1.0, "relu without batch-norm", 5, shown)
    left.set(xlabel="layers between this layer and the output", ylabel="log10 of the squared gradient, from the middle")
    left.set_title(f"lines: theory; points: {config.seeds} networks, depth {depth}")
    names = [str(line.get_label()) for line in left.lines]
    shown = [line for line, name in zip(left.lines, names, strict=True) if not name.startswith(("measured", "_"))]
    left.legend(handles=shown, loc="upper left", fontsize=7)
    rates = _rates(result["logs"])
    for index, name in enumerate(("relu", "linear")):
        plotting.theory(middle, result["batches"], result["curves"][index], name, index)
        rows = [i for i, case in enumerate(CASES) if case.activation == name and case.weight_std == 1]
        plotting.measured(middle, [CASES[i].batch for i in rows], rates[rows].T, f"measured: {name}", index)
    middle.axhline(np.pi / (np.pi - 1), color="grey", linewidth=0.8, linestyle=":", label="π / (π − 1)")
    middle.set(xscale="log", xlabel="batch size", ylabel="factor of the squared gradient a layer", ylim=(0.95, 2.4))
    middle.set_title("small batches explode faster")
    middle.legend()
    for index, name in enumerate(("orthogonal weights", "Gaussian weights")):
        logs = result["linear"][index] / np.log(10)
        ahead = np.arange(logs.shape[1])[::-1]
        points = slice(None, None, max(1, len(ahead) // 24))
        plotting.measured(right, ahead[points], (logs - logs[:, -1:])[:, points], name, index)
    right.set(xlabel="layers between this layer and the output", ylabel="log10 of the squared gradient")
    right.set_title("linear, batch 64, width 48: orthogonal weights end it")
    right.legend(loc="upper left")
    return fig


def _lines(ax, layers, logs, rate: float, name: str, index: int, shown: slice) -> None:
    """Measured logs and theory's straight line, both through the middle layer."""
    logs, middle = logs / np.log(10), len(layers) // 2
    plotting.theory(ax, layers, (layers - layers[middle]) * np.log10(rate), name, index)
    plotting.measured(ax, layers[shown], (logs - logs[:, middle : middle + 1])[:, shown], f"measured: {name}", index)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
