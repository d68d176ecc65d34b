"""Training steps, faulty and healthy: a small regression with token ids, targets in a dictionary, and an optimizer.

And a deep network that is no list of layers: a ReLU network as a loop in Python, a tanh network as a scan.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradjax.diagnosis.corpus.patients import DEPTH, INPUTS, OUTPUTS, WIDTH, Patient, inputs, square
from gradjax.diagnosis.step import updated

TOKENS, SIZE, EXAMPLES = 20, 32, 24
DEEP = {"relu": 2**0.5, "tanh": 1.0}  # critical deviations


def parameters(rng: np.random.Generator, dtype=jnp.float32) -> dict:
    """An embedding, a hidden layer, a readout."""
    shapes = {"table": ((TOKENS, SIZE), 1.0), "hidden": ((SIZE, SIZE), SIZE**-0.5), "readout": ((SIZE, 1), SIZE**-0.5)}
    found = {name: jnp.asarray(std * rng.standard_normal(shape), dtype) for name, (shape, std) in shapes.items()}
    return found | {"bias": jnp.zeros(SIZE, dtype)}


def batch(rng: np.random.Generator) -> dict:
    """Ids and targets."""
    return {
        "ids": jnp.asarray(rng.integers(TOKENS, size=EXAMPLES)),
        "target": jnp.asarray(rng.standard_normal(EXAMPLES), jnp.float32),
    }


def loss(params: dict, batch: dict):
    """The mean squared error."""
    return jnp.mean((outputs(params, batch) - batch["target"].astype(params["hidden"].dtype)) ** 2)


def outputs(params: dict, batch: dict):
    """One number an example."""
    hidden = params["table"][batch["ids"]] @ params["hidden"]
    return (jnp.tanh(hidden + params["bias"][None]) @ params["readout"])[:, 0]


def cut_loss(params: dict, batch: dict):
    """The loss with the embedding left out of the derivative."""
    return loss(params | {"table": jax.lax.stop_gradient(params["table"])}, batch)


def log_loss(params: dict, batch: dict):
    """A likelihood whose probability is exactly zero where ReLU is."""
    return -jnp.mean(jnp.log(jax.nn.relu(outputs(params, batch))))


def deep_parameters(rng: np.random.Generator, activation: str, factor: float) -> dict:
    """Of a network of one width, its hidden kernels (and the first) that many times critical; stacked for tanh."""

    def draw(*shape: int, std: float = 1.0):
        return jnp.asarray(std * shape[-2] ** -0.5 * rng.standard_normal(shape), jnp.float32)

    std = factor * DEEP[activation]
    hidden, bias = draw(DEPTH, WIDTH, WIDTH, std=std), jnp.zeros((DEPTH, WIDTH), jnp.float32)
    found = {"first": draw(INPUTS, WIDTH, std=std), "readout": draw(WIDTH, OUTPUTS)}
    return found | (
        {"hidden": hidden, "bias": bias} if activation == "tanh" else {"hidden": [*hidden], "bias": [*bias]}
    )


def loop_loss(params: dict, batch: dict):
    """The mean square of a ReLU network's output, one layer after the other."""
    h = jax.nn.relu(batch["x"] @ params["first"])
    for kernel, bias in zip(params["hidden"], params["bias"], strict=True):
        h = jax.nn.relu(h @ kernel + bias[None])
    return square(h @ params["readout"])


def scan_loss(params: dict, batch: dict):
    """The same of a tanh network, as a scan."""

    def one(h, layer):
        return jnp.tanh(h @ layer[0] + layer[1][None]), None

    h = jax.lax.scan(one, jnp.tanh(batch["x"] @ params["first"]), (params["hidden"], params["bias"]))[0]
    return square(h @ params["readout"])


def deep_step(kind: str, cause: str, rng, activation: str, factor: float) -> Patient:
    """A step of a deep network whose weights are that many times critical."""
    chosen = {"relu": loop_loss, "tanh": scan_loss}[activation]
    params = deep_parameters(rng, activation, factor)
    return patient(kind, cause, rng, loss_fn=chosen, params=params, batch={"x": inputs(rng)})


def patient(kind: str, cause: str, rng, **subject) -> Patient:
    """A step with the parts that are not given drawn."""
    base = {"loss_fn": loss, "params": parameters(rng), "batch": batch(rng)}
    return Patient(kind, cause, None, base | subject)


def _gradient_descent(rng) -> Patient:
    """A learning rate of 5 to 50: the limit is near 1."""
    return patient(
        "rate of descent", "learning rate", rng, optimizer=optax.sgd(float(np.exp(rng.uniform(np.log(5), np.log(50)))))
    )


def _adam(rng) -> Patient:
    """Adam with a learning rate of 3 to 30."""
    return patient(
        "rate of Adam", "learning rate", rng, optimizer=optax.adam(float(np.exp(rng.uniform(np.log(3), np.log(30)))))
    )


def warmed(rng, optimizer, params: dict, steps: int = 50, size: float = 1.0):
    """The optimizer's state after some steps, a fresh batch each, with gradients of this size times theirs."""
    state, update, gradient = optimizer.init(params), jax.jit(partial(updated, optimizer)), jax.jit(jax.grad(loss))
    for _ in range(steps):
        scaled = jax.tree.map(lambda g: g * jnp.asarray(size, g.dtype), gradient(params, batch(rng)))
        state = update(scaled, state, params)[1]
    return state


def _stale(rng) -> Patient:
    """Adam whose gradients so far were 30 to 1000 times smaller."""
    optimizer, params = optax.adam(1e-3), parameters(rng)
    state = warmed(rng, optimizer, params, size=float(np.exp(-rng.uniform(np.log(30), np.log(1000)))))
    return patient("stale Adam", "stale second moment", rng, params=params, optimizer=optimizer, opt_state=state)


def _swallowed(rng) -> Patient:
    """bfloat16 parameters and a learning rate whose updates are below their rounding."""
    rate = float(np.exp(rng.uniform(np.log(1e-5), np.log(1e-4))))
    return patient("bfloat16 update", "precision", rng, params=parameters(rng, jnp.bfloat16), optimizer=optax.sgd(rate))


def _hole(rng) -> Patient:
    """A NaN among the targets."""
    holed = batch(rng)
    holed["target"] = holed["target"].at[int(rng.integers(EXAMPLES))].set(jnp.nan)
    return patient("NaN target", "non-finite input", rng, batch=holed)


def _deep_weights(sign: int, rng) -> Patient:
    """Weights off by a factor that costs e^±9 to e^±36 over the depth (tanh, too large: σ_w of 2.5 to 6)."""
    activation, factor = ("relu", "tanh")[int(rng.integers(2))], np.exp(sign * rng.uniform(9, 36) / (2 * DEPTH))
    if activation == "tanh" and sign > 0:
        factor = rng.uniform(2.5, 6.0)
    return deep_step("weights in a step", "weight scale", rng, activation, float(factor))


STEP_FAULTS: dict[str, Callable] = {
    "weights in a step too large": partial(_deep_weights, 1),
    "weights in a step too small": partial(_deep_weights, -1),
    "rate of descent": _gradient_descent,
    "rate of Adam": _adam,
    "stale Adam": _stale,
    "bfloat16 update": _swallowed,
    "NaN target": _hole,
    "embedding cut off": lambda rng: patient("embedding cut off", "cut graph", rng, loss_fn=cut_loss),
    "log of zero": lambda rng: patient("log of zero", "non-finite activation", rng, loss_fn=log_loss),
}
