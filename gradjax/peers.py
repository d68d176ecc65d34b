"""What else is done about the singular values of a long product; a fair race; and products whose values are known.

None of the other ways gives the small values: they are here to be compared with `gradjax.products`, in time and in
error. (The product followed by one `svd` is `gradjax.products.naive_log_singular_values`.)
"""

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import as_function, listed, numeric, real, reals, said, whole
from gradjax.numerics import HIGHEST


def plain_product(factors):
    """The product factors[…, -1] … factors[…, 0] alone: the floor of every way that looks at each factor.

    Args:
        factors: (…, depth, n, n).

    >>> import jax.numpy as jnp
    >>> print(plain_product(jnp.array([[[2.0]], [[3.0]]])))
    [[6.]]
    """
    return _plain_product(_admitted(factors))


@jax.jit
def _plain_product(factors):
    layers = jnp.moveaxis(factors, -3, 0)
    return jax.lax.scan(lambda p, layer: (jnp.matmul(layer, p, precision=HIGHEST), None), layers[0], layers[1:])[0]


def running_qr_logs(factors):
    """The growth of each direction of a running QR, Σ_l ln |R_l|_ii with J_l Q_{l-1} = Q_l R_l, descending.

    Lyapunov exponents are means of these. At any depth they are off the log singular values by some nats.

    Args:
        factors: (…, depth, n, n).

    >>> import jax.numpy as jnp
    >>> print(running_qr_logs(jnp.array([[[1.0, 1.0], [0.0, 1.0]]])))
    [0. 0.]
    """
    return _running_qr_logs(_admitted(factors))


@jax.jit
def _running_qr_logs(factors):
    def step(q, layer):
        q, r = jnp.linalg.qr(jnp.matmul(layer, q, precision=HIGHEST))
        return q, jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))

    layers = jnp.moveaxis(factors, -3, 0)
    start = jnp.broadcast_to(jnp.eye(factors.shape[-1], dtype=factors.dtype), layers[0].shape)
    return jnp.sort(jnp.sum(jax.lax.scan(step, start, layers)[1], axis=0), axis=-1)[..., ::-1]


def _admitted(factors):
    factors = numeric("factors", factors)
    if factors.ndim < 3 or factors.shape[-1] != factors.shape[-2] or 0 in factors.shape[-3:]:
        raise ValueError(f"factors has shape {factors.shape}, expected (..., depth, n, n) with no empty axis")
    return jnp.asarray(factors)


def pytorch_singular_values(factors) -> Callable[[], np.ndarray] | None:
    """A call of PyTorch that gives the singular values of the linear network with these layers; None without PyTorch.

    The Jacobian is `torch.func.vmap(jacrev)`, then `torch.linalg.svdvals`; the layers are on its device before the
    call, the one that jax uses.

    Args:
        factors: (…, depth, n, n), with at most one batch axis.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    weights = torch.tensor(np.asarray(factors), device=device)
    x = torch.zeros(weights.shape[-1], dtype=weights.dtype, device=device)

    def network(layers, h):
        for layer in layers:
            h = layer @ h
        return h

    jacobian = torch.func.jacrev(network, argnums=1)
    if weights.ndim == 4:
        jacobian = torch.func.vmap(jacobian, in_dims=(0, None))
    return lambda: torch.linalg.svdvals(jacobian(weights, x)).cpu().numpy()


def race(runs: Sequence[Callable | None], rounds: int, clock: Callable[[], float] = time.perf_counter) -> np.ndarray:
    """Seconds of each call in each round, (calls, rounds): one of each a round, so that all meet the same machine.

    Args:
        runs: functions without arguments; what they return is waited for. None is left out: zero seconds.
        rounds: at least 1, at most 10⁶; before them every function runs once, to be compiled.
        clock: seconds from any beginning.

    Raises:
        ValueError: fewer than one round.

    >>> ticks = iter(range(100))
    >>> race([lambda: 1, None], 3, clock=lambda: float(next(ticks)))
    array([[1., 1., 1.],
           [0., 0., 0.]])
    """
    as_function("clock", clock, "-> seconds")
    rounds, runs = whole("rounds", rounds, 1, 10**6), listed("runs", runs, "functions or None")
    for place, run in enumerate(runs):
        if run is not None:
            as_function(f"runs[{place}]", run, "without arguments")
    seconds = np.zeros((len(runs), rounds))
    for run in runs:
        if run is not None:
            jax.block_until_ready(run())
    for number in range(rounds):
        for index, run in enumerate(runs):
            if run is not None:
                began = clock()
                jax.block_until_ready(run())
                seconds[index, number] = clock() - began
    return seconds


def known_product(logs: np.ndarray, rng: np.random.Generator, mixing: float = 0.5) -> np.ndarray:
    """Dense layers whose product has known singular values, ln σ_i = Σ_l logs[l, i] (in no order), at any depth.

    J_l = A_l diag(e^logs_l) A_{l-1}^{-1}: neighbours agree, so that the values multiply. A_0 and A_L are random
    reflections H = I − 2 v vᵀ / vᵀv, those between H (I + mixing · G / √n) with G Gaussian, so that a product of fewer
    layers is as askew as one of Gaussian layers. Rounding the layers moves a value by about √depth · cond(J_l) units.

    Args:
        logs: (depth, n).
        rng: of the reflections and of G.
        mixing: from 0 (all A orthogonal: nothing is lost in their product) to 0.5.

    >>> layers = known_product(np.log([[2.0, 3.0], [5.0, 7.0]]), np.random.default_rng(0))
    >>> print(np.linalg.svd(layers[1] @ layers[0], compute_uv=False).round(6))
    [21. 10.]
    """
    logs, mixing = reals("logs", logs, ranks=(2,)), real("mixing", mixing, "[0, 0.5]")
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is {said(rng)}, expected a numpy.random.Generator")
    if not logs.size:
        raise ValueError(f"logs has shape {logs.shape}, expected at least one layer and one unit")
    depth, width = logs.shape
    v = rng.standard_normal((depth + 1, width))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    frames = np.eye(width) - 2 * v[:, :, None] * v[:, None, :]
    skew = rng.standard_normal((depth - 1, width, width)) * (mixing / width**0.5)
    frames[1:-1] += frames[1:-1] @ skew
    return (frames[1:] * np.exp(logs)[:, None, :]) @ np.linalg.inv(frames[:-1])
