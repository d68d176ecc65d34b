"""What platforms differ in, and by how much: instruction sets, compilers, and hardware that has no float64.

The same seed gives the same bytes on one platform with one set of versions. Between two of them, sums run in another
order, a product is fused with a sum or is not, and elementary functions differ in their last bits.
"""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp

ELEMENTARY = 8  # rounding units by which an activation and its derivative may be off


def platform_tolerance(dtype, depth: int, width: int = 1, growth: float = 1.0) -> float:
    """By how much two platforms may differ behind so many layers: relative for what has a norm, absolute for its ln.

    2 · growth · L (√n + 8) ε

    A layer is off by √n ε, the random walk of n rounded terms, and by a few ε of its activation; on either platform;
    and L layers add that up, at the highest matmul precision, which everything here asks for. A singular value of a
    layer κ times smaller than its largest is κ times less exact. Training amplifies a last bit without bound: its
    numbers have no tolerance.

    Args:
        dtype: of the network, a floating type.
        depth: L, at least 1.
        width: n, at least 1.
        growth: by how much the layers amplify a difference: 1 where they do not (ordered and critical networks),
            χ^(L/2) in chaos.

    Raises:
        ValueError: for a dtype that is not floating, and for numbers out of range.

    >>> f"{platform_tolerance('float32', 100, 64):.1e}"
    '3.8e-04'
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype is {dtype}, expected a floating type")
    for name, value, least in (("depth", depth, 1), ("width", width, 1), ("growth", growth, 1e-300)):
        if not value >= least:
            raise ValueError(f"{name} is {value}, expected {'a positive number' if name == 'growth' else 'at least 1'}")
    return 2 * growth * depth * (width**0.5 + ELEMENTARY) * float(jnp.finfo(dtype).eps)


@contextlib.contextmanager
def in_doubles(wanted: bool = True) -> Iterator[None]:
    """The context that computes in float64: on this device, or on the host's CPU where the device has none (a TPU).

    Args:
        wanted: False: in float32, wherever it stands.

    Only NumPy arrays may leave it: a JAX array of 64 bits is demoted by the next operation outside.

    >>> with in_doubles():
    ...     print(jnp.ones(()).dtype)
    float64
    """
    with contextlib.ExitStack() as stack:
        if wanted and jax.default_backend() == "tpu":
            with contextlib.suppress(RuntimeError):  # jax was told to have no CPU: its own device has to do
                stack.enter_context(jax.default_device(jax.local_devices(backend="cpu")[0]))
        stack.enter_context(jax.enable_x64(wanted))
        yield
