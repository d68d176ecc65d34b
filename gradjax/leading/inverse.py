"""J⁻¹ B and J⁻ᵀ B of one layer: by elimination where its Jacobian may be formed, else by jvp and vjp alone.

Elimination first scales rows, then columns, by powers of two: a saturated unit (a row of 1e-20) is small but no zero,
and which pivots are lost in rounding can only be told where all lines are of one size.

Without forming J least squares is solved by conjugate gradients (CGLS), whose residual falls by about (1 − 2/cond J) a
step whatever the eigenvalues; GMRES would keep every step's block, and fails on layers such as rotations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.chain import linearize
from gradjax.jacobians import jacobian

STEPS = 1000  # of conjugate gradients, each a jvp and a vjp of the whole block


def solve_formed(layer, h, block: Array, _) -> tuple[Array, Array]:
    """J⁻¹ block, and whether J is singular to rounding."""
    return _eliminated(jacobian(layer, h), block)


def solve_formed_transposed(layer, h, block: Array, _) -> tuple[Array, Array]:
    """J⁻ᵀ block, and whether J is singular to rounding."""
    return _eliminated(jacobian(layer, h).T, block)


def solve_by_products(layer, h, block: Array, limit) -> tuple[Array, Array]:
    """J⁻¹ block, and whether a column's residual stayed above `limit` times its length."""
    at = linearize(layer, h)
    return _least_squares(jax.vmap(at.jvp, 1, 1), jax.vmap(at.vjp, 1, 1), block, limit)


def solve_by_products_transposed(layer, h, block: Array, limit) -> tuple[Array, Array]:
    """J⁻ᵀ block, and whether a column's residual stayed above `limit` times its length."""
    at = linearize(layer, h)
    return _least_squares(jax.vmap(at.vjp, 1, 1), jax.vmap(at.jvp, 1, 1), block, limit)


def _eliminated(matrix: Array, block: Array) -> tuple[Array, Array]:
    n, eps = matrix.shape[0], float(jnp.finfo(matrix.dtype).eps)
    rows = _reciprocal_size(matrix, 1)
    matrix = matrix * rows[:, None]
    columns = _reciprocal_size(matrix, 0)
    packed, _, order = jax.lax.linalg.lu(matrix * columns[None, :])
    singular = ~(jnp.min(jnp.abs(jnp.diagonal(packed))) > 8 * n * eps)
    right = (rows[:, None] * block)[order]
    middle = jax.lax.linalg.triangular_solve(packed, right, left_side=True, lower=True, unit_diagonal=True)
    solved = jax.lax.linalg.triangular_solve(packed, middle, left_side=True, lower=False)
    return columns[:, None] * solved, singular


def _reciprocal_size(matrix: Array, axis: int) -> Array:
    """A power of two that brings each line's largest entry between 1 and 2; 1 for a line of zeros."""
    largest = jnp.max(jnp.abs(matrix), axis=axis)
    exponent = jnp.frexp(jnp.where(largest > 0, largest, 1))[1]
    return jnp.ldexp(jnp.ones_like(largest), 1 - exponent)


def _least_squares(apply: Callable, adjoint: Callable, block: Array, limit) -> tuple[Array, Array]:
    """CGLS on all columns at once, the map scaled so that no square over- or underflows; each stops on its own."""
    first = adjoint(block)
    largest = jnp.max(jnp.abs(first))
    scale = jnp.where(largest > 0, largest, 1)
    sought = limit * _lengths(block)

    def unfinished(state):
        *_, residual, _, count = state
        return jnp.any(_lengths(residual) > sought) & (count < STEPS)

    def step(state):
        solution, direction, squares, residual, _, count = state
        image = apply(direction) / scale
        along = _ratio(squares, jnp.sum(image * image, axis=0))
        solution = solution + along * direction
        residual = residual - along * image
        slope = adjoint(residual) / scale
        after = jnp.sum(slope * slope, axis=0)
        return solution, slope + _ratio(after, squares) * direction, after, residual, slope, count + 1

    slope = first / scale
    begin = (jnp.zeros_like(block), slope, jnp.sum(slope * slope, axis=0), block, slope, jnp.int32(0))
    solution = jax.lax.while_loop(unfinished, step, begin)[0] / scale
    # the true residual: the one carried along falls even where rounding has long stopped the true one
    return solution, ~jnp.all(_lengths(apply(solution) - block) <= 2 * sought)


def _lengths(block: Array) -> Array:
    return jnp.sqrt(jnp.sum(block * block, axis=0))


def _ratio(a: Array, b: Array) -> Array:
    """a / b, row vectors for columns; 0 where b is: that column has arrived."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)[None, :]
