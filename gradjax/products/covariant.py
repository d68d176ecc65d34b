"""The singular vectors of a long product, carried to every layer in between.

The right singular vector v_i, pushed through the first l factors, points along z_i; the left one, pulled back through
the others, along w_i; and d ln sigma_i = sum over l of w_i^T dJ_l z_i / w_i^T J_l z_i, which never needs the product.
Neither can be had by multiplying: rounding grows along the leading directions and drowns all others. The orthonormal
images Q_l of v_1 … v_i do stay right (J_l Q_{l-1} = Q_l R_l); z_i is a combination of the first i of them, and its
coefficients are found going backward, where the triangular solves with R_l damp errors instead of feeding them: the
covariant Lyapunov vectors of Ginelli et al. 2007 (arXiv:0706.0510), between two given ends. The w_i are the same for
the transposed chain.
"""

import jax.numpy as jnp
from jax import Array, lax

from gradjax.products.pivoted import HIGHEST
from gradjax.products.plan import resized


def orthonormal_images(stacks: list[Array], start: Array) -> tuple[Array, list[tuple[Array, Array]]]:
    """The orthonormalized images of the columns of `start` after all factors; and, for each stack, those before, and R.

    Each factor is brought to size one first, so that huge and tiny entries do not leave the range.
    """
    found, frame = [], start
    for stack in stacks:
        frame = resized(frame, stack.shape[-1])
        frame, steps = lax.scan(_orthonormal_step, frame, stack)
        found.append(steps)
    return frame, found


def _orthonormal_step(frame: Array, layer: Array) -> tuple[Array, tuple[Array, Array]]:
    largest = jnp.max(jnp.abs(layer))
    layer = layer / jnp.where(largest == 0, 1.0, largest)
    image, triangle = jnp.linalg.qr(jnp.matmul(layer, frame, precision=HIGHEST))
    sign = jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0).astype(image.dtype)
    return image * sign[None, :], (frame, triangle * sign[:, None])


def carried_vectors(stacks: list[Array], start: Array, live: Array) -> list[Array]:
    """For each stack, (m, n, k): the unit image of each column of `start` before each factor, 0 where not live.

    start: (n_0, k), orthonormal, its images after the last factor too. live: (k,), the first so many of them.
    """
    _, steps = orthonormal_images(stacks, start)
    mixture, found = jnp.eye(start.shape[1], dtype=start.dtype), []

    def back(mixture: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        frame, triangle = step
        mixture = _before(mixture, triangle, live)
        vectors = jnp.matmul(frame, mixture, precision=HIGHEST)
        lengths = jnp.sqrt(jnp.sum(vectors**2, axis=0))
        return mixture, jnp.where(
            (live & (lengths > 0))[None, :], vectors / jnp.where(lengths > 0, lengths, 1.0)[None, :], 0.0
        )

    for step in reversed(steps):
        mixture, vectors = lax.scan(back, mixture, step, reverse=True)
        found.append(vectors)
    return found[::-1]


def _before(mixture: Array, triangle: Array, live: Array) -> Array:
    """The coefficients one factor earlier, R⁻¹ · mixture with unit columns; the identity where not live."""
    both = live[:, None] & live[None, :]
    identity = jnp.eye(mixture.shape[0], dtype=mixture.dtype)
    dead = (identity > 0) & (triangle == 0)  # a division by zero otherwise
    usable = jnp.where(both & ~dead, triangle, identity)
    earlier = lax.linalg.triangular_solve(usable, mixture, left_side=True, lower=False)
    earlier = earlier / jnp.max(jnp.abs(earlier), axis=0)[None, :]
    return jnp.where(both & jnp.isfinite(earlier), earlier, identity)


def reversed_chain(stacks: list[Array]) -> list[Array]:
    """The factors of the transposed product."""
    return [jnp.swapaxes(stack, -1, -2)[::-1] for stack in reversed(stacks)]


def sensitivities(stacks: list[Array], left: Array, right: Array, live: Array) -> list[tuple[Array, Array]]:
    """For each stack, w and z (m, n, k) with d ln sigma_i = sum of w_i^T dJ z_i over its factors.

    left, right: (n_L, k), (n_0, k), singular vectors in descending order. live: (k,), those of nonzero values.
    """
    ahead = carried_vectors(stacks, right, live)
    behind = carried_vectors(reversed_chain(stacks), left, live)
    pairs = []
    for stack, z, w in zip(stacks, ahead, reversed(behind), strict=True):
        w = w[::-1]
        met = jnp.sum(w * jnp.matmul(stack, z, precision=HIGHEST), axis=1, keepdims=True)
        pairs.append((jnp.where(met == 0, 0.0, w / jnp.where(met == 0, 1.0, met)), z))
    return pairs


def change(pairs: list[tuple[Array, Array]], tangents: list[Array]) -> Array:
    """d ln sigma for a change of every factor: linear in the tangents, (k,)."""
    total = jnp.zeros(pairs[0][0].shape[-1], pairs[0][0].dtype)
    for (w, z), tangent in zip(pairs, tangents, strict=True):
        total = total + jnp.sum(w * jnp.matmul(tangent, z, precision=HIGHEST), axis=(0, 1))
    return total


def cluster_mean(values: Array, changes: Array, near: float) -> Array:
    """Each change replaced by the mean over the values that coincide with its own within `near`, chained; 0 at −inf."""
    finite = jnp.isfinite(values)
    safe = jnp.where(finite, values, 0.0)
    apart = jnp.concatenate([jnp.zeros(1, bool), (safe[:-1] - safe[1:] > near) | (finite[:-1] != finite[1:])])
    label = jnp.cumsum(apart)
    same = (label[:, None] == label[None, :]).astype(changes.dtype)
    mean = jnp.matmul(same, changes, precision=HIGHEST) / jnp.sum(same, axis=1)
    return jnp.where(finite, mean, 0.0)


def complete(vectors: Array) -> Array:
    """The orthonormal columns with the zero ones after them replaced by an orthonormal rest."""
    basis, triangle = jnp.linalg.qr(vectors)
    return basis * jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0).astype(basis.dtype)[None, :]
