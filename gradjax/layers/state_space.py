"""The linear recurrent unit: a state of independent complex modes, each turned and shrunk by its own number a step.

z_t = λ z_{t−1} + γ B u_t with λ = exp(−e^ν + i e^θ): |λ| < 1 whatever the parameters, so nothing explodes, and |λ| may
be as near 1 as a memory wants. The state is kept as real pairs, (2, size) for real and imaginary part: its Jacobian is
then a real matrix, whose singular values are |λ|, each twice.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import floating, real, reals
from gradjax.numerics import as_key
from gradjax.room import axis


@dataclass(frozen=True)
class StateSpace:
    """The pure function (parameters, z, u) ↦ λ z + γ B u, with z and B u as real pairs."""

    def __call__(self, parameters: dict[str, Array], state: Array, u: Array) -> Array:
        real, imaginary = eigenvalues(parameters)
        x, y = state
        driven = jnp.einsum("i,cij->cj", u, parameters["input_kernel"]) * jnp.exp(parameters["log_gain"])[None]
        return jnp.stack([real * x - imaginary * y, imaginary * x + real * y]) + driven

    def start(self, parameters: dict[str, Array]) -> Array:
        """The zero state."""
        return jnp.zeros_like(parameters["input_kernel"][:, 0])


def eigenvalues(parameters: dict[str, Array]) -> tuple[Array, Array]:
    """Real and imaginary part of λ = exp(−e^ν + i e^θ)."""
    size, angle = jnp.exp(-jnp.exp(parameters["log_rate"])), jnp.exp(parameters["log_frequency"])
    return size * jnp.cos(angle), size * jnp.sin(angle)


def state_space(
    key: Array | int,
    size: int,
    input_size: int,
    *,
    radius: tuple[float, float] = (0.9, 0.999),
    largest_angle: float = 6.283185307179586,
    dtype=jnp.float32,
) -> Partial:
    """A linear recurrent unit, the callable pytree (state, input) ↦ state that `gradjax.chain.unroll` takes.

    Args:
        key: a random key, or a seed in [0, 2³²).
        size, input_size: modes of the state, and width of the input, at least 1.
        radius: least and greatest |λ| at the start, 0 < least <= greatest < 1; |λ|² is uniform between (uniform on
            the ring).
        largest_angle: the angles of λ are uniform on (0, largest_angle] at the start, above 0, in radians.
        dtype: of the parameters, a floating type.

    Returns:
        A `Partial` with parameters log_rate (ν), log_frequency (θ) and log_gain (ln γ), (size,), and input_kernel,
        (2, input_size, size), real and imaginary part. At the start γ = √(1 − |λ|²), which keeps the state's size.

    Raises:
        ValueError: a size below 1, radii that are no ring inside the unit circle, a bad angle or seed.

    Reference: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De (2023), arXiv:2303.06349.

    >>> cell = state_space(0, 3, 2, radius=(0.5, 0.5))
    >>> z = cell(jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), jnp.zeros(2))
    >>> print(f"{jnp.hypot(*z)[0]:.4f}")
    0.5000
    """
    size, input_size, dtype = axis("size", size), axis("input_size", input_size), floating(dtype)
    ends = reals("radius", radius, "(0, 1)", ranks=(1,)).tolist()
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError(f"radius is {radius!r}, expected 0 < least <= greatest < 1: |λ| of a stable unit")
    least, greatest = ends
    largest_angle = real("largest_angle", largest_angle, "(0, inf)")
    ring, turn, into = jax.random.split(as_key(key), 3)
    squares = jax.random.uniform(ring, (size,), dtype, least**2, greatest**2)
    angles = largest_angle * (1 - jax.random.uniform(turn, (size,), dtype))  # (0, largest]: ln 0 is no parameter
    parameters = {
        "log_rate": jnp.log(-jnp.log(squares) / 2),
        "log_frequency": jnp.log(angles),
        "log_gain": jnp.log1p(-squares) / 2,
        "input_kernel": jax.random.normal(into, (2, input_size, size), dtype) / (2 * input_size) ** 0.5,
    }
    return Partial(StateSpace(), parameters)
