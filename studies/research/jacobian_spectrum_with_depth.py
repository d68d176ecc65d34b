"""Gradients explode when stretching directions line up, and random ones mostly do not

A deep gradient is a product of Jacobians: does it stretch as much as the product of what each of them can stretch?

Prediction: a square Gaussian matrix stretches its best direction about 2 times, so a hundred of them could reach
2^100 = 10^30. But the direction that one layer stretches most is rarely the one that the next would. At infinite width
the largest singular value of the product of L layers grows no faster than √L:

math: σ_max² = (L+1)^(L+1) / L^L
code: return float(np.exp(np.log(depth + 1) + depth * np.log1p(1 / depth)))  # gradjax/theory/isometry/spectrum.py

Every one of the n singular values has its own rate, ln σ_i ≈ λ_i L, for Gaussian layers of any width

math: λ_i = (ln(2/n) + ψ((n − i + 1)/2)) / 2
code: return (np.log(2 * weight_std**2 / width) + digamma(degrees / 2)) / 2  # gradjax/theory/finite_width.py

where ψ is the digamma function. So the product's condition number, its largest over its smallest singular value, grows
exponentially: one norm a layer hides this. Control: orthogonal layers, where the product of the largest and the largest
of the product agree, and every value stays 1.

Predict: the largest values of a hundred Gaussian layers multiply to
10^{one layer's largest value, a hundred times:.1f}. How much does the product of these layers stretch at most, and does
every layer also widen the condition number?

Look: it stretches at most 10^{largest value of the deep product:.2f} times. The directions fail to line up by a factor
of 10^{the gap:.1f}. And yes: each layer multiplies the condition number by e^{condition number:.2f} on average.

Multiplying first and taking singular values afterwards sees none of the small ones: below ε σ_1 it returns rounding.

Here: linear networks on the digits of scikit-learn, exact layer Jacobians by `jax.jacfwd`, every singular value of
their product by `gradjax.spectra.jacobian_spectrum`.

Reference: Pennington, Schoenholz, Ganguli (2017), arXiv:1711.04735 (the edge); Newman (1986), Comm. Math. Phys. 103
(the rates); Johnstone (2001), Ann. Statist. 29 (one layer's largest value at finite width).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax import initializers
from gradjax.chain import Stack
from gradjax.jacobians import layer_jacobians
from gradjax.networks import mlp
from gradjax.products import naive_log_singular_values
from gradjax.spectra import jacobian_spectrum
from gradjax.study import Claim, plotting, progress
from gradjax.tasks import digits
from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.theory.isometry import largest_squared_singular_value
from gradjax.theory.special import trigamma

ORDER = 1
TRACY_WIDOM = (-1.2065335745820, 1.2679)  # mean and standard deviation of the law of order 1 (Johnstone 2001)
KERNELS = {"gaussian": initializers.mean_field, "orthogonal": initializers.scaled_orthogonal}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 256
    """Units a layer in the left panel; a multiple of 64, for each pixel of a digit is repeated."""
    depths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 100)
    """Where the left panel has points."""
    seeds: int = 10
    """Networks and digits: the points' spread and the tolerance of the claims."""
    spectrum_width: int = 64
    """Units a layer in the other panels: not 256, for 64 lines can still be told apart."""
    spectrum_depths: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 350, 500, 700, 1000)
    """Where the other panels have points."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: 'weight_variance' (weights 1.2 times too wide), 'aligned' (every layer stretches
    the same directions), 'exact_instead_of_naive' (the wrong way replaced by the right one)."""


PRESETS = {"quick": Config(seeds=3), "full": Config()}
PLANTS = {
    "weight_variance": (
        "one layer's largest value, a hundred times",
        "largest value of a shallow product",
        "largest value of the deep product",
        "orthogonal control",
        "rate of every singular value",
        "triangular law",
    ),
    "aligned": ("the gap", "condition number", "the two largest"),
    "exact_instead_of_naive": ("product first, then SVD",),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Logs of largest values (seeds, depths) for both kinds of layers; all log singular values, right and naive."""
    data, result = digits(seed=config.seed), {}
    for kind in KERNELS:
        rows = [
            _largest(config, kind, seed, data) for seed in progress(range(config.seeds), f"{kind} width {config.width}")
        ]
        result[f"{kind}_sum_of_logs"], result[f"{kind}_log_of_product"] = (np.stack(r) for r in zip(*rows, strict=True))
    spectra, errors = [], []
    for seed in progress(range(config.seeds), f"all values, width {config.spectrum_width}"):
        spectrum = jacobian_spectrum(*_network(config, "gaussian", seed, data, True), config.spectrum_depths)
        spectra.append(np.asarray(spectrum.log_singular_values))
        errors.append(np.asarray(spectrum.error))
    result["spectra"], result["errors"] = np.stack(spectra), np.stack(errors)
    result["naive"] = _naive(config, data) if config.plant != "exact_instead_of_naive" else spectra[0]
    result["exponents"] = np.asarray(gaussian_product_exponents(config.spectrum_width, 1.0))
    edge = [largest_squared_singular_value("linear", "gaussian", depth, 1.0) for depth in config.depths]
    result["edge"] = np.log(edge) / 2
    return result


def _network(config: Config, kind: str, seed: int, data, for_spectrum: bool = False):
    """A linear network of constant width and the digit that enters it."""
    width, depth = config.width, max(config.depths)
    if for_spectrum:
        width, depth = config.spectrum_width, max(config.spectrum_depths)
    gain = 1.2**0.5 if config.plant == "weight_variance" else 1.0
    key, x = jax.random.key(config.seed + seed), data.train_x[seed]
    layers = mlp(key, [width] * (depth + 1), "linear", KERNELS[kind](gain), dtype=x.dtype)
    return _aligned(layers) if config.plant == "aligned" else layers, jnp.repeat(x, width // x.size)


def _aligned(layers: list[Stack]) -> list[Stack]:
    """Every layer the first one's stretching part alone, U S Uᵀ, at 1.5 times at most: 2^1000 is no float64."""

    def align(leaf):
        if leaf.ndim < 3:
            return leaf
        u, s, _ = jnp.linalg.svd(leaf[0])
        return jnp.broadcast_to((u * (1.5 / s[0] * s)[None, :]) @ u.T, leaf.shape)

    return jax.tree.map(align, layers)


def _largest(config: Config, kind: str, seed: int, data) -> tuple[np.ndarray, np.ndarray]:
    """ln of the product of the layers' largest singular values, and of the largest of their product, at each depth.

    The largest value of a plain product is right to rounding, for what is lost is small beside it.
    """
    (jacobians,) = layer_jacobians(*_network(config, kind, seed, data))
    at = np.array(config.depths) - 1
    log_tops = np.log(_largest_values(jacobians))
    return np.cumsum(log_tops)[at], np.log(_largest_values(_prefix_products(jacobians)[at]))


@jax.jit
def _largest_values(matrices):
    """The largest singular value of each matrix, from JᵀJ: its square is the largest there too, and it is cheap."""
    return jnp.sqrt(jax.lax.map(lambda j: jnp.linalg.eigvalsh(jnp.matmul(j.T, j, precision="highest"))[-1], matrices))


@jax.jit
def _prefix_products(jacobians):
    def step(product, jacobian):
        product = jnp.matmul(jacobian, product, precision="highest")
        return product, product

    return jax.lax.scan(step, jnp.eye(jacobians.shape[-1], dtype=jacobians.dtype), jacobians)[1]


def _naive(config: Config, data) -> np.ndarray:
    (jacobians,) = layer_jacobians(*_network(config, "gaussian", 0, data, True))
    return np.stack([np.asarray(naive_log_singular_values(jacobians[:depth])) for depth in config.spectrum_depths])


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """What the three panels say; a mean over seeds may err by four of its standard errors."""
    rows = [*_rows_on_largest(config, result), *_rows_on_all(config, result)]
    return [Claim(name, measured, expected, tolerance, *rest) for name, measured, expected, tolerance, *rest in rows]


def _rows_on_largest(config: Config, result) -> list[tuple]:
    n, seeds, depth, shallow = config.width, config.seeds, config.depths[-1], config.depths.index(4)
    sums, tops = (result[f"gaussian_{name}"] / np.log(10) for name in ("sum_of_logs", "log_of_product"))
    edge = result["edge"] / np.log(10)
    scale = 2 ** (4 / 3) * n ** (-2 / 3)  # of the fluctuation of one layer's σ_1² around 4; the next order is 1 / n
    single = np.log10(4 + TRACY_WIDOM[0] * scale) / 2
    noise = 4 * TRACY_WIDOM[1] * scale / 8 / np.log(10) * (depth / seeds) ** 0.5 + depth / n / np.log(10)
    largest = max(np.abs(result[f"orthogonal_{name}"]).max() for name in ("sum_of_logs", "log_of_product"))
    rounding = depth * n * _epsilon(result)
    pennington = "infinite width; Pennington et al. 2017, arXiv:1711.04735"
    return [
        ("one layer's largest value, a hundred times", sums[:, -1].mean(), depth * single, noise,
         "Tracy-Widom mean at finite width; Johnstone 2001", "=",
         f"the largest singular values of {depth} Gaussian layers multiply to 10^{{measured:.2f}}"),
        ("largest value of a shallow product", tops[:, shallow].mean(), edge[shallow], 4 * n ** (-2 / 3),
         f"{pennington}; an edge moves with width like n^(-2/3)", "=",
         "the product of 4 Gaussian layers has a largest singular value of 10^{measured:.3f}"),
        ("largest value of the deep product", tops[:, -1].mean(), edge[-1], 4 * np.std(tops[:, -1]) / seeds**0.5,
         f"{pennington}; finite width stays below", "<=",
         f"the product of {depth} Gaussian layers stretches at most 10^{{measured:.2f}} times"),
        ("the gap", (sums[:, -1] - tops[:, -1]).mean(), depth * single - edge[-1], noise + 0.5,
         "the two lines above; half a decade for the product's own finite width", "=",
         "directions fail to line up by 10^{measured:.1f}"),
        ("orthogonal control", largest, 0.0, rounding,
         "every singular value of an orthogonal product is 1; rounding of each layer, n ε", "=",
         "orthogonal layers stretch nothing, alone or together: largest |ln σ| {measured:.1e}"),
    ]  # fmt: skip


def _epsilon(result) -> float:
    """ε of the networks' dtype, which the arrays have kept: a run without 64 bits is judged by its own."""
    return float(np.finfo(result["orthogonal_sum_of_logs"].dtype).eps)


def _rows_on_all(config: Config, result) -> list[tuple]:
    n, seeds, depth, exact = config.spectrum_width, config.seeds, config.spectrum_depths[-1], result["exponents"]
    last, naive = result["spectra"][:, -1], result["naive"][-1, -1]
    noise = np.sqrt(trigamma((n - np.arange(n)) / 2) / 4 / depth / seeds)  # of ln |R_ii| over depth layers
    deviations = (last.mean(axis=0) / depth - exact) / noise
    wide, most = np.log(1 - (np.arange(n) + 0.5) / n) / 2, slice(0, int(0.9 * n))
    # what float64 cannot see, float32 cannot either
    floor = last[0, 0] + np.log(np.finfo(np.float64).eps) - np.log(n) - 5
    return [
        ("rate of every singular value", np.sqrt(np.mean(deviations**2)), 0.0, 2.0,
         "Newman 1986; deviations in standard errors of ln |R_ii|, ψ'((n−i+1)/2)/4 a layer", "=",
         f"all {n} rates at depth {depth} lie {{measured:.2f}} standard errors (rms) from the exact ones"),
        ("triangular law", float(np.sqrt(np.mean((last.mean(axis=0) / depth - wide)[most] ** 2))), 0.0,
         1 / n + np.log(n) / depth, "½ ln(1 − x), x = i/N, infinite width; Newman 1986", "=",
         "nine tenths of the rates are those of infinite width to {measured:.3f} (rms)"),
        ("the two largest", (last[:, 0] - last[:, 1]).mean() / depth, exact[0] - exact[1],
         4 * np.hypot(noise[0], noise[1]), "Newman 1986; near 1 / (2N)", "=",
         "the two largest rates differ by {measured:.4f} a layer"),
        ("condition number", (last[:, 0] - last[:, -1]).mean() / depth, exact[0] - exact[-1],
         4 * np.hypot(noise[0], noise[-1]) + np.log(n) / depth,
         "difference of the first and last exponent, Newman 1986; ln n for the alignment at both ends", "=",
         "each layer multiplies the condition number by e^{measured:.3f}"),
        ("product first, then SVD", naive - last[0, -1], floor - last[0, -1], 0.0,
         "backward stability of the SVD: values below ε σ_1 are rounding", ">=",
         f"multiplying {depth} layers first puts the smallest ln σ {{measured:.0f}} nats too high"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Left: largest values with depth. Middle: all of them, and the wrong ones. Right: the condition number."""
    fig, axes = plotting.figure(
        1,
        3,
        "What one layer stretches, the next rarely stretches again; what layers squeeze, they squeeze for good",
        width=14,
        height=4.8,
    )
    _plot_largest(axes[0, 0], config, result)
    _plot_all(fig, axes[0, 1], config, result)
    _plot_condition(axes[0, 2], config, result)
    return fig


def _plot_largest(ax, config: Config, result) -> None:
    depths = np.array(config.depths)
    sums, tops = np.exp(result["gaussian_sum_of_logs"]), np.exp(result["gaussian_log_of_product"])
    ax.fill_between(depths, np.median(tops, 0), np.median(sums, 0), color="#e8e8e8", label="gap: not lined up")
    plotting.theory(ax, depths, 2.0**depths, "Gaussian, theory: 2^L", 0)
    plotting.measured(ax, depths, sums, "Gaussian: product of the layers' largest", 0)
    plotting.theory(ax, depths, np.exp(result["edge"]), "Gaussian, theory: √((L+1)^(L+1) / L^L)", 1)
    plotting.measured(ax, depths, tops, "Gaussian: largest of the product", 1)
    plotting.theory(ax, depths, 1.0 + 0 * depths, "orthogonal, theory: 1", 4)
    plotting.measured(ax, depths, np.exp(result["orthogonal_sum_of_logs"]), "orthogonal: product of largest", 4)
    plotting.measured(ax, depths, np.exp(result["orthogonal_log_of_product"]), "orthogonal: largest of product", 6)
    ax.set(xscale="log", yscale="log", xlabel="depth L (layers)", ylabel="largest stretching (singular value)")
    ax.set_title(f"The gap (width {config.width}, {config.seeds} seeds)")
    ax.legend(fontsize=6.5, loc="upper left")


def _plot_all(fig, ax, config: Config, result) -> None:
    depths, values, n = np.array(config.spectrum_depths), result["spectra"][0], config.spectrum_width
    floor = values[:, 0] + np.log(_epsilon(result))
    ax.fill_between(depths, floor, values[:, -1].min(), hatch="//", facecolor="none", edgecolor="#cccccc", linewidth=0)
    rank = np.broadcast_to(np.arange(1, n + 1), values.shape)
    points = ax.scatter(np.broadcast_to(depths[:, None], values.shape), values, c=rank, s=5, label="measured", zorder=3)
    for number, i in enumerate((0, n // 4, n // 2, 3 * n // 4, n - 1)):
        label = "exact rates λ_i L" if number == 0 else f"exact rate, i = {i + 1}"
        shown = label if number == 0 else f"_{label}"  # an underscore keeps it out of the legend
        ax.plot(depths, result["exponents"][i] * depths, "--", color="black", linewidth=0.8, label=shown)
    ax.plot(
        depths, result["naive"][:, -1], "x", color=plotting.COLOURS[6], label="smallest by product, then SVD", zorder=4
    )
    fig.colorbar(points, ax=ax, label="rank i of the singular value", pad=0.02)
    ax.set(xlabel="depth L (layers)", ylabel="ln σ_i of the product")
    ax.set_title(f"All {n} values; hatched: what product-then-SVD cannot see")
    ax.legend(fontsize=7, loc="lower left")


def _plot_condition(ax, config: Config, result) -> None:
    depths = np.array(config.spectrum_depths)
    exponents, naive, ten = result["exponents"], result["naive"], np.log(10)
    condition = (result["spectra"][:, :, 0] - result["spectra"][:, :, -1]) / ten
    plotting.theory(ax, depths, (exponents[0] - exponents[-1]) * depths / ten, "theory: (λ_1 − λ_n) L", 0)
    plotting.measured(ax, depths, condition, "exact product", 0)
    ax.plot(
        depths, (naive[:, 0] - naive[:, -1]) / ten, "x", color=plotting.COLOURS[6], label="product, then SVD: stuck"
    )
    ax.set(xscale="log", yscale="log", xlabel="depth L (layers)", ylabel="log10 of the condition number σ_1 / σ_n")
    ax.set_title("A condition number of 10^16 within 20 layers")
    ax.legend(fontsize=7, loc="upper left")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
