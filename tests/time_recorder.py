"""Time a training step with and without the flight recorder, side by side.

No test: `python tests/time_recorder.py` prints, for each size, the recorder's cost as a part of a step: the median over
the repeats of the ratio of two programs run one after the other. Both run the same steps of stochastic gradient descent
with momentum, the cheapest optimizer in use, on the same batch: in a bare `lax.scan`, and in `gradjax.training.train`,
whose trace has the gradient's norms already. Processor time is given beside wall time, which on a machine that does
other work tells little.
"""

import argparse
import statistics
import time

import jax
import optax

from gradjax.networks import mlp
from gradjax.recorder import record
from gradjax.training import cross_entropy, predict, train

SIZES = ((64, 20, 128), (64, 20, 512), (256, 20, 128), (256, 20, 512))  # width, depth, batch


def bare(optimizer, x, y, steps: int):
    """A jitted training of so many steps, in a scan that does nothing else."""
    guided = optax.with_extra_args_support(optimizer)

    def step(carry, _):
        layers, state = carry
        value, gradient = jax.value_and_grad(lambda layers: cross_entropy(predict(layers, x), y))(layers)
        update, state = guided.update(gradient, state, layers, value=value)
        return (optax.apply_updates(layers, update), state), None

    return jax.jit(lambda layers: jax.lax.scan(step, (layers, optimizer.init(layers)), None, length=steps)[0])


def traced(optimizer, x, y, steps: int):
    """The same in the library's own loop, with its trace."""
    return jax.jit(lambda layers: train(layers, cross_entropy, optimizer, (x, y), steps=steps)[1:])


def seconds(program, layers) -> tuple[float, float]:
    """Wall and processor time of one run."""
    begin = time.perf_counter(), time.process_time()
    jax.block_until_ready(program(layers))
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def cost(trainer, width: int, depth: int, batch: int, steps: int, repeats: int) -> tuple[float, float, float]:
    """Seconds of a plain step, and what recording adds to it as a part of it, in wall and in processor time."""
    layers = mlp(0, [64, *[width] * (depth - 1), 10], "tanh")
    x = jax.random.normal(jax.random.key(1), (batch, 64))
    y = jax.random.randint(jax.random.key(2), (batch,), 0, 10)
    plain, stacked = optax.sgd(0.01, momentum=0.9), {(18, width, width), (19, width, width), (18, width), (19, width)}
    recorded = record(plain, stacked=lambda name, leaf: leaf.shape in stacked)
    programs = [trainer(optimizer, x, y, steps) for optimizer in (plain, recorded)]
    for program in programs:
        seconds(program, layers)
    pairs = [[seconds(program, layers) for program in programs] for _ in range(repeats)]
    wall, processor = (statistics.median(b[i] / a[i] - 1 for a, b in pairs) for i in (0, 1))
    return statistics.median(a[0] for a, _ in pairs) / steps, wall, processor


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    for width, depth, batch in SIZES:
        for trainer in (bare, traced):
            steps = arguments.steps if width < 128 else max(1, arguments.steps // 8)
            step, wall, processor = cost(trainer, width, depth, batch, steps, arguments.repeats)
            print(
                f"{trainer.__name__}, width {width}, depth {depth}, batch {batch}: a step takes {step * 1e3:.2f} ms, "
                f"recording it adds {wall:.1%} (processor time: {processor:.1%})",
                flush=True,
            )


if __name__ == "__main__":
    main()
