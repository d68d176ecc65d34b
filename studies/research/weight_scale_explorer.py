"""Turn the weight scale: a network has its own edge between vanishing and exploding

Which weight scale keeps the gradient of a deep network, and what else changes when it is turned?

Prediction: in a wide network whose weights have the standard deviation σw / √n, a layer multiplies the mean square of
the backward signal by χ = σw² E[φ′(√q z)²], where q is the mean square of what enters φ there and z is a standard
normal number. So the signal at layer l is the product of the factors of all layers behind it. Linear networks keep it
at σw = 1, ReLU at √2, tanh near 1; a sigmoid's slope is at most 1/4, and no scale shown here saves it.

math: ln |∂"loss" / ∂h_l| = ∑_(k=l+1)^L (ln χ_k) / 2
code: halves = np.log10([[gains.gain for gains in row] for row in theory]) / 2

Gaussian and orthogonal weights of one scale share χ, and so the mean square of the singular values of the whole
network's Jacobian, but not the rest of them. Control: orthogonal weights without an activation, whose singular values
all remain one number, σw^L.

Predict: at the scale at which a linear network with Gaussian weights keeps its gradient, do all of its singular values
stay near 1?

Look: no. Each layer multiplies the ratio of the largest to the smallest by e^{spread of a Gaussian product:.3f} on
average. Only their mean square stays.

figure: Left: what the deepest network leaves of the gradient, for each weight scale. Middle: the signal by layer at
four scales of tanh. Right: all singular values of linear networks of Gaussian weights at σw = 1, as rates a layer

Here: networks of constant width without biases, one digit of scikit-learn (scaled to mean square 1) and one random
readout as loss a seed; the backward signal by `gradjax.gradients.log_signal_norms`, singular values by
`gradjax.products`. The arrays are whole hundredths of a decade, for the page's explorer to carry them.

Reference: Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (2017), arXiv:1611.01232; Pennington, Schoenholz, Ganguli (2017),
arXiv:1711.04735; the rates of a Gaussian product: Newman (1986), Comm. Math. Phys. 103.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax import initializers
from gradjax.activations import ACTIVATIONS
from gradjax.chain import Stack
from gradjax.gradients import log_signal_norms
from gradjax.jacobians import layer_jacobians
from gradjax.products import prefix_log_singular_values
from gradjax.study import Claim, plotting
from gradjax.study.compact import histograms, hundredths, middle_and_reach
from gradjax.tasks import digits
from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.theory.meanfield import gains_by_layer
from gradjax.theory.special import trigamma

ORDER = 3
CHOICES = ("linear", "tanh", "relu", "sigmoid")  # activations; a name here is a choice on the page
KERNELS = {"gaussian": initializers.mean_field, "orthogonal": initializers.scaled_orthogonal}
BINS = 16  # of each histogram
LN10 = float(np.log(10))


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 64
    """Units a layer: a digit's pixels; not 256, for 1680 spectra of up to 100 layers are taken."""
    scales: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0, 1.15, 1.41, 1.7, 2.0, 2.8, 4.0)
    """Weight scales σw; 1 is among them."""
    depths: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    """Depths L, ascending: a network of depth L is the first L layers of the deepest."""
    shown: int = 20
    """The signal is kept at so many layers and the input, of each depth: the page stays small."""
    seeds: int = 3
    """Networks and digits for each choice: their singular values share a histogram; not 10, for the page's size."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(scales=(0.7, 1.0, 1.41, 4.0), depths=(1, 5, 20), seeds=2), "full": Config()}
PLANTS = {  # weights 1.2 times too wide; every activation replaced by tanh; every initialization by the orthogonal one
    "weight_scale": (*(f"factor: {name}" for name in CHOICES), "orthogonal control"),
    "all_tanh": ("sigmoid vanishes", "relu blocks half"),
    "all_orthogonal": ("spread of a Gaussian product",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Hundredths of decades for the page, (activation, initialization, scale, …), and what the claims need in full."""
    grid = {"activation": range(len(CHOICES)), "kernel": range(len(KERNELS)), "scale": config.scales}
    found = gradjax.study.sweep(_network(config), grid | {"network": range(config.seeds)}, seed=config.seed)
    result = _condensed(config, **{name: np.moveaxis(array, 3, 0) / LN10 for name, array in found.items()})
    theory = [[gains_by_layer(phi, scale, 0.0, 1.0, config.depths[-1]) for scale in config.scales] for phi in CHOICES]
    halves = np.log10([[gains.gain for gains in row] for row in theory]) / 2
    result["line"] = hundredths(np.cumsum(np.insert(halves, 0, 0.0, axis=-1), axis=-1))
    result["variance"] = np.array([[gains.variance.mean() for gains in row] for row in theory])
    return result | {"layers": np.concatenate(_layers(config)), "names": np.array([*CHOICES, *KERNELS])}


def _layers(config: Config) -> list[np.ndarray]:
    """For each depth the layers whose signal is kept: 0 (the input) to the depth itself."""
    return [np.rint(np.linspace(0, L, min(L, config.shown) + 1)).astype(int) for L in config.depths]


def _network(config: Config):
    """The grid's cell: ln of the singular values (depth, width) of a network of these indices, at its first layers,
    and ln of the backward signal (depth, layers + 1)."""
    data, n, planted = digits(seed=config.seed), config.width, config.plant
    factor, layer = 1.2 if planted == "weight_scale" else 1.0, jnp.arange(config.depths[-1])

    def cell(_, activation, kernel, scale, network):
        keys, x = jax.random.split(jax.random.key(config.seed + network)), data.train_x[network]
        drawn = [initializers.stacked(draw(1.0))(keys[0], (len(layer), n, n), x.dtype) for draw in KERNELS.values()]
        turned = (kernel > 0) | (planted == "all_orthogonal")
        kernels = factor * scale * jnp.where(turned, drawn[1], drawn[0])
        numbers = jnp.full(len(layer), CHOICES.index("tanh") if planted == "all_tanh" else activation)
        readout = Partial(jnp.dot, jax.random.normal(keys[1], (n,), x.dtype) / n**0.5)
        x = x / jnp.sqrt(jnp.mean(x**2))

        def cut(depth):
            return [Stack(Partial(_layer, layer < depth, numbers, kernels))]

        signal = jax.vmap(lambda depth: log_signal_norms(readout, cut(depth), x))(jnp.array(config.depths))
        jacobians = layer_jacobians(cut(len(layer)), x)[0]
        return {"logs": prefix_log_singular_values(jacobians, config.depths, tolerance=1e-6)[0], "signal": signal}

    return cell


def _layer(on, number, kernel, h):
    """φ(h W), or nothing behind a shorter network's end: one program serves every depth and every activation."""
    return jnp.where(on, jax.lax.switch(number, [ACTIVATIONS[name] for name in CHOICES], h @ kernel), h)


def _condensed(config: Config, logs: np.ndarray, signal: np.ndarray) -> dict[str, np.ndarray]:
    """What the page carries; network, activation, kernel and scale lead, in decades."""
    kept = np.concatenate([signal[..., i, layers] for i, layers in enumerate(_layers(config))], axis=-1)
    one_number = np.log10(config.scales)[:, None, None] * np.array(config.depths)[:, None]
    at_one = logs[:, :, :, config.scales.index(1.0), -1]
    return histograms(np.moveaxis(logs, 0, -2).reshape(*logs.shape[1:5], -1), BINS) | {
        **dict(zip(("signal", "below", "above"), map(hundredths, middle_and_reach(kept)), strict=True)),
        "first_signal": np.moveaxis(signal[..., -1, 0], 0, -1),  # (…, scales, networks), not rounded
        "scatter": np.abs(logs - one_number).max(axis=(0, 3, 4, 5)),
        "ratio": (at_one[..., 0] - at_one[..., -1]).mean(axis=0),
    }


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """A layer's ½ ln χ̂ at width n has variance v/4n, and a mean v/4n below that of theory: four errors and that."""
    depth, n = config.depths[-1], config.width
    slopes = (result["first_signal"] * LN10 / depth).mean(axis=-1)[:, 0] - result["line"][..., -1] / 100 * LN10 / depth
    v = result["variance"]
    allowed = v / (4 * n) + 4 * np.sqrt((v / depth + 2 / depth**2) / (4 * n * config.seeds)) + 0.005 * LN10 / depth
    worst = np.argmax(np.abs(slopes) / allowed, axis=-1)
    rows = [
        (f"factor: {name}", slopes[i, w], 0.0, allowed[i, w], "=",
         "sum of ½ ln χ by quadrature; Schoenholz et al. 2017, arXiv:1611.01232",
         f"{name}: where theory errs most (σw = {config.scales[w]:g}) each factor is off by e^({{measured:+.4f}})")
        for i, (name, w) in enumerate(zip(CHOICES, worst, strict=True))
    ]  # fmt: skip
    rows += _rows_on_spectra(config, result)
    return [Claim(name, value, at, room, source, sign, words) for name, value, at, room, sign, source, words in rows]


def _rows_on_spectra(config: Config, result: dict[str, np.ndarray]) -> list[tuple]:
    depth, n, seeds = config.depths[-1], config.width, config.seeds
    linear, relu, sigmoid = (CHOICES.index(name) for name in ("linear", "relu", "sigmoid"))
    exact = gaussian_product_exponents(n, 1.0)
    noise = 4 * np.sqrt(sum(trigamma((n - i) / 2) for i in (0, n - 1)) / 4 / depth / seeds) + np.log(n) / depth
    blocked = result["absent"][relu, 0, :, 0] / (n * seeds)
    eps = float(np.finfo(result["first_signal"].dtype).eps)  # of the networks: a run without 64 bits has its own
    return [
        ("orthogonal control", result["scatter"][linear, 1], 0.0, depth * n * eps, "=",
         "orthogonal, no activation: all singular values are σw^L; rounding of each layer, n ε",
         "orthogonal weights alone scatter the singular values by {measured:.1e} decades"),
        ("spread of a Gaussian product", result["ratio"][linear, 0] * LN10 / depth, exact[0] - exact[-1], noise, "=",
         "first less last exponent; Newman 1986; both ends' noise, and ln n for their alignment",
         "each Gaussian layer multiplies the largest over the smallest singular value by e^{measured:.3f}"),
        ("relu blocks half", blocked.mean(), 0.5, 4 * 0.5 / np.sqrt(n * seeds), "=",
         "each unit is on with probability ½; the error of a share",
         "one layer of ReLU blocks {measured:.0%} of all directions"),
        ("sigmoid vanishes", result["first_signal"][sigmoid, 0].max(), -0.1 * depth, 0.0, "<=",
         f"a tenth of a decade a layer; theory's best is 10^({result['line'][sigmoid, :, -1].max() / 100:.1f})",
         f"at the best weight scale the signal through {depth} layers of sigmoid is still 10^{{measured:.1f}}"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """What is left of the gradient by weight scale; the signal by layer; the singular values with depth."""
    title = "Each activation has its own edge between vanishing and exploding; the sigmoid has none"
    fig, axes = plotting.figure(1, 3, title, width=14, height=4.6)
    _plot_scales(axes[0, 0], config, result)
    _plot_layers(axes[0, 1], config, result)
    _plot_values(axes[0, 2], config, result)
    return fig


def _plot_scales(ax, config: Config, result) -> None:
    for index, name in enumerate(CHOICES):
        plotting.theory(ax, config.scales, result["line"][index, :, -1] / 100, f"{name}, theory", index)
        plotting.measured(ax, np.array(config.scales), result["first_signal"][index, 0].T, f"{name}, measured", index)
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.set(xscale="log", xlabel="weight scale σw", ylabel="log10 of the backward signal at the input")
    ax.set(xticks=[0.5, 1, 2, 4], xticklabels=["½", "1", "2", "4"])
    ax.set_title(f"What {config.depths[-1]} Gaussian layers leave of it")
    ax.minorticks_off()
    ax.legend(fontsize=7)


def _plot_layers(ax, config: Config, result) -> None:
    tanh, layers, deepest = CHOICES.index("tanh"), _layers(config)[-1], config.depths[-1]
    for look, scale in enumerate(np.unique(np.linspace(0, len(config.scales) - 1, 4).astype(int))):
        line = result["line"][tanh, scale] / 100
        middle, below, above = (result[k][tanh, 0, scale, -len(layers) :] / 100 for k in ("signal", "below", "above"))
        label = f"σw = {config.scales[scale]:g}"
        plotting.theory(ax, np.arange(deepest + 1), line[-1] - line, f"{label}, theory", look)
        plotting.measured(ax, layers, np.stack([middle - below, middle, middle + above]), f"{label}, measured", look)
    ax.set(xlabel="layer l (0 is the input)", ylabel="log10 of the backward signal")
    ax.set_title("tanh: the signal on its way back")
    ax.legend(fontsize=7)


def _plot_values(ax, config: Config, result) -> None:
    one, linear, rows = config.scales.index(1.0), CHOICES.index("linear"), range(len(config.depths))
    for look, row in enumerate(sorted({rows[0], rows[len(rows) // 2], rows[-1]})):
        low, size, counts = (result[name][linear, 0, one, row] for name in ("low", "size", "counts"))
        depth, colour = config.depths[row], plotting.COLOURS[(0, 1, 6)[look]]
        middles = (low + size * (np.arange(BINS) + 0.5)) / 100 / depth
        ax.plot(middles, 100 * counts / counts.sum(), "o-", color=colour, label=f"depth {depth}, measured")
    ax.axvline(0, color="grey", linewidth=0.8, label="root mean square, theory, any depth")
    ax.set(xlabel="log10 of a singular value, divided by the depth", ylabel="share of all values (%)")
    ax.set_title("Gaussian, no activation, σw = 1: all values")
    ax.legend(fontsize=7, loc="upper left")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
