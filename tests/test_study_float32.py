"""Every claim of every study holds where nothing has 64 bits, each tolerance that of the run's own precision.

The runs are marked slow: each study at its quick preset, as `python -m studies --no-x64` has it. Whether a tolerance
follows the precision is told at once, from the arrays of a committed record.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

from gradjax.study import contract
from gradjax.study.arrays import check_result, saved_arrays
from gradjax.study.claims import check_claims
from gradjax.study.records import config_from, read_record

ROOT = Path(__file__).resolve().parents[1]
STUDIES = {study.name: study for study in contract.discover(ROOT / "studies")}
ROUNDED = {  # study -> the claims that rounding alone decides
    "jacobian_spectrum_with_depth": {"orthogonal control"},
    "weight_scale_explorer": {"orthogonal control"},
    "cost_of_exactness": {"error at 1e-6", "error at 1e-9", "bound", "control: layers that turn"},
}


@pytest.fixture
def optimized():
    """As the command line runs studies: here running takes longer than compiling."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_holds_in_float32(name, optimized):
    jax.config.update("jax_enable_x64", False)
    module = STUDIES[name].module
    config = module.PRESETS["quick"]
    result = check_result(module.compute(config))
    claims = check_claims(module.claims(config, result), module.PLANTS, getattr(module, "MISSES", None))
    assert not [claim.sentence() for claim in claims if not claim.passes]


def recorded(name, x64):
    """Tolerance by claim of the committed record's arrays, kept in float64 or as a run without 64 bits keeps them."""
    jax.config.update("jax_enable_x64", x64)
    module, path = STUDIES[name].module, ROOT / "figures" / f"{name}.json"
    record = {**read_record(path), "arrays_left_out": []}  # no claim asks for those
    arrays = saved_arrays(record, path.with_suffix(".none"))
    if not x64:
        arrays = {key: a.astype(np.float32) if a.dtype == np.float64 else a for key, a in arrays.items()}
    config = config_from(module.Config, record["config"])
    return {claim.name: claim.tolerance for claim in module.claims(config, arrays)}


@pytest.mark.parametrize("name", ROUNDED)
def test_what_rounding_decides_is_judged_by_the_precision_of_the_run(name):
    low, high = recorded(name, False), recorded(name, True)
    ratio = np.finfo(np.float32).eps / np.finfo(np.float64).eps
    np.testing.assert_allclose([low[claim] / high[claim] for claim in ROUNDED[name]], ratio, rtol=1e-12)
