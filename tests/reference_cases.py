"""Numbers that every supported version of jax must give: ``python tests/reference_cases.py`` writes them anew.

They stand in ``reference.json``, made by the oldest supported jax in float64, and in float32 where the draws are its
own. They are written anew only where what is computed has changed, never because a version disagrees. The weights are
whole numbers over a power of two, which both precisions hold; the generator is NumPy's frozen one.
"""

import json
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import platform_cases
from jax.tree_util import Partial

from gradjax import gradients, jacobians, products
from gradjax.chain import Stack
from gradjax.clipping import CLIPPERS
from gradjax.diagnosis import diagnose
from gradjax.initializers import INITIALIZERS
from gradjax.networks import mlp
from gradjax.platforms import platform_tolerance
from gradjax.sweep import sweep
from gradjax.theory import meanfield
from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.training import train

FILE = Path(__file__).with_name("reference.json")
DEPTH, WIDTH, STEPS = 12, 16, 5
# by name, for a new line in either table is no reason to write these numbers anew
CLIPPED = (
    "global_norm", "value", "block_rms", "unit_norm", "adaptive", "per_example_global_norm", "per_example_layer_norm",
    "normalize_by_update_norm", "normalize", "sign", "trust_ratio", "percentile", "autoclip", "zclip",
)  # fmt: skip
INITIALIZED = (
    "normal", "truncated_normal", "uniform", "he_normal", "glorot_uniform", "lecun_normal", "variance_scaling",
    "standard_uniform", "mean_field", "mean_field_he", "orthogonal", "scaled_orthogonal", "looks_linear",
)  # fmt: skip
CONDITION = 10  # of a Gaussian 8 x 4 matrix: so many times what rounding does to its entries is done to its Q


def whole(*shape):
    """Numbers in [-7/16, 7/16), uniform: as kernels of width 16 they have a weight scale of 1.01."""
    return 7 / 16 * np.random.RandomState(0).randint(-(2**20), 2**20, shape) / 2**20


def network(dtype, depth=DEPTH):
    return [Stack(Partial(lambda kernel, h: jnp.tanh(h @ kernel), jnp.asarray(whole(depth, WIDTH, WIDTH), dtype)))]


def starting(dtype):
    return jnp.asarray(np.arange(1, WIDTH + 1) / 8 - 1, dtype)


def norms(dtype):
    """ln of the norms of gradients, backward signals and layer Jacobians."""
    layers, x = network(dtype), starting(dtype)

    def loss(y):
        return jnp.sum(y * x) + jnp.sum(y**2)

    found = [
        gradients.log_gradient_norms(loss, layers, x),
        gradients.log_signal_norms(loss, layers, x),
        jacobians.log_jacobian_norms(layers, x),
    ]
    return np.concatenate(found), platform_tolerance(dtype, DEPTH, WIDTH)


def singular_values(dtype):
    """ln of the singular values of a product of given factors, either side's within its bound."""
    values, errors = products.log_singular_values_with_error(jnp.asarray(whole(2 * DEPTH, 8, 8), dtype))
    return np.asarray(values), 2 * np.asarray(errors)


def theory(dtype):
    found = [*platform_cases.predicted(), meanfield.critical_weight_std("tanh", 0.3), *gaussian_product_exponents(4, 1)]
    return np.array(found), platform_cases.THEORY * np.abs(found)


def clipping(dtype):
    """Three entries of what clippers leave of one gradient."""
    given = {"kernel": jnp.asarray(4 * whole(6, 4), dtype), "bias": jnp.asarray(whole(4), dtype)}
    weights = jax.tree.map(lambda leaf: leaf[::-1] / 4, given)

    def clipped(given, weights):
        for clipper in (CLIPPERS[name] for name in CLIPPED):
            transformation = clipper()
            each = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), given) if clipper.per_example else given
            left, _ = transformation.update(each, transformation.init(weights), weights)
            yield left["kernel"][0, 0], left["kernel"][5, 3], left["bias"][1]

    found = np.ravel(jax.jit(lambda *trees: list(clipped(*trees)))(given, weights))
    return found, platform_tolerance(dtype, 1, 28) * np.abs(found)


def training(dtype):
    """Loss and ln of gradient norms of a few small steps, which amplify nothing: as many layers, there and back."""
    x = jnp.asarray(8 * whole(6, WIDTH), dtype)
    layers, targets = network(dtype, 3), jnp.sin(x)

    def loss(outputs, targets):
        return jnp.mean((outputs - targets) ** 2)

    trace = train(layers, loss, optax.sgd(0.125), (x, targets), steps=STEPS).trace
    found = np.concatenate([np.log(trace.loss), np.ravel(trace.log_gradient_norms)])
    return found, platform_tolerance(dtype, 2 * 3 * STEPS, WIDTH)


def draws(dtype):
    """Three entries of one matrix from initializers."""
    drawing = [INITIALIZERS[name] for name in INITIALIZED]
    matrices = np.array(jax.jit(lambda key: [draw(key, (8, 4), dtype) for draw in drawing])(jax.random.key(5)))
    growth = [1.0 if each.singular_value is None else CONDITION for each in drawing]
    allowed = [platform_tolerance(dtype, 1, 8, g) * np.abs(m).max() for g, m in zip(growth, matrices, strict=True)]
    return matrices[:, [0, 3, 7], [0, 2, 3]].ravel(), np.repeat(allowed, 3)


def grid(dtype):
    """ln of a signal's norm behind some layers, each cell's weights drawn from its own key."""

    def cell(key, gain, tilt):
        kernels = gain * jax.random.uniform(key, (4, WIDTH, WIDTH), dtype, -1, 1) * (3 / WIDTH) ** 0.5
        h = jax.lax.fori_loop(0, 4, lambda i, h: jnp.tanh(h @ kernels[i] + tilt), starting(dtype))
        return jnp.log(jnp.linalg.norm(h))

    axes = {"gain": np.array([0.5, 1.0], dtype), "tilt": np.array([0.0, 0.25], dtype)}
    return np.ravel(sweep(cell, axes, seed=3)), platform_tolerance(dtype, 4, WIDTH)


# one truth for both precisions, and numbers that each precision draws for itself
SHARED = {f.__name__: f for f in (norms, singular_values, theory, clipping, training)}
DRAWN = {f.__name__: f for f in (draws, grid)}


def words():
    """The verdict on a network that vanishes, and random bits: equal in every letter and bit."""
    layers = mlp(0, [WIDTH] * (2 * DEPTH + 1), "relu", "lecun_normal")
    found = diagnose(layers, jnp.ones(WIDTH), jnp.sum, singular_values=False)
    bits = jax.random.bits(jax.random.fold_in(jax.random.key(7), 1), (4,), "uint32")
    return {"verdict": found.verdict().splitlines(), "bits": np.asarray(bits).tolist()}


def reference():
    """All of it, as JSON values."""
    made = {"jax": jax.__version__, "python": platform.python_version(), "machine": platform.machine()}
    numbers = {"made with": made}
    with jax.enable_x64(False):
        numbers |= words() | {f"{name}, float32": case("float32")[0].tolist() for name, case in DRAWN.items()}
    with jax.enable_x64(True):
        numbers |= {f"{name}, float64": case("float64")[0].tolist() for name, case in DRAWN.items()}
        return numbers | {name: case("float64")[0].tolist() for name, case in SHARED.items()}


def compared(name, dtype):
    """What is found here, what is allowed between platforms, and what the file has."""
    found, allowed = (SHARED | DRAWN)[name](dtype)
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return found, allowed, np.array(stored[name if name in SHARED else f"{name}, {dtype}"])


if __name__ == "__main__":
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in reference().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
