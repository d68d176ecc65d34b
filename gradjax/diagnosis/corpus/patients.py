"""A patient: a network or a training step, what is wrong with it, and whether a diagnosis has found that."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.chain import Stack, unroll
from gradjax.diagnosis.layers import diagnose
from gradjax.diagnosis.report import Diagnosis
from gradjax.diagnosis.training_step import diagnose_step
from gradjax.initializers import mean_field
from gradjax.layers import initial_state, recurrent
from gradjax.networks import mlp

INPUTS, WIDTH, DEPTH, OUTPUTS, EXAMPLES = 16, 48, 20, 10, 16
STEPS, CELL, DRIVE = 60, 96, 0.5  # through time: steps, units, deviation of what the input adds to one
LAST = DEPTH  # the last hidden row of `plain`: row 0 enters, rows 1 … DEPTH are the Stack, the readout follows


@dataclass(frozen=True)
class Patient:
    """What is handed to the diagnosis, and what is true of it.

    Args:
        kind: the fault, or the healthy network.
        cause: the one in `gradjax.diagnosis.CAUSES` that is true; '' for a healthy one.
        rows: where it may be named; None where the cause is of the whole.
        subject: arguments of `diagnose` (with 'layers') or of `diagnose_step`.
    """

    kind: str
    cause: str
    rows: tuple[int, ...] | None
    subject: dict[str, Any]

    def examined(self) -> Diagnosis:
        """The diagnosis."""
        if "layers" in self.subject:
            batch = {"batch_axis": 0, "singular_values": False}
            return diagnose(**{**batch, **self.subject})
        return diagnose_step(**self.subject)

    def is_right(self, found: Diagnosis) -> bool:
        """Whether the diagnosis named this cause first, at one of these rows; of a healthy one, nothing."""
        if not self.cause:
            return not found
        if found.cause != self.cause:
            return False
        return self.rows is None or found.findings[0].where in self.rows

    def treated(self, found: Diagnosis) -> "Patient | None":
        """The patient after the first remedy; None where it has to be applied by hand."""
        remedy = found.remedy
        if remedy is None or remedy.change is None:
            return None
        targets = [name.strip() for name in remedy.target.split(" and ")]
        changed = {name: remedy.apply(self.subject[name]) for name in targets}
        return Patient(self.kind, self.cause, self.rows, {**self.subject, **changed})


def draw(table: dict[str, Callable], count: int, seed: int) -> list[Patient]:
    """`count` patients: kinds in turn, their strengths, places and weights by the seed."""
    kinds = list(table)
    made = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        made.append(replace(table[kind](np.random.default_rng([seed, index])), kind=kind))
    return made


def plain(rng: np.random.Generator, activation: str, kernel_init: str, dtype=jnp.float32) -> list:
    """A fully connected network of one width: row 0, a Stack, a readout."""
    sizes = [INPUTS, *[WIDTH] * (DEPTH + 1), OUTPUTS]
    return mlp(seed_of(rng), sizes, activation, kernel_init, dtype=dtype)


def seed_of(rng: np.random.Generator) -> int:
    """A seed of `jax.random`."""
    return int(rng.integers(2**31))


def inputs(rng: np.random.Generator, shape: tuple = (EXAMPLES, INPUTS), dtype=jnp.float32):
    """A batch of standard normal numbers."""
    return jnp.asarray(rng.standard_normal(shape), dtype)


def square(y):
    """The mean of the squared outputs."""
    return jnp.mean((y * y).astype(jnp.float32))


def square_of_output(state):
    """The same of an LSTM's h, whose state is (h, c)."""
    return square(state[0])


def mixed(share, y):
    """A share of the squared outputs' mean, the rest softmax cross entropy of the first class."""
    wide = y.astype(jnp.float32)
    return share * square(wide) - (1 - share) * jnp.mean(jax.nn.log_softmax(wide, axis=-1)[..., 0])


def loss_of(rng: np.random.Generator) -> Callable:
    """One of the two: the share is data, so that both are one program."""
    return jax.tree_util.Partial(mixed, jnp.asarray(rng.integers(2), jnp.float32))


def subject(rng: np.random.Generator, layers: list, x=None, **more) -> dict[str, Any]:
    """What `diagnose` takes."""
    return {"layers": layers, "x": inputs(rng) if x is None else x, "loss": loss_of(rng), **more}


def with_leaf(layers: list, row: int, name: str, change: Callable) -> list:
    """The network of `plain` with one parameter of one row changed: `change(leaf)`."""
    layers = list(layers)
    entry, depth = (0, None) if row == 0 else (1, row - 1)
    target = layers[entry]
    layer = target.layer if isinstance(target, Stack) else target
    parameters = dict(layer.args[0])
    old = parameters[name]
    parameters[name] = change(old) if depth is None else old.at[depth].set(change(old[depth]))
    new = jax.tree_util.Partial(layer.func, parameters)
    layers[entry] = Stack(new) if isinstance(target, Stack) else new
    return layers


def with_kernels(layers: list, factor: float) -> list:
    """The network of `plain` with all its hidden kernels multiplied."""

    def scaled(layer):
        parameters = dict(layer.args[0])
        parameters["kernel"] = parameters["kernel"] * jnp.asarray(factor, parameters["kernel"].dtype)
        return jax.tree_util.Partial(layer.func, parameters)

    return [scaled(layers[0]), Stack(scaled(layers[1].layer)), *layers[2:]]


def through_time(rng: np.random.Generator, gain: float, kind: str = "rnn", forget_bias: float = 1.0) -> dict[str, Any]:
    """A tanh cell with Gaussian weights of deviation gain / √n in each gate, driven by white noise."""
    inits = mean_field(gain), mean_field(DRIVE)
    key = jax.random.key(seed_of(rng))
    cell = recurrent(key, kind, CELL, INPUTS, "tanh", *inits, forget_bias=forget_bias)
    start = jax.tree.map(lambda leaf: 0.5 * inputs(rng, leaf.shape), initial_state(cell))
    along = inputs(rng, (STEPS, INPUTS))
    found = subject(rng, [unroll(cell, along)], start, batch_axis=None)
    return found | {"loss": square_of_output} if isinstance(start, tuple) else found
