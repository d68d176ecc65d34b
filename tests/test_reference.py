"""Every supported version of jax gives the stored numbers, within what platforms may differ by, and the same verdict.

The tolerances are those of `gradjax.platforms.platform_tolerance`, the bounds that products give of themselves, and
what theory promises. One number serves float32 and float64, but where each draws its own.
"""

import json

import jax
import numpy as np
import pytest
from reference_cases import DRAWN, FILE, SHARED, compared, words

QUICK = {(name, "float32") for name in ("norms", "training", "clipping", "grid")} | {("draws", "float64")}
ALL = [(name, dtype) for name in SHARED | DRAWN for dtype in ("float32", "float64")]


@pytest.mark.parametrize(
    ("name", "dtype"), [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in ALL]
)
def test_the_stored_numbers_are_found_and_wrong_ones_noticed(name, dtype, x64):
    jax.config.update("jax_enable_x64", dtype == "float64")
    found, allowed, stored = compared(name, dtype)
    wrong = found.astype(float) * (1 + (1e-2 if dtype == "float32" else 1e-6))
    assert found.shape == stored.shape and not (np.abs(wrong - stored) <= allowed).all()
    off = np.abs(found.astype(float) - stored)
    assert (off <= allowed).all(), f"{np.nanmax(off / allowed)} times what is allowed"


@pytest.mark.slow
def test_the_verdict_is_the_same_in_every_letter_and_the_bits_are():
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    assert words() == {name: stored[name] for name in ("verdict", "bits")}
