"""Products of random layers, for comparison with the spectra that theory gives."""

import numpy as np
from scipy.special import ndtri


def random_product(activation_slopes, weights, depth, width, seed):
    """Squared singular values of prod D W; the slopes take their quantiles in random order, so no share fluctuates."""
    rng = np.random.default_rng(seed)
    quantiles = ndtri((np.arange(width) + 0.5) / width)
    product = np.eye(width)
    for _ in range(depth):
        gaussian = rng.standard_normal((width, width))
        w = gaussian / np.sqrt(width) if weights == "gaussian" else np.linalg.qr(gaussian)[0]
        product = activation_slopes(rng.permutation(quantiles))[:, None] * (w @ product)
    return np.linalg.svd(product, compute_uv=False) ** 2
