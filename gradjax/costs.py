"""What a program costs: the arithmetic that XLA, jax's compiler, counts in it, and the time that it takes here.

The count is the same on every run, and nearly so from one version or device to the next, which may write a program in
other operations. The time is what one waits, and no two runs agree on it.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from gradjax.arguments import as_function, whole


class Cost(NamedTuple):
    """What one call of a compiled program costs.

    Args:
        operations: floating-point additions and multiplications, as XLA counts them; NaN where a backend does not say.
        seconds: the shortest of the calls timed; NaN where none was.
    """

    operations: float
    seconds: float


def cost(function: Callable, *arguments: Any, repeats: int = 0) -> Cost:
    """Cost of the compiled function at these arguments.

    XLA counts a multiplication and an addition each as one, the body of a loop (`lax.scan`, `fori_loop`) once however
    often it runs, and sin, exp, tanh and their like not at all. Compiling fixes the shapes; values do not matter.

    Args:
        function: of arrays, able to run under `jit`.
        arguments: pytrees of arrays.
        repeats: calls to time, 0 to 10⁶; the shortest is reported, for whatever else the machine does only adds.

    Raises:
        ValueError: a negative number of repeats.

    Reference: Griewank and Walther (2008), Evaluating Derivatives, chapter 4, on why operations are what to count.

    >>> import jax.numpy as jnp
    >>> cost(lambda a, b: a @ b, jnp.ones((2, 3)), jnp.ones((3, 5))).operations
    60.0
    """
    repeats, function = whole("repeats", repeats, 0, 10**6), as_function("function", function, "of arrays")
    compiled = jax.jit(function).lower(*arguments).compile()
    return Cost(_operations(compiled), _shortest(compiled, arguments, repeats))


def _operations(compiled: Any) -> float:
    """The count; jax has given it as one dict, and as a list of one dict for each device program. A dict without the
    entry is of a program without such operations; no dict at all is a backend that does not say."""
    analysis = compiled.cost_analysis()
    parts = analysis if isinstance(analysis, list | tuple) else [analysis]
    return float(sum(part.get("flops", 0.0) if part else math.nan for part in parts))


def _shortest(compiled: Any, arguments: tuple, repeats: int) -> float:
    if repeats:
        jax.block_until_ready(compiled(*arguments))  # the first call also pays for what is set up once
    shortest = math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        shortest = min(shortest, time.perf_counter() - began)
    return shortest if repeats else math.nan
