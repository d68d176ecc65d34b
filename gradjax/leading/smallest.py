"""The smallest singular values of an invertible network's Jacobian, without the product, at any depth.

They are far below the rounding of any product of the layers; in the product of the inverses, taken from the last layer
to the first, they are the leading ones.
"""

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.arguments import flag
from gradjax.chain import depth_of
from gradjax.chain.forward import forward
from gradjax.leading import inverse
from gradjax.leading.iteration import Route, admitted, leading_values
from gradjax.numerics import norm_dtype, real_size

WIDEST_FORMED = 2048  # a layer's Jacobian of this width takes 32 MB in float64
COARSEST = 1e4  # rounding units that the tolerance may not go below, as in `gradjax.products`


def trailing_log_singular_values(
    layers,
    x,
    k: int,
    *,
    tolerance: float = 1e-6,
    passes: int | None = None,
    key: Array | int = 0,
    formed: bool | None = None,
) -> Array:
    """The k smallest singular values of the input–output Jacobian at x, in log: ln σ_{n−k+1} ≥ … ≥ ln σ_n.

    1 / σ_n ≥ … are the leading singular values of J_1⁻¹ … J_L⁻¹. Each layer is inverted on its own.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`), each with as
            many outputs as inputs, and invertible at the activation that x brings there.
        x, k, tolerance, passes, key: as in `leading_log_singular_values`.
        formed: whether each layer's own Jacobian is formed, one at a time, and eliminated; by default up to width 2048.
            If not, conjugate gradients solve with jvp and vjp alone, until the residual allows for `tolerance` (or for
            10⁴ rounding units): for layers whose condition number is up to about 50, such as residual blocks.

    Returns:
        (k,), descending: the end of the whole spectrum; NaN for a value that drowns because a layer's inverse
        stretches another direction 1/ε times more (a saturated unit's: σ_n alone is then known). Inside a trace all
        are NaN where a layer cannot be inverted. Memory: the activations and (k + 8) · width; beside them width² for
        the layer at hand where it is formed, and 4 (k + 8) · width where not.

    Raises:
        ValueError: as in `leading_log_singular_values`; a layer that has not as many outputs as inputs, or whose
            Jacobian is singular to rounding, such as a ReLU's with a dead unit (its index is named): σ_n is then 0,
            and `gradjax.spectra.jacobian_spectrum` says how many are.

    Source: Rutishauser (1970), simultaneous iteration, on the inverse; Paige, Saunders (1982) for the least squares.

    >>> import jax.numpy as jnp
    >>> values = trailing_log_singular_values([lambda h: h * jnp.array([1.0, 8.0, 2.0])], jnp.ones(3), 2)
    >>> print((values / jnp.log(2.0)).round(4) + 0)
    [1. 0.]
    """
    formed = None if formed is None else flag("formed", formed)
    entries, x, k, tolerance, passes = admitted(layers, x, k, tolerance, passes)
    _raise_where_not_square(entries, x)
    rounding, depth = float(jnp.finfo(norm_dtype(x)).eps), sum(depth_of(entry) for entry in entries)
    limit = max(max(tolerance, COARSEST * rounding) / (10 * depth), 50 * rounding)
    route = FORMED if formed or (formed is None and real_size(x) <= WIDEST_FORMED) else BY_PRODUCTS
    inverses = leading_values(route, entries, x, k, tolerance=tolerance, limit=limit, passes=passes, key=key)
    return jnp.where(jnp.isneginf(inverses), jnp.nan, -inverses)[::-1]


def _raise_where_not_square(entries, h) -> None:
    index = 0
    for entry in entries:
        out = jax.eval_shape(lambda h, entry=entry: forward([entry], h), h)
        inputs, outputs = real_size(h), real_size(out)
        if inputs != outputs:
            raise ValueError(
                f"layers[{index}] maps {inputs} numbers to {outputs}, expected as many outputs as inputs: only such a "
                "layer has an inverse; gradjax.spectra.jacobian_spectrum takes any widths"
            )
        h, index = out, index + depth_of(entry)


SINGULAR = (
    "has a singular Jacobian, to rounding, expected an invertible layer: gradjax.spectra.jacobian_spectrum counts "
)
SINGULAR += "the singular values that are zero"
UNSOLVED = "could not be inverted by jvp and vjp alone to the tolerance: its Jacobian is singular or ill-conditioned; "
UNSOLVED += "raise tolerance, or pass formed=True"
FORMED = Route(inverse.solve_formed, inverse.solve_formed_transposed, True, "trailing", SINGULAR)
BY_PRODUCTS = Route(inverse.solve_by_products, inverse.solve_by_products_transposed, True, "trailing", UNSOLVED)
