"""Chains of products in any program: which product's output alone, unit by unit, makes the next one's input.

Mean field theory speaks of h ↦ φ(h W + b), one after the other. A program is no list of layers, so its values are
followed: each knows the products that it came from, and its slope to the product's output where it is a function of
that one alone, unit by unit. A skip connection gives a value two origins, a normalization mixes units, and both end
the chain: what theory does not speak of is not judged.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.activations import ACTIVATIONS
from gradjax.diagnosis.program import bound
from gradjax.diagnosis.trails import BATCH, Marked, Product, Trail, Weight
from gradjax.numerics import is_inexact

NEAR = 0.01  # of the largest value
PRODUCTS = ("dot_general", "conv_general_dilated")
RESHAPED = ("transpose", "convert_element_type", "reshape", "broadcast_in_dim", "squeeze", "copy")
COPIED = ("slice", "dynamic_slice", "concatenate", "pad", "rev")  # a convolution's ring, for one
ELEMENTWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "cos", "cosh", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt",
    "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or",
    "pow", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor",
}  # fmt: skip


class Follower:
    """Follows values through the equations of a program: `followed` makes the outputs of one."""

    def __init__(self):
        self.products: list[Product] = []
        self.trails, self.weights = Marked(), Marked()

    def begin(self, parameters: list, gradients: list, batch: list) -> None:
        """Parameters by row with their gradients, and the data."""
        for row, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            self.weights[parameter] = Weight(row, None, gradient)
        for leaf in batch:
            if is_inexact(leaf):
                self.trails[leaf] = Trail(frozenset({BATCH}))

    def taken(self, array, step: int):
        """What a step of a scan gets of an array."""
        out, weight = array[step], self.weights.get(array)
        if weight is not None:
            self.weights[out] = Weight(weight.row, step, weight.gradient[step])
        self.mixed([array], [out])
        return out

    def joined(self, column):
        """What the steps of a scan give together."""
        out = jnp.stack(column)
        self.mixed(list(column), [out])
        return out

    def followed(self, eqn, inputs: list) -> list:
        """The outputs of an equation that is no call, with notes on where they come from."""
        outputs, name = bound(eqn, inputs), eqn.primitive.name
        weights: list = [self.weights.get(value) for value in inputs]
        owned = [i for i, weight in enumerate(weights) if weight is not None]
        known = [(value, trail) for value in inputs if (trail := self.trails.get(value)) is not None]
        if name in PRODUCTS and len(owned) == 1:
            (at,) = owned
            self._multiplied(eqn, inputs[1 - at], inputs[at], weights[at], at, outputs[0])
        elif known:
            for out, trail in zip(outputs, self._behind(eqn, inputs, known, outputs), strict=True):
                self.trails[out] = trail
        elif len(owned) == 1:
            self._of_parameter(eqn, inputs, weights[owned[0]], outputs[0])
        return outputs

    def mixed(self, values: list, outputs: list) -> None:
        """Notes that outputs depend on these values, in a way that is not followed."""
        origins = self.origins(values)
        if origins:
            for out in outputs:
                self.trails[out] = Trail(origins, mixed=True)

    def origins(self, values: list) -> frozenset[int]:
        """The products that these values come from."""
        return frozenset().union(*(trail.origins for value in values if (trail := self.trails.get(value))))

    def _of_parameter(self, eqn, inputs: list, weight: Weight, out) -> None:
        """Another form of a parameter: its gradient goes the same way; what a table gives to ids is data."""
        name = eqn.primitive.name
        if name in RESHAPED:
            self.weights[out] = weight._replace(gradient=bound(eqn, [weight.gradient])[0])
        elif name in ("slice", "dynamic_slice"):
            first = eqn.params["start_indices"][0] if name == "slice" else int(inputs[1])
            one = out.shape[0] == 1 < inputs[0].shape[0]
            same = bound(eqn, [weight.gradient, *inputs[1:]])[0]
            self.weights[out] = Weight(weight.row, first if one else weight.depth, same)
        elif name in ("mul", "div") and any(np.size(value) == 1 for value in inputs):
            number = next(value for value in inputs if np.size(value) == 1)
            inverse = weight.gradient * number if name == "div" else weight.gradient / number
            self.weights[out] = weight._replace(gradient=inverse)
        elif name == "gather":
            self.trails[out] = Trail(frozenset({BATCH}))

    def _behind(self, eqn, inputs: list, known: list, outputs: list) -> list[Trail]:
        """The trails of an equation's outputs."""
        name, origins = eqn.primitive.name, self.origins(inputs)
        alike = name in COPIED or all(np.size(value) == np.size(outputs[0]) for value, _ in known)
        if not alike or name not in ELEMENTWISE.union(RESHAPED, COPIED) or any(trail.mixed for _, trail in known):
            return [Trail(origins, mixed=True)] * len(outputs)
        if len(origins) > 1 or BATCH in origins:
            return [Trail(origins)] * len(outputs)
        (k,), slope = origins, _slope(eqn, inputs, [self.trails.get(value) for value in inputs])
        others = [value for value in inputs if self.trails.get(value) is None]
        added = name == "add" and len(others) == 1 and self.weights.get(others[0]) is not None
        stem = all(trail.stem for _, trail in known) and (added or name in RESHAPED)
        if stem:
            self.products[k].values = outputs[0]
            self.products[k].bias_std = _root_mean_square(others[0]) if added else self.products[k].bias_std
        return [Trail(origins, slope, stem=stem)]

    def _multiplied(self, eqn, h, w, weight: Weight, at: int, z) -> None:
        """A parameter meets data: a new product, which ends the links before it and begins one."""
        trail, origins = self.trails.get(h), self.origins([h])
        meeting = _meeting(eqn, at, w)
        above = frozenset().union(origins, *(self.products[o].above for o in origins - {BATCH}))
        size, parent = _root_mean_square(h), None
        if trail is not None and trail.slope is not None:
            (parent,) = origins
            self._link(self.products[parent], trail.slope, h)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_input, gradient = np.log(size), np.log(_root_mean_square(weight.gradient) * np.sqrt(w.size))
            log_signal = gradient - log_input - np.log(meeting) / 2
        std = meeting**0.5 * _root_mean_square(w)
        width = w.size // meeting
        self.products.append(Product(weight, width, meeting, std, log_input, log_signal, parent, above, values=z))
        self.bypass(origins)
        self.trails[z] = Trail(frozenset({len(self.products) - 1}), jnp.ones_like(z), stem=True)

    def _link(self, own: Product, slope: Array, h) -> None:
        """h is a function of one product's output, unit by unit: its φ and slope."""
        if own.values is None:  # it has met a product before
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            own.log_slope = float(2 * np.log(_root_mean_square(slope)))
        own.activation = _named(own.values, h) if own.values.size == h.size else None
        own.values = None

    def bypass(self, origins: frozenset[int]) -> None:
        """Where products meet what came before them, a skip connection leads past those in between."""
        for b in origins - {BATCH}:
            for a in origins & self.products[b].above:
                for c in (self.products[b].above | {b}) - {BATCH}:
                    self.products[c].bypassed |= a in self.products[c].above


def _slope(eqn, inputs: list, trails: list) -> Array | None:
    """d out / d z of a function unit by unit of values with their own slopes; None where it has none."""
    moving = [i for i, trail in enumerate(trails) if trail is not None and trail.slope is not None]
    if not moving or not jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact):
        return None

    def call(*values):
        changed = list(inputs)
        for i, value in zip(moving, values, strict=True):
            changed[i] = value
        return bound(eqn, changed)[0]

    return jax.jvp(call, tuple(inputs[i] for i in moving), tuple(trails[i].slope for i in moving))[1]


def _meeting(eqn, at: int, w) -> int:
    """How many weights meet in one unit."""
    if eqn.primitive.name == "dot_general":
        (contracted, _) = eqn.params["dimension_numbers"]
        return int(np.prod([w.shape[axis] for axis in contracted[at]]))
    return w.size // w.shape[eqn.params["dimension_numbers"].rhs_spec[0]]


def _named(z, h) -> Callable | None:
    """The activation of the table that makes h of z, or comes nearest (GELU by tanh); None where none is near."""
    z, made = z.astype(jnp.float32), np.sort(_wide(h).ravel())  # in order: h may be laid out in another way
    with np.errstate(invalid="ignore"):
        apart = [float(np.max(np.abs(np.sort(_wide(f(z)).ravel()) - made))) for f in ACTIVATIONS.values()]
    # dropout behind it, for one, makes zeros; two that differ by less have critical lines nearer than any limit here
    near = min(apart) <= NEAR * float(np.max(np.abs(made)))
    return list(ACTIVATIONS.values())[int(np.argmin(apart))] if near else None


def _root_mean_square(array) -> float:
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.mean(np.square(_wide(array))))) if np.size(array) else float("nan")


def _wide(array) -> np.ndarray:
    """Its moduli's or values' float64, from bfloat16 too: the square does not overflow."""
    narrow = array.astype(jnp.float32) if array.dtype == jnp.bfloat16 else array
    return np.asarray(jnp.abs(narrow) if jnp.iscomplexobj(narrow) else narrow).astype(np.float64)
