"""The skip connection: what a layer computes is added to what it was given, h ↦ c h + a F(h).

Its Jacobian is c + a F'(h): with c = 1 the gradient has a way past every layer, on which nothing is multiplied.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.tree_util import Partial

from gradjax.arguments import flag, floating, numeric, real
from gradjax.chain import Constant, Coupled, describe
from gradjax.layers.composition import compose, couples
from gradjax.numerics import is_concrete


def residual(
    branch: Callable | Sequence[Callable], scale=1.0, *, learned: bool = False, dtype=jnp.float32, carry=1.0
) -> Callable:
    """A layer with a skip connection around it, the callable pytree h ↦ c h + a F(h).

    Args:
        branch: F, a layer or a sequence of layers that keeps the activation's shape.
        scale: a, a finite number (or an array of shape ()): 1 (He et al.), 1/√depth for a growth that depth does not
            change, 0 with `learned` for SkipInit and ReZero.
        learned: whether a is a parameter; otherwise it is a constant that training leaves alone.
        dtype: of a learnt a.
        carry: c, a finite number: above 1 in DeepNorm, which normalizes the sum.

    Raises:
        ValueError: a scale that is no finite number; when called, a branch that changes the activation's shape.

    Reference: He, Zhang, Ren, Sun (2016), arXiv:1603.05027; De and Smith (2020), arXiv:2002.10444.

    >>> print(residual(lambda h: 10 * h, 0.5)(jnp.array([1.0, -2.0])))
    [  6. -12.]
    """
    for name, number in (("scale", scale), ("carry", carry)):
        if is_concrete(number):
            real(name, number)
        else:
            numeric(name, number, ranks=(0,))
    dtype, learned = floating(dtype), flag("learned", learned)
    body = compose(branch)
    layer = Partial(_past, body, jnp.asarray(scale, dtype) if learned else Constant(scale), Constant(carry))
    return Coupled(layer) if couples(body) else layer


def _past(branch, scale, carry, h):
    a, f = scale.value if isinstance(scale, Constant) else scale, branch(h)
    if describe(f) != describe(h):
        raise ValueError(f"the branch maps {describe(h)} to {describe(f)}, expected the same shape: it is added to h")
    # a constant drawn for each depth of a Stack has lost its weak type: float64 beside float32 activations under x64
    return jnp.asarray(carry.value).astype(h.dtype) * h + jnp.asarray(a).astype(h.dtype) * f
