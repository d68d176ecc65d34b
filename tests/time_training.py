"""Time a grid of trainings as one vmapped program against the same runs in a Python loop over jitted steps.

No test: `python tests/time_training.py` runs 200 networks of depth 20 and width 64 for 300 steps each and prints one
line: seconds a run and step of both and their ratio, medians of the repeats, in wall and in processor time, which alone
tells something on a machine that does other work. The loop runs over the first few networks only, for each costs the
same. Both train the same networks on the same batches with the same optimizer; neither count holds the compiling. The
program returns every run's whole trace, which the loop does not make. `--chunk` is how many runs are vmapped at once;
0 leaves that to `gradjax.training.over_grid`.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import optax

from gradjax.networks import mlp
from gradjax.training import cross_entropy, over_grid, predict, train


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
            return run.trace

        return over_grid(one, (networks, rates), together=arguments.chunk or None)

    @jax.jit
    def step(layers, state, rate):
        value, gradient = jax.value_and_grad(lambda layers: cross_entropy(predict(layers, x), y))(layers)
        update, state = optax.sgd(rate, momentum=0.9).update(gradient, state)
        return optax.apply_updates(layers, update), state, value

    return networks, rates, together, step


def loop(networks, rates, step, arguments) -> None:
    """The Python loop over the first runs."""
    for index in range(arguments.looped):
        layers = jax.tree.map(lambda leaf, i=index: leaf[i], networks)
        state = optax.sgd(0.1, momentum=0.9).init(layers)
        for _ in range(arguments.steps):
            layers, state, value = step(layers, state, rates[index])
        jax.block_until_ready(value)


def seconds(work, count: int) -> tuple[float, float]:
    """Wall and processor time of the work, for each of its steps."""
    begin = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - begin[0]) / count, (time.process_time() - begin[1]) / count


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = {"runs": 200, "chunk": 0, "looped": 10, "depth": 20, "width": 64, "batch": 64, "steps": 300, "repeats": 5}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    networks, rates, together, step = grid(arguments)
    jax.block_until_ready(together(networks, rates))
    loop(networks, rates, step, argparse.Namespace(**{**vars(arguments), "looped": 1, "steps": 2}))
    pairs = []
    for _ in range(arguments.repeats):
        once = seconds(lambda: jax.block_until_ready(together(networks, rates)), arguments.runs * arguments.steps)
        pairs.append(
            (once, seconds(lambda: loop(networks, rates, step, arguments), arguments.looped * arguments.steps))
        )
    (wall, processor), (loop_wall, loop_processor) = (
        [statistics.median(pair[way][kind] for pair in pairs) for kind in (0, 1)] for way in (0, 1)
    )
    print(
        f"{arguments.runs} runs of {arguments.steps} steps, depth {arguments.depth}, width {arguments.width}, "
        f"a run and step: one program {wall * 1e6:.0f} µs, Python loop {loop_wall * 1e6:.0f} µs, "
        f"ratio {loop_wall / wall:.2f} (processor time {processor * 1e6:.0f} and {loop_processor * 1e6:.0f} µs, "
        f"ratio {loop_processor / processor:.2f})"
    )


if __name__ == "__main__":
    main()
