"""Scalar nonlinearities and their table.

Each maps an array to an array of the same shape and dtype, one element at a time. Derivatives are always taken by
`jax.grad`, never passed by hand, so every function here is written to have a finite gradient at its kinks and at the
largest floats: a `where` whose untaken branch overflows gives NaN in reverse mode, although its value is right.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradjax import tables
from gradjax.arguments import listed, numeric, real


@dataclass(frozen=True)
class Activation:
    """An elementwise function together with the points where one of its first derivatives jumps.

    The kinks are what quadrature has to know: an integral that is split there keeps all its digits, and a second
    derivative taken by automatic differentiation misses the jump of the first one there.

    Args:
        fn: Array -> Array, elementwise, same shape and dtype.
        kinks: where fn, fn' or fn'' jumps, in ascending order; empty for a smooth function.

    >>> Activation(jnp.abs, kinks=(0.0,))(-2.0).item()
    2.0
    """

    fn: Callable[[Array], Array]
    kinks: tuple[float, ...] = ()

    def __post_init__(self):
        if not callable(self.fn):
            raise ValueError(f"fn={self.fn!r} is not callable; expected an elementwise function of one array")
        kinks = tuple(real("kinks", kink) for kink in listed("kinks", self.kinks, "numbers"))
        if sorted(set(kinks)) != list(kinks):
            raise ValueError(f"kinks={self.kinks!r} must be finite, distinct and ascending")
        object.__setattr__(self, "kinks", kinks)

    def __call__(self, x: Array) -> Array:
        """Apply the function to every element of x."""
        return self.fn(x)

    @property
    def __name__(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)


def linear(x: Array) -> Array:
    """Return x itself: phi(x) = x."""
    return jnp.asarray(numeric("x", x))


def erf(x: Array) -> Array:
    """Return the error function: phi(x) = erf(x), with slope 2 / sqrt(pi) at zero."""
    return jax.scipy.special.erf(numeric("x", x))


def scaled_erf(x: Array) -> Array:
    """Return the error function scaled to slope 1 at zero: phi(x) = erf(sqrt(pi) x / 2)."""
    return jax.scipy.special.erf(numeric("x", x) * (math.sqrt(math.pi) / 2))


def gelu(x: Array) -> Array:
    """Return the exact Gaussian error linear unit: phi(x) = x Phi(x), not its tanh approximation."""
    return jax.nn.gelu(numeric("x", x), approximate=False)


# The smoothness of elu ends at its second derivative; quadrature of phi'' has to split there all the same.
ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(linear),
    "tanh": Activation(jnp.tanh),
    "erf": Activation(erf),
    "scaled_erf": Activation(scaled_erf),
    "sigmoid": Activation(jax.nn.sigmoid),
    "hard_tanh": Activation(jax.nn.hard_tanh, kinks=(-1.0, 1.0)),
    "relu": Activation(jax.nn.relu, kinks=(0.0,)),
    "leaky_relu": Activation(jax.nn.leaky_relu, kinks=(0.0,)),
    "elu": Activation(jax.nn.elu, kinks=(0.0,)),
    "selu": Activation(jax.nn.selu, kinks=(0.0,)),
    "gelu": Activation(gelu),
    "silu": Activation(jax.nn.silu),
    "softplus": Activation(jax.nn.softplus),
}


def resolve(activation: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the activation that a name of `ACTIVATIONS` or a callable stands for.

    Raises:
        ValueError: an unknown name; the message lists the known ones.

    >>> resolve("relu")(-3.0).item()
    0.0
    """
    return tables.resolve(ACTIVATIONS, activation, "activation")
