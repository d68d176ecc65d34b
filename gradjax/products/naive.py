"""What is commonly done, kept for comparison: form the product, then take its singular values."""

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.platforms import in_doubles
from gradjax.products.factors import Runs, check_factors

HIGHEST = jax.lax.Precision.HIGHEST


def naive_log_singular_values(factors):
    """ln of the singular values of the product formed in floating point: noise below rounding times the largest one.

    Args:
        factors: as in `log_singular_values`.

    >>> import numpy as np
    >>> naive_log_singular_values(np.array([[[2.0, 0.0], [0.0, 1e-200]]] * 2)).round(6).tolist()
    [1.386294, -inf]
    """
    checked = check_factors(factors)
    if checked.numpy:
        with in_doubles(checked.runs.arrays[0].dtype == np.float64):
            return np.asarray(_product_then_svd(checked.runs))
    return _product_then_svd(checked.runs)


@jax.jit
def _product_then_svd(runs: Runs):
    product = runs.arrays[0][..., 0, :, :]
    for i, run in enumerate(runs.arrays):
        if i:
            product = jnp.matmul(run[..., 0, :, :], product, precision=HIGHEST)
        later = jnp.moveaxis(run[..., 1:, :, :], -3, 0)
        product, _ = jax.lax.scan(lambda p, layer: (jnp.matmul(layer, p, precision=HIGHEST), None), product, later)
    return jnp.log(jnp.linalg.svd(product, compute_uv=False))
