"""Numbers that two platforms must agree on: ``python tests/platform_cases.py FILE`` saves this platform's.

A platform is a kind of device, the compiler with its flags, a number of devices, a precision. The weights are whole
numbers over a power of two, the same to the last bit everywhere; at their scale tanh is critical, so that layers
neither damp nor amplify what differs.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from gradjax import gradients, jacobians, products
from gradjax.activations import ACTIVATIONS
from gradjax.chain import Stack
from gradjax.platforms import platform_tolerance
from gradjax.theory import finite_width, meanfield

DEPTH, WIDTH = 24, 16
NETWORKS = {"tanh": 1.0, "relu": 2.0**0.5}
THEORY = 1e-8  # what theory promises of its own error, on every platform


def kernels(weight_std):
    whole = np.random.default_rng(0).integers(-(2**20), 2**20, (DEPTH, WIDTH, WIDTH))
    return weight_std * (3 / WIDTH) ** 0.5 * whole / 2**20


def measured(name, dtype, weights):
    """By name: gradients and Jacobians over their norms, and the logs of those."""
    phi, x = ACTIVATIONS[name], jnp.asarray(np.arange(1, WIDTH + 1) / 8 - 1, dtype)
    layers = [Stack(Partial(lambda w, h: phi(h @ w), jnp.asarray(weights, dtype)))]

    def loss(y):
        return jnp.sum(y * x) + jnp.sum(y**2)

    (gradient,) = jax.tree.leaves(gradients.layer_gradients(loss, layers, x))
    each = np.asarray(jacobians.layer_jacobians(layers, x)[0])
    return {
        "gradient": _scaled(np.asarray(gradient)),
        "jacobians": _scaled(each),
        "log norms": np.asarray(gradients.log_gradient_norms(loss, layers, x)),
        "log signals": np.asarray(gradients.log_signal_norms(loss, layers, x)),
        "log Jacobians": np.asarray(jacobians.log_jacobian_norms(layers, x)),
    }


def _scaled(stacked):
    return stacked / np.linalg.norm(stacked, axis=(-2, -1), keepdims=True)


def predicted():
    """What theory says, as one array."""
    q = meanfield.length_fixed_point("tanh", 1.5, 0.3)
    spread = finite_width.log_squared_norm_moments([WIDTH] * DEPTH)
    scales = meanfield.depth_scales("erf", 1.5, 0.3)
    return np.array([q, meanfield.gradient_gain("gelu", 1.2, 0.3), spread.mean, spread.variance, scales.correlation])


def all_numbers():
    """Name -> numbers of this platform, in float32 and, where this process has it, float64."""
    dtypes = ("float32", "float64") if jax.config.read("jax_enable_x64") else ("float32",)
    found = {"theory": predicted()}
    for dtype in dtypes:
        for name, weight_std in NETWORKS.items():
            numbers = measured(name, dtype, kernels(weight_std))
            values, errors = products.log_singular_values_with_error(numbers["jacobians"])
            numbers |= {"largest singular value": values[:1], "singular values": values, "errors": errors}
            found |= {f"{dtype}, {name}, {what}": value for what, value in numbers.items()}
    return found


def beyond(one, two, dtype=None):
    """What differs by more than the stated tolerance between two platforms: name -> by how many times it.

    Args:
        one, two: of `all_numbers`; names that both have are compared.
        dtype: the coarser precision where the two have different ones; by default that in the name.
    """
    ratios = {}
    for name in one.keys() & two.keys():
        if name.endswith("errors"):
            continue
        kind = dtype or name.split(",")[0]
        allowed = THEORY * np.abs(one[name]) if name == "theory" else platform_tolerance(kind, DEPTH, WIDTH)
        if name.endswith(", singular values"):  # the smallest of a layer's are as much less exact as they are smaller
            errors = name.replace(", singular values", ", errors")
            allowed = (
                allowed * _condition(one[name.replace("singular values", "jacobians")]) + one[errors] + two[errors]
            )
        with np.errstate(invalid="ignore"):  # −inf of a dead direction, on both
            off = np.where(one[name] == two[name], 0.0, np.abs(one[name].astype(np.float64) - two[name]))
        ratios[name] = float((off / allowed).max())
    return ratios


def _condition(each):
    values = np.linalg.svd(each.astype(np.float64), compute_uv=False)
    return (values[:, 0] / np.maximum(values[:, -1], 1e-4 * values[:, 0])).max()


if __name__ == "__main__":
    np.savez(sys.argv[1], **all_numbers())
