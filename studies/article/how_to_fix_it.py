"""How to fix it: one change at a time, on two networks that fail

Which remedy mends a vanishing gradient, which an exploding one, and what does each of them cost?

The two failing networks of the last chapter come back: sigmoid layers with $σ_w = 1$, whose gradient vanishes, and ReLU
layers with $σ_w = 3$, whose gradient explodes. Each remedy below is one change to them, everything else left as it is:
the same digits, the same steps, the same random numbers.

Change what the layers multiply by
----------------------------------
Fewer layers, another activation function, or weights drawn at the right size make each factor of the product larger or
smaller. The right size is the one at which the gradient's factor is 1.

term: initialization: how the weights are drawn before training

math: σ_w → χ(σ_w) = 1
code: "exploding": {"std": critical_weight_std("relu", 0.0)},

Change how the layers are joined
--------------------------------

term: normalization: dividing what a layer is given by its own size, so that no product of sizes can build up

term: layer norm: normalization over the units of one example

term: batch norm: normalization of each unit over the examples of a batch

term: skip connection, skip connections: a way around a layer: its input is added to its output

term: gates: numbers from 0 to 1, learnt with the rest, that decide how much goes through a layer and how much past it

math: h ← h + f(h)
code: "skip connections": lambda layer, extra: residual(layer),

The skip connection adds 1 to the layer's Jacobian. Where the layer itself has next to none, the gradient takes the way
around. Where the layer has too much, it is of no use: more than too much is too much.

Change the step
---------------

term: clipping: shortening a gradient that is longer than a bound to that bound, without turning it

math: g ← g min(1, c / ‖g‖)
code: clip_by_global_norm(row.clip), optax.add_decayed_weights(row.decay), optax.sgd(row.rate)

Clipping, a smaller learning rate, weight decay, which pulls all weights towards 0 by a small part in each step, or
another number of digits a step: none of them touches the network. And a last idea, auxiliary losses: give each layer a
readout and a loss of its own, and the gradient need not come the long way.

Predict: clipping shortens long gradients. Which of the two networks does it mend, and what happens to the other one?

Look: The exploding network no longer ends in NaN, and reads {exploding: clipping:.0%} of the unseen digits. In the
vanishing one clipping changes no digit of any weight: its gradient is never longer than the bound. That is the control.

Layer norm and batch norm mend both. Skip connections ({vanishing: skip connections:.0%}) and gates
({vanishing: gates:.0%}) mend the vanishing network and lose the exploding one: its gates start nearly closed, so that
its first gradient looks healthy, and it breaks as soon as they open. The right initialization mends the exploding
network ({exploding: initialization:.0%}), but hardly the sigmoid one ({vanishing: initialization:.0%}): weights that
large press its units against their ends. Weight decay and another batch size mend nothing. Nor do auxiliary losses,
and that is the surprise: they make the first layer's gradient 10^{auxiliary losses: gradient:.1f} times as large, and
still nothing is learnt. That a gradient arrives is needed, and it is not enough: on the way forward the sigmoids lose
the image as surely as on the way back they lose the gradient.

The cost is small. A layer norm takes {cost: layer norm:.2f} times the operations of a plain layer; gates, with a second
matrix in every layer, {cost: gates:.2f} times; a skip connection and clipping next to none.

Reference: He et al. (2015), arXiv:1502.01852, initialization, and (2016), arXiv:1603.05027, skip connections;
Srivastava et al. (2015), arXiv:1505.00387, gates; Ioffe and Szegedy (2015), arXiv:1502.03167, batch norm; Ba et al.
(2016), arXiv:1607.06450, layer norm; Pascanu et al. (2013), arXiv:1211.5063, clipping; Lee et al. (2015),
arXiv:1409.5185, auxiliary losses.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Constant, Coupled, Stack
from gradjax.clipping import clip_by_global_norm
from gradjax.ensembles import Bend
from gradjax.layers import (
    batch_norm,
    close_heads,
    compose,
    dense,
    gates,
    layer_norm,
    open_heads,
    residual,
    supervised,
    through_gates,
)
from gradjax.layers.composition import couples
from gradjax.numerics import log_norm
from gradjax.study import Claim, plotting
from gradjax.tasks import digits
from gradjax.theory.meanfield import critical_weight_std
from gradjax.training import accuracy, cross_entropy, predict, train

ORDER = 6
COMPILER = {"xla_backend_optimization_level": 1}  # half the time to compile, and the program is as fast
UNITS, BATCH = 64, 64
SIGMOID, RELU, TANH = BENDS = (jax.nn.sigmoid, jax.nn.relu, jnp.tanh)
BLOCKS = {  # how a layer is joined to the next; `extra` holds what it takes besides
    "plain": lambda layer, extra: layer,
    "layer norm": lambda layer, extra: compose([extra["layer norm"], layer]),
    "batch norm": lambda layer, extra: compose([extra["batch norm"], layer]),
    "skip connections": lambda layer, extra: residual(layer),
    "gates": lambda layer, extra: through_gates(extra["gates"], layer),
}


class Row(NamedTuple):
    """What a training is made of: numbers, so that one compiled program runs them all."""

    bend: Any  # index of BENDS
    std: Any  # σ_w
    depth: Any
    rate: Any = 0.1
    clip: Any = 1e30
    decay: Any = 0.0
    batch: Any = BATCH
    auxiliary: Any = 0.0  # weight of the losses of the layers' own readouts


FAILING = {"vanishing": (BENDS.index(SIGMOID), 1.0), "exploding": (BENDS.index(RELU), 3.0)}
HEALTHY = (BENDS.index(TANH), 1.0)
INITIALIZATION = {
    "vanishing": {"std": critical_weight_std("sigmoid", 0.0)},
    "exploding": {"std": critical_weight_std("relu", 0.0)},
}
COSTS = {"skip connections": 1.0, "layer norm": 1.1, "gates": 2.0}  # expected operations, as multiples
MENDS, HELPS, FAILS = (">=", 0.75), (">=", 0.15), ("<=", 0.15)  # of the unseen digits right; guessing is 0.1
CHANGES = {  # what is changed, and what is claimed of the vanishing and of the exploding network
    "no change": ({}, FAILS, FAILS),
    "2 layers": ({"depth": 2}, HELPS, MENDS),
    "activation: tanh": ({"bend": BENDS.index(TANH)}, MENDS, HELPS),
    "initialization": (INITIALIZATION, HELPS, MENDS),
    "layer norm": ({}, MENDS, MENDS),
    "batch norm": ({}, MENDS, MENDS),
    "skip connections": ({}, MENDS, FAILS),
    "gates": ({}, MENDS, FAILS),
    "clipping": ({"clip": 2.0}, FAILS, HELPS),
    "learning rate × 10": ({"rate": 1.0}, FAILS, None),
    "learning rate / 100": ({"rate": 0.001}, None, HELPS),
    "weight decay": ({"decay": 0.01}, FAILS, FAILS),
    "batch of 16": ({"batch": 16}, FAILS, FAILS),
    "auxiliary losses": ({"auxiliary": 1.0}, FAILS, FAILS),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the chapter is run with."""

    depth: int = 8
    """Layers of the failing networks: more than enough for either to fail."""
    steps: int = 150
    """Updates of each training: enough for a network that can learn."""
    seeds: int = 5
    """Networks for each change; not ten, for fourteen changes to two networks are trained for each."""
    seed: int = 0
    """The first of the seeds; it also draws the split of the digits."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


def named(*verdicts) -> tuple[str, ...]:
    """The claims that expect one of these verdicts."""
    rows = [(f"{kind}: {name}", row[1 + i]) for name, row in CHANGES.items() for i, kind in enumerate(FAILING)]
    return tuple(name for name, verdict in rows if verdict in verdicts)


PRESETS = {"quick": Config(seeds=2), "full": Config()}
PLANTS = {  # no change is made; the failing networks are healthy ones; a tight clip, and costs beside half a layer
    "idle": (*named(MENDS, HELPS), "auxiliary losses: gradient"),
    "healthy": named(FAILS),
    "wrong_numbers": ("vanishing: clipping changes nothing", *(f"cost: {name}" for name in COSTS)),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Every training, (change, kind, seed), the gradients that they start from, and what a layer costs."""
    data, keys = (
        digits(seed=config.seed, dtype=jnp.float32),
        jax.random.split(jax.random.key(config.seed), config.seeds),
    )
    idle, blocks = config.plant == "idle", list(BLOCKS)
    chosen = jnp.array([blocks.index(name) if name in BLOCKS and not idle else 0 for name in CHANGES])
    rows = [
        [_row(config, kind, {} if idle else fields.get(kind, fields)) for kind in FAILING]
        for fields, *_ in CHANGES.values()
    ]
    columns = jax.tree.map(
        lambda *leaves: _as_number(np.array(leaves).reshape(len(rows), -1)), *(row for pair in rows for row in pair)
    )

    def cell(_, kind, network):
        """One change after the other to one network: side by side each would compute all of `BLOCKS`."""
        changes = chosen, jax.tree.map(lambda column: column[:, kind], columns)
        return jax.lax.map(lambda change: _trained(config, change, keys[network], data), changes)

    grid = {"kind": range(len(FAILING)), "network": range(config.seeds)}
    found = gradjax.study.sweep(cell, grid, seed=config.seed, compiler_options=COMPILER)
    return {name: np.moveaxis(values, 2, 0) for name, values in found.items()} | _costs(config)


def _row(config: Config, kind: str, fields: dict) -> Row:
    bend, std = HEALTHY if config.plant == "healthy" else FAILING[kind]
    tight = {"clip": 0.01} if config.plant == "wrong_numbers" and "clip" in fields else {}
    return Row(bend, std, config.depth)._replace(**fields | tight)


def _as_number(column: np.ndarray):
    return jnp.asarray(column, jnp.int32 if column.dtype.kind == "i" else jnp.float32)


def _trained(config: Config, change, key, data) -> dict:
    """One training of one network with one change, `(block, row)`."""
    block, row = change
    keys, known = jax.random.split(key, 4), (data.train_x, data.train_y)
    weights = row.std * jax.random.normal(keys[0], (config.depth, UNITS, UNITS), data.train_x.dtype) / math.sqrt(UNITS)
    optimizer = optax.chain(clip_by_global_norm(row.clip), optax.add_decayed_weights(row.decay), optax.sgd(row.rate))
    loss, build = Partial(_loss, row), Partial(_network, keys, block, row)
    settings = {"steps": config.steps, "batch_size": BATCH, "key": keys[3]}
    run = train(build(weights), loss, optimizer, known, **settings)
    first = jax.grad(lambda w: loss(predict(build(w), data.train_x[:BATCH]), data.train_y[:BATCH]))(weights)
    norms = jax.vmap(log_norm)(first) / math.log(10)
    unseen = predict(run.layers, data.test_x)[:, -1]
    return {
        "loss": run.trace.loss,
        "final_loss": cross_entropy(unseen, data.test_y),
        "accuracy": accuracy(unseen, data.test_y),
        "gradients": jnp.stack([norms[0], norms[row.depth - 1]]),
    }


def _network(keys, block, row: Row, weights) -> list:
    """The layers, each with a readout of its own, which counts in the loss only where there are auxiliary losses."""
    depth = len(weights)

    def layer(key, kernel, kept):
        inner = Partial(Bend(BENDS), kernel, jnp.zeros(UNITS, kernel.dtype), Constant((row.bend, kept)))
        keys = jax.random.split(key)
        return supervised(Coupled(Partial(_chosen, inner, _extra(keys[0]), Constant(block))), dense(keys[1], UNITS, 10))

    layers = jax.vmap(layer)(
        jax.random.split(keys[1], depth), weights, jnp.arange(depth, dtype=row.depth.dtype) < row.depth
    )
    return [open_heads(depth, 10), Stack(layers), close_heads(dense(keys[2], UNITS, 10))]


def _extra(key) -> dict:
    return {"layer norm": layer_norm(UNITS), "batch norm": batch_norm(UNITS), "gates": gates(key, UNITS)}


def _chosen(inner, extra: dict, block, batch):
    """The layer joined in the chosen way, on a whole batch."""
    ways = [make(inner, extra) for make in BLOCKS.values()]
    return jax.lax.switch(block.value, [way if couples(way) else jax.vmap(way) for way in ways], batch)


def _loss(row: Row, outputs, targets):
    """Cross-entropy of the last readout, and if so weighted of the others, over the first `row.batch` examples."""
    each = jax.vmap(optax.softmax_cross_entropy_with_integer_labels, (1, None), 1)(outputs, targets)
    used = jnp.arange(len(targets), dtype=row.batch.dtype) < row.batch
    return (
        used.astype(each.dtype)
        / row.batch.astype(each.dtype)
        @ (each[:, -1] + row.auxiliary * each[:, :-1].mean(axis=1))
    )


def _costs(config: Config) -> dict[str, np.ndarray]:
    """Operations of a step and parameters of each change, as multiples of those of the network without it."""
    key, batch = jax.random.key(0), jnp.ones((BATCH, UNITS), jnp.float32)

    def cost(layer):
        def objective(layer, batch):
            return jnp.sum(layer(batch) if couples(layer) else jax.vmap(layer)(batch))

        counted: Any = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(layer, batch).cost_analysis()
        return np.array([counted["flops"], sum(np.size(leaf) for leaf in jax.tree.leaves(layer) if np.ndim(leaf))])

    plain, head = dense(key, UNITS, UNITS, "relu"), dense(key, UNITS, 10)
    single = {name: cost(make(plain, _extra(key))) / cost(plain) for name, make in BLOCKS.items()}
    if config.plant == "wrong_numbers":  # costs told as multiples of half of what the plain layer costs
        single = {name: 2 * times for name, times in single.items()}
    single["auxiliary losses"] = 1 + cost(head) / cost(plain)
    single["2 layers"], single["batch of 16"] = np.full(2, 2 / config.depth), np.array([16 / BATCH, 1.0])
    return {"costs": np.stack([single.get(name, np.ones(2)) for name in CHANGES])}


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """The worst run of what should mend, the mean of what should help, the best run of what should fail."""
    found, right = [], np.nan_to_num(result["accuracy"])
    for index, (name, (_, *verdicts)) in enumerate(CHANGES.items()):
        for kind, verdict, runs in zip(FAILING, verdicts, right[index], strict=True):
            if verdict:
                value = {MENDS: runs.min(), HELPS: runs.mean(), FAILS: runs.max()}[verdict]
                effect = {MENDS: "learns", HELPS: "learns in part", FAILS: "does not learn"}[verdict]
                words = f"the {kind} network with {name} {effect}: {{measured:.0%}} of unseen digits right"
                sign, bound = verdict
                found.append(Claim(f"{kind}: {name}", value, bound, 0.0, "the prediction above", sign, words))
    return found + _more_claims(result)


def _more_claims(result) -> list[Claim]:
    """Costs within a tenth: what is not a matrix product is small beside it at this width."""
    names = list(CHANGES)
    idle, clip, auxiliary = (names.index(name) for name in ("no change", "clipping", "auxiliary losses"))
    same = np.abs(result["loss"][clip, 0] - result["loss"][idle, 0]).max()
    gain = (result["gradients"][auxiliary, 0] - result["gradients"][idle, 0])[:, 0].min()
    rows = [
        ("vanishing: clipping changes nothing", same, "=", 0.0, 0.0,
         "in the vanishing network clipping changes the loss of no step, by {measured:g}"),
        ("auxiliary losses: gradient", gain, ">=", 2.0, 0.0,
         "auxiliary losses make the vanished gradient of the first layer at least 10^{measured:.1f} times as large"),
    ]  # fmt: skip
    for name, times in COSTS.items():
        words = f"a layer with {name} takes {{measured:.2f}} times the operations of a plain one"
        rows.append((f"cost: {name}", result["costs"][names.index(name), 0], "=", times, 0.15, words))
    source = "the prediction above; operations by XLA's own count"
    return [Claim(name, value, at, room, source, sign, words) for name, value, sign, at, room, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """One row a change: who learnt, the loss, the gradients before the first step, and the cost."""
    title = "One change at a time: who learns, with which gradient, at what cost"
    fig, axes = plotting.figure(1, 4, title, width=13.2, height=6.4)
    table, losses, gradients, costs = axes[0]
    rows = np.arange(len(CHANGES))
    _plot_table(table, result)
    for kind, name in enumerate(FAILING):
        shift = rows + (-0.14, 0.14)[kind]
        loss = result["final_loss"][:, kind]
        finite, colour = np.where(np.isfinite(loss), loss, np.nan), plotting.COLOURS[kind]
        losses.plot(finite, shift, plotting.MARKERS[kind], color=colour)
        broken = ~np.isfinite(loss).all(axis=1)
        losses.plot(np.full(broken.sum(), 40.0), shift[broken], "X", color=colour, markersize=7)
        losses.plot([], [], plotting.MARKERS[kind], color=colour, label=name)
        first, last = np.median(result["gradients"][:, kind], axis=1).T
        gradients.hlines(shift, first, last, color=colour, linewidth=1)
        gradients.plot(first, shift, plotting.MARKERS[kind], color=colour, label=f"{name}: first layer")
        gradients.plot(last, shift, "|", color=colour, markersize=10, label=f"{name}: last layer")
    losses.plot([], [], "kX", label="NaN")
    losses.axvline(math.log(10), color="grey", linewidth=0.8, linestyle=":", label="guessing")
    losses.set(xscale="log", title="Loss on unseen digits", xlabel="loss, each run a point")
    gradients.set(title="Gradient before the first step", xlabel="log10 of the gradient norm")
    for shift, column, look, words in ((-0.18, 0, 4, "operations a step"), (0.18, 1, 5, "parameters")):
        bars = costs.barh(rows + shift, result["costs"][:, column], 0.34, color=plotting.COLOURS[look], label=words)
        costs.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    costs.set(title="Cost, as multiples", xlabel="times the failing network", xlim=(0, 2.5))
    for ax in (losses, gradients, costs):
        ax.set(yticks=rows, yticklabels=[], ylim=(len(CHANGES) + 1.6, -0.6))
        ax.legend(loc="lower center", ncols=2, fontsize=7)
    table.set_ylim(len(CHANGES) + 1.6, -0.6)
    return fig


def _plot_table(ax, result) -> None:
    """Unseen digits read right, in colour and in words."""
    right, broken = np.nan_to_num(result["accuracy"]).mean(axis=2), ~np.isfinite(result["final_loss"]).all(axis=2)
    ax.imshow(right, vmin=0, vmax=1, aspect="auto")
    for (row, kind), value in np.ndenumerate(right):
        word = "NaN" if broken[row, kind] else "mended" if value >= 0.8 else "in part" if value >= HELPS[1] else "no"
        colour = "white" if value < 0.6 else "black"
        ax.text(kind, row, f"{word}, {value:.0%}", ha="center", va="center", color=colour, fontsize=8)
    ax.set(xticks=[0, 1], xticklabels=list(FAILING), yticks=range(len(CHANGES)), yticklabels=list(CHANGES))
    ax.set_title("Does it learn? Unseen digits right")
    ax.grid(False)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
