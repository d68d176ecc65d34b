"""The table that showed that the universe expands: small enough to print, so that a fit can be checked by hand."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradjax.arguments import floating

# Table 1: distance in 10^6 parsecs, velocity in km/s, in the paper's order; the first two are the Magellanic Clouds.
TABLE = (
    (0.032, 170), (0.034, 290), (0.214, -130), (0.263, -70), (0.275, -185), (0.275, -220), (0.45, 200), (0.5, 290),
    (0.5, 270), (0.63, 200), (0.8, 300), (0.9, -30), (0.9, 650), (0.9, 150), (0.9, 500), (1.0, 920),
    (1.1, 450), (1.1, 500), (1.4, 500), (1.7, 960), (2.0, 500), (2.0, 850), (2.0, 800), (2.0, 1090),
)  # fmt: skip


class Nebulae(NamedTuple):
    """Distances (nebulae,) in millions of parsecs and velocities (nebulae,) in km/s, above zero where they recede."""

    distance: Array
    velocity: Array


def hubble_1929(*, dtype=float) -> Nebulae:
    """Return the 24 nebulae (galaxies, we say now) whose distances Hubble set beside their velocities.

    The velocities are those measured, not corrected for the motion of the sun. The distances are about seven times too
    small, as was found later.

    Args:
        dtype: of both, a floating type.

    Raises:
        ValueError: another dtype.

    Reference: Hubble (1929), A relation between distance and radial velocity among extra-galactic nebulae, Proceedings
    of the National Academy of Sciences 15, 168, table 1.

    >>> table = hubble_1929()
    >>> len(table.distance), float(table.velocity.mean())
    (24, 373.125)
    """
    dtype = floating(dtype)
    distance, velocity = zip(*TABLE, strict=True)
    return Nebulae(jnp.array(distance, dtype), jnp.array(velocity, dtype))
