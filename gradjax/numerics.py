"""Ground arithmetic: norms in log space, exact scaling by powers of two, and what is known before a trace.

A gradient at depth 10 000 has a norm near e^±7000, which no float holds. Everything that travels so far is
therefore kept as `x · 2^e` with `x` of ordinary size and `e` an integer: multiplying by a power of two is
exact, and an integer does not drift over 10 000 additions as a float32 sum of logarithms does.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from gradjax.arguments import said

LOG_2 = 0.6931471805599453
HIGHEST = "highest"  # float32 matmuls are TF32 on a GPU and bfloat16 passes on a TPU unless asked otherwise


def is_concrete(tree) -> bool:
    """Whether every array leaf has a value, that is, none is a tracer."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def is_inexact(leaf) -> bool:
    """Whether the leaf is an array (NumPy or JAX) of a floating or complex dtype."""
    return isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def all_finite(tree) -> Array:
    """Whether no inexact leaf holds a NaN or an infinity."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])) if leaves else jnp.array(True)


def norm_dtype(tree) -> jnp.dtype:
    """The real dtype in which a norm over the tree is taken: the widest leaf, and at least float32."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    widest = max((jnp.finfo(leaf.dtype).bits for leaf in leaves), default=32)
    return jnp.dtype(jnp.float64 if widest > 32 else jnp.float32)


def real_size(tree) -> int:
    """How many real numbers the tree's arrays hold, a complex one counting as two.

    >>> real_size([jnp.ones(3), jnp.ones(2, complex)])
    7
    """
    return sum(np.size(leaf) * (1 + jnp.iscomplexobj(leaf)) for leaf in jax.tree.leaves(tree))


def largest(tree) -> Array:
    """The largest modulus in the tree: max |x|, 0 for a tree without inexact leaves."""
    dtype = norm_dtype(tree)
    peaks = [_modulus(leaf, dtype).max(initial=0) for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    return jnp.max(jnp.stack(peaks)) if peaks else jnp.zeros((), dtype)


def log_norm(tree, power: int | Array = 0) -> Array:
    """The natural log of the Euclidean norm of tree · 2^power, right where the norm or its square over- or underflows.

    ln |x 2^e| = e ln 2 + ln m + ½ ln Σ (x/m)², with m = max |x|: no square leaves [0, 1].

    Args:
        tree: any pytree; leaves that are no inexact arrays do not count.
        power: an integer or integer array e.

    Returns:
        A scalar, float32 or wider: −inf for an exact zero or an empty tree, +inf with an infinity, NaN with a NaN.

    Its derivative at zero is 0, not NaN.

    >>> import jax.numpy as jnp
    >>> print(f"{log_norm({'a': jnp.array([3e30]), 'b': jnp.array([4e30])}) - jnp.log(5e30):.4f}")
    0.0000
    """
    dtype = norm_dtype(tree)
    m = jax.lax.stop_gradient(largest(tree))
    m_safe = jnp.where((m > 0) & jnp.isfinite(m), m, 1)  # m = 0 or inf would make x/m a NaN, and so its derivative
    moduli = [_modulus(leaf, dtype) for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    part = jnp.where(m_safe > 1, 0.0625, 1)  # a compiler may multiply by 1/m, which near the largest float is 0
    squares = sum((jnp.sum(_square((r * part) / (m_safe * part))) for r in moduli), start=jnp.zeros((), dtype))
    ordinary = (m > 0) & jnp.isfinite(m)
    finite = jnp.log(m_safe) + jnp.log(jnp.where(ordinary, squares, 1)) / 2
    log = jnp.where(ordinary, finite, jnp.where(m == 0, -jnp.inf, m))
    return log + jnp.asarray(power).astype(dtype) * LOG_2


def exponent(tree) -> Array:
    """The integer e with 2^(e−1) <= max |x| < 2^e over the tree; 0 where that is zero or not finite."""
    m = largest(tree)
    usable = jnp.isfinite(m) & (m > 0)
    return jnp.where(usable, jnp.frexp(jnp.where(usable, m, 1))[1], 0)


def scale_by_power_of_two(tree, power):
    """The tree times 2^power, in two halves, for 2^−power itself is subnormal where |x| is near the largest float."""
    first = power // 2
    return jax.tree.map(lambda x: _times_power(_times_power(x, first), power - first) if is_inexact(x) else x, tree)


def _times_power(x, power):
    one = jnp.ones((), jnp.finfo(x.dtype).dtype)
    return x * jnp.ldexp(one, power).astype(x.dtype)


def _modulus(leaf, dtype) -> Array:
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        # not abs(): its square overflows, and the Euclidean norm needs only |re|² + |im|²
        return jnp.abs(jnp.stack([jnp.real(leaf), jnp.imag(leaf)])).astype(dtype)
    return jnp.abs(jnp.asarray(leaf).astype(dtype))


def _square(x) -> Array:
    return x * x


def as_key(key) -> Array:
    """A random key from a key or from a seed in [0, 2³²).

    With x64 off `jax.random.key(2**33)` equals `key(0)`, silently: larger seeds are refused.

    >>> as_key(7) == jax.random.key(7)
    Array(True, dtype=bool)
    """
    if isinstance(key, jax.Array):
        typed, old = jnp.issubdtype(key.dtype, jax.dtypes.prng_key), key.dtype == jnp.uint32
        if (typed and key.shape == ()) or (old and key.shape == (2,)):
            return key
    elif isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if not 0 <= key < 2**32:
            raise ValueError(f"seed is {key}, expected an integer in [0, 2**32)")
        return jax.random.key(int(key))
    raise ValueError(f"key is {said(key)}, expected a jax.random.key or a seed in [0, 2**32)")
