"""The singular spectrum of a network's input–output Jacobian at x, with depth.

J_l … J_1 explodes or vanishes in directions, not in numbers: one norm a layer hides that. Here is every singular value
of every prefix, in log space, each with a bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import real, wholes
from gradjax.chain import Stack, as_layers, depth_of
from gradjax.chain.door import as_sequence
from gradjax.jacobians import layer_jacobians
from gradjax.jacobians.plan import MEMORY
from gradjax.leading import leading_log_singular_values as leading_log_singular_values
from gradjax.leading import trailing_log_singular_values as trailing_log_singular_values
from gradjax.numerics import is_concrete
from gradjax.products import Runs, prefix_log_singular_values

DEFAULT_DEPTHS = 16  # a finishing step costs as much as many layers: not every depth unless asked for


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spectrum:
    """Log singular values of the first layers' Jacobian product, a row a depth.

    Attributes:
        depths: (d,), how many layers each row's product has; token ids' embedding does not count.
        count: (d,), how many singular values each row has: min(n_0, n_depth).
        log_singular_values: (…, d, k), natural logs, descending; −inf where the rank is lost for certain; rows with
            fewer than k values end in NaN. A batch leads.
        error: the same shape: a bound on the absolute error that the product adds (to Jacobians taken as exact);
            inf where a value is lost in rounding.
        dtype: in which the product was computed.
    """

    depths: np.ndarray
    count: np.ndarray
    log_singular_values: jax.Array
    error: jax.Array
    dtype: str = field(metadata={"static": True})


def jacobian_spectrum(
    layers,
    x,
    depths: Sequence[int] | None = None,
    *,
    tolerance: float = 1e-9,
    batch_axis: int | None = None,
    model: Callable | None = None,
    memory: int = MEMORY,
) -> Spectrum:
    """The singular values of the input–output Jacobian after each depth asked for: ln σ_i(J_l … J_1).

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation, or with `batch_axis=0` a batch; see `gradjax.jacobians.layer_jacobians`.
        depths: numbers of layers, each in [1, L]; by default all up to 16 layers, else 16 of them evenly spaced in
            the log, the last one L.
        tolerance: absolute error asked for in ln σ.
        batch_axis: None, or 0: one spectrum an example.
        model: the whole model, if there is one: refused where the layers compose to something else.
        memory: bytes that the Jacobians may take, see `gradjax.jacobians.layer_jacobians`.

    Returns:
        A `Spectrum`. Outside a trace the product of the Jacobians is taken in float64, on the host where the device has
        none (the Jacobians are those of the network's own dtype); inside one, in the network's dtype, at least float32.

    Raises:
        ValueError: see `gradjax.jacobians.layer_jacobians`; depths out of range.

    Source: Pennington, Schoenholz, Ganguli (2017, arXiv:1711.04735) for what the spectrum means; numerics in
    `gradjax.products`.

    >>> import jax.numpy as jnp
    >>> s = jacobian_spectrum([lambda h: 2 * h, lambda h: h * jnp.array([1.0, 0.0])], jnp.ones(2))
    >>> print(s.depths, (s.log_singular_values / jnp.log(2.0)).round(6).tolist())
    [1 2] [[1.0, 1.0], [1.0, -inf]]
    """
    tolerance, layers = real("tolerance", tolerance, "(0, inf)"), as_sequence(layers)
    chosen = None if depths is None else np.array(wholes("depths", depths), int)
    jacobians = layer_jacobians(layers, x, batch_axis=batch_axis, model=model, memory=memory)
    entries = as_layers(layers)[-len(jacobians) :]
    if is_concrete(jacobians) and jax.default_backend() != "tpu":
        jacobians = [np.asarray(j, np.float64) for j in jacobians]
    else:
        jacobians = [j if j.dtype == jnp.float64 else j.astype(jnp.float32) for j in jacobians]
    runs = Runs(tuple(_as_run(e, j) for e, j in zip(entries, jacobians, strict=True)))
    total = sum(depth_of(entry) for entry in entries)
    chosen = _default_depths(total) if chosen is None else chosen
    values, error = prefix_log_singular_values(runs, chosen, tolerance=tolerance)
    widths = np.concatenate([np.full(run.shape[-3], run.shape[-2]) for run in runs.arrays])
    count = np.minimum(runs.arrays[0].shape[-1], widths[chosen - 1])
    return Spectrum(chosen, count, values, error, str(values.dtype))


def _as_run(entry, jacobian):
    return jacobian if isinstance(entry, Stack) else jacobian[..., None, :, :]


def _default_depths(total: int) -> np.ndarray:
    if total <= DEFAULT_DEPTHS:
        return np.arange(1, total + 1)
    return np.unique(np.geomspace(1, total, DEFAULT_DEPTHS).round().astype(int))
