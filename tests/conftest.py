"""Strict promotion everywhere, and both precisions: silent promotion fakes a gradient result."""

import os

# two workers with two BLAS threads each on two cores wait for each other: a 256 x 256 SVD then takes 1 s, not 10 ms
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# with two threads XLA's programs that draw orthogonal weights can wait for each other for ever
os.environ.setdefault("NPROC", "16")

import jax
import pytest

collect_ignore = ["make_product_truth.py", "mutants.py"]  # they need packages that no test needs

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # of XLA: most of a test's time is compiling, not running


X64 = jax.config.read("jax_enable_x64")


@pytest.fixture(autouse=True)
def _x64_as_at_the_start():
    """The command line, which some tests run in this process, sets the flag and owns its process: not this one."""
    jax.config.update("jax_enable_x64", X64)
    yield
    jax.config.update("jax_enable_x64", X64)


@pytest.fixture(autouse=True, scope="module")
def _programs_of_one_file():
    """Programs are let go file by file: thousands of them use up what a process may map, and the compiler dies."""
    yield
    jax.clear_caches()


def _with_x64(enabled):
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", enabled)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def x64():
    """The test runs with 64-bit types enabled."""
    yield from _with_x64(True)


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """The test runs once in each world; the value is the name of the default float type."""
    yield from ((request.param) for _ in _with_x64(request.param == "float64"))
