"""Two platforms agree within `platform_tolerance`: precisions, instruction sets, compilers' efforts, device counts.

What no CPU can show, a GPU or TPU, is held to the same tolerance by the same functions where one is at hand.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import platform_cases
import pytest
from platform_cases import DEPTH, NETWORKS, WIDTH, beyond, kernels, measured

from gradjax.platforms import platform_tolerance

OTHERS = {
    "another instruction set": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},  # no fused multiply-add, half the lanes
    "eight devices, one thread": {"JAX_NUM_CPU_DEVICES": "8", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
    "no optimizations": {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
}


@pytest.fixture(scope="module")
def here():
    """This process's numbers: the tests' own flags leave most optimizations out."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield platform_cases.all_numbers()
    jax.config.update("jax_enable_x64", before)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_another_platform_agrees(name, here, tmp_path):
    """Gradients, Jacobians, singular values and theory, in both precisions."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1", "NPROC": "16", **OTHERS[name]}
    command = [sys.executable, platform_cases.__file__, str(tmp_path / "found.npz")]
    subprocess.run(command, env=environment, check=True, timeout=600)
    with np.load(tmp_path / "found.npz") as file:
        there = dict(file)
    ratios = beyond(here, there)
    assert ratios.keys() == {name for name in here if not name.endswith("errors")}
    assert max(ratios.values()) <= 1, {name: ratio for name, ratio in ratios.items() if ratio > 1}


def named(name, dtype, weights):
    return {f"float32, {name}, {what}": value for what, value in measured(name, dtype, weights).items()}


@pytest.mark.parametrize("name", [pytest.param("tanh"), pytest.param("relu", marks=pytest.mark.slow)])
def test_float32_is_float64_to_its_tolerance_and_bfloat16_weights_are_noticed(name, x64):
    """Weights rounded to bfloat16 are what a TPU multiplies unless asked otherwise: the tolerance is no empty one."""
    weights = kernels(NETWORKS[name])
    low, high = (named(name, dtype, weights) for dtype in ("float32", "float64"))
    ratios = beyond(low, high)
    assert len(ratios) == 5 and max(ratios.values()) <= 1, ratios
    coarse = named(name, "float32", np.asarray(jnp.asarray(weights, jnp.bfloat16), np.float32))
    assert min(beyond(low, coarse).values()) > 3


def test_the_tolerance_is_the_sum_of_what_layers_lose():
    one = platform_tolerance("float32", 1, 1)
    assert one == 2 * 9 * np.finfo(np.float32).eps
    assert platform_tolerance(np.float32, 10, 1) == 10 * one
    assert platform_tolerance("float64", 1, 1) < 1e-8 * one and platform_tolerance("bfloat16", 1, 64) > 0.1
    assert platform_tolerance("float32", DEPTH, WIDTH, growth=3.0) == 3 * platform_tolerance("float32", DEPTH, WIDTH)
    for bad in ({"depth": 0}, {"width": 0}, {"dtype": int}, {"growth": 0.0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} is"):
            platform_tolerance(**{"dtype": "float32", "depth": 1, "width": 1} | bad)
