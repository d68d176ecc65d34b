"""How tokens become vectors: a row for each token of a vocabulary, and one for each position."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import floating
from gradjax.initializers import normal
from gradjax.numerics import as_key
from gradjax.room import axis


@dataclass(frozen=True)
class Embedding:
    """The pure function (parameters, x) ↦ rows of the table at the ids x, plus the positions' rows."""

    def __call__(self, parameters: dict[str, Array], x: Array) -> Array:
        positions = parameters["positions"]
        if x.shape[:1] != positions.shape[:1]:
            raise ValueError(f"x has shape {x.shape}, expected {len(positions)} tokens")
        if "table" not in parameters:
            return x + positions
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"x has dtype {x.dtype}, expected integers: the ids of tokens")
        return parameters["table"][x] + positions


def embedding(
    key: Array, tokens: int, width: int, vocabulary: int | None = None, std: float = 0.02, dtype=jnp.float32
) -> Partial:
    """The first layer of a transformer, a callable pytree: ids (tokens,), or vectors (tokens, width) → (tokens, width).

    Args:
        key: a random key, or a seed in [0, 2³²).
        tokens: the length of the sequence.
        width: of each token.
        vocabulary: how many tokens there are; None where vectors enter, to which only the positions are added.
        std: of the normal distribution of both tables.
        dtype: of the parameters.

    >>> layer = embedding(jax.random.key(0), 2, 3, std=0.0)
    >>> print(layer(jnp.ones((2, 3)))[0])
    [1. 1. 1.]
    """
    tokens, width, dtype = axis("tokens", tokens), axis("width", width), floating(dtype)
    draw, (of_tokens, of_positions) = normal(std), jax.random.split(as_key(key))
    parameters = {"positions": draw(of_positions, (tokens, width), dtype)}
    if vocabulary is not None:
        parameters["table"] = draw(of_tokens, (axis("vocabulary", vocabulary), width), dtype)
    return Partial(Embedding(), parameters)
