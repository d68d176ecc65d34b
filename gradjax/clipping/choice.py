"""Many clips in one compiled program: the one that acts is a number, and a stacked leaf is clipped layer by layer."""

from collections.abc import Callable, Sequence

import jax
import optax
from jax import Array

from gradjax.arguments import as_function, as_transformation, is_transformation, listed, whole
from gradjax.numerics import is_concrete


def one_of(transformations: Sequence[optax.GradientTransformation], index: int | Array) -> optax.GradientTransformation:
    """The transformation of this index, which may be traced: u = transformations[index].update(g).

    All their states are kept, and the others' stay as they are. Under `vmap` over anything but the index only the
    chosen one is computed; under `vmap` over the index all of them are.

    Args:
        transformations: at least one, whose updates agree in structure and dtypes.
        index: in [0, len(transformations)); out of range it is the nearest of them.

    Raises:
        ValueError: no transformations.

    >>> import jax.numpy as jnp
    >>> clip = one_of([optax.identity(), optax.clip(1.0)], 1)
    >>> print(clip.update(jnp.array([3.0]), clip.init(jnp.zeros(1)))[0])
    [1.]
    """
    if is_transformation(transformations):  # a named tuple: it could be gone through
        raise ValueError("transformations is one transformation, expected a sequence of them")
    made = tuple(listed("transformations", transformations, "optax transformations"))
    if not made:
        raise ValueError("transformations is empty, expected at least one")
    for place, one in enumerate(made):
        as_transformation(f"transformations[{place}]", one)
    index = whole("index", index, -(2**31)) if is_concrete(index) else index

    def init(params):
        return tuple(each.init(params) for each in made)

    def update(updates, state, params=None):
        def branch(i: int) -> Callable:
            def run(updates, state):
                result, new = made[i].update(updates, state[i], params)
                return result, (*state[:i], new, *state[i + 1 :])

            return run

        return jax.lax.switch(index, [branch(i) for i in range(len(made))], updates, state)

    return optax.GradientTransformation(init, update)


def by_layer(transformation: optax.GradientTransformation, stacked: Callable) -> optax.GradientTransformation:
    """The transformation applied to each layer of a stacked leaf on its own: u_l = f(g_l, θ_l).

    A clip that works leaf by leaf takes a leaf (depth, in, out) for one layer, and mixes the layers' norms.

    Args:
        transformation: one that works leaf by leaf and keeps no state.
        stacked: `leaf -> bool`, which leaves hold a layer for each index of their first axis.

    >>> import jax.numpy as jnp
    >>> rms = by_layer(optax.clip_by_block_rms(1.0), lambda leaf: leaf.ndim == 2)
    >>> g = jnp.array([[0.5, 0.5], [4.0, 4.0]])
    >>> print(rms.update(g, rms.init(g), g)[0].tolist())
    [[0.5, 0.5], [1.0, 1.0]]
    """
    transformation, stacked = (
        as_transformation("transformation", transformation),
        as_function("stacked", stacked, "leaf -> bool"),
    )

    def alone(g, p):
        return transformation.update(g, transformation.init(p), p)[0]

    def of_leaf(g, p):
        return jax.vmap(alone)(g, p) if stacked(g) else alone(g, p)

    return optax.stateless(lambda updates, params: jax.tree.map(of_leaf, updates, params))
