"""Time a grid of trainings as one vmapped program against the same runs in a Python loop over jitted steps.

No test: `python tests/time_training.py --runs 200 --steps 300` prints seconds a run and step for both, median of the
repeats, the loop over the first few runs only (it costs the same for each). Both train the same network on the same
batches with the same optimizer; neither count holds the compiling. `--chunk` is how many runs are vmapped at once, one
chunk after the other within the one program: on a CPU few, that they fit into the cache, on a GPU all.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import optax

from gradjax.networks import mlp
from gradjax.training import cross_entropy, predict, train


def grid(arguments):
    """Learning rates and networks, the data, and the two programs: all runs at once, and one step of one run."""
    keys = jax.random.split(jax.random.key(0), arguments.runs)
    sizes = [64, *[arguments.width] * (arguments.depth - 1), 10]
    networks = jax.vmap(lambda key: mlp(key, sizes, "relu", "he_normal"))(keys)
    rates = jnp.geomspace(1e-3, 1e-1, arguments.runs)
    x = jax.random.normal(jax.random.key(1), (arguments.batch, 64))
    y = jax.random.randint(jax.random.key(2), (arguments.batch,), 0, 10)

    @jax.jit
    def together(networks, rates):
        def one(layers, rate):
            run = train(layers, cross_entropy, optax.sgd(rate, momentum=0.9), (x, y), steps=arguments.steps)
            return run.trace.loss[-1]

        return jax.lax.map(lambda point: one(*point), (networks, rates), batch_size=arguments.chunk)

    @jax.jit
    def step(layers, state, rate):
        value, gradient = jax.value_and_grad(lambda layers: cross_entropy(predict(layers, x), y))(layers)
        update, state = optax.sgd(rate, momentum=0.9).update(gradient, state)
        return optax.apply_updates(layers, update), state, value

    return networks, rates, together, step


def loop(networks, rates, step, arguments) -> float:
    """Seconds a run and step of the Python loop, over the first runs."""
    begin = time.perf_counter()
    for index in range(arguments.looped):
        layers = jax.tree.map(lambda leaf, i=index: leaf[i], networks)
        state = optax.sgd(0.1, momentum=0.9).init(layers)
        for _ in range(arguments.steps):
            layers, state, value = step(layers, state, rates[index])
        jax.block_until_ready(value)
    return (time.perf_counter() - begin) / arguments.looped / arguments.steps


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"runs": 200, "chunk": 10, "looped": 20, "depth": 20, "width": 64, "batch": 64, "steps": 300, "repeats": 3}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    networks, rates, together, step = grid(arguments)
    jax.block_until_ready(together(networks, rates))
    loop(networks, rates, step, argparse.Namespace(**{**vars(arguments), "looped": 1, "steps": 2}))
    vmapped, looped = [], []
    for _ in range(arguments.repeats):
        begin = time.perf_counter()
        jax.block_until_ready(together(networks, rates))
        vmapped.append((time.perf_counter() - begin) / arguments.runs / arguments.steps)
        looped.append(loop(networks, rates, step, arguments))
    once, other = statistics.median(vmapped), statistics.median(looped)
    print(
        f"vmapped scan {once * 1e6:.0f} µs, Python loop {other * 1e6:.0f} µs a run and step: ratio {other / once:.2f}"
    )


if __name__ == "__main__":
    main()
