"""Every claim of every study can fail: a planted fault makes it (quick preset).

Each study runs once for every fault, so these are marked slow; .ci/run runs them all. That every claim holds without
a fault is what .ci/run asks of `python -m studies` itself, in the same preset.
"""

import dataclasses
from pathlib import Path

import pytest

from gradjax.study import contract
from gradjax.study.arrays import check_result
from gradjax.study.claims import check_claims

PROJECT = contract.discover(Path(__file__).resolve().parents[1] / "studies")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_a_plant_makes_its_claims_fail(study, x64):
    module = study.module
    for plant, covered in module.PLANTS.items():
        config = dataclasses.replace(module.PRESETS["quick"], plant=plant)
        claims = check_claims(module.claims(config, check_result(module.compute(config))), module.PLANTS)
        failed = {claim.name for claim in claims if not claim.holds}
        sentences = "\n".join(claim.sentence() for claim in claims)
        assert failed >= set(covered), f"plant {plant!r}:\n{sentences}"
