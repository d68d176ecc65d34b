"""The same seed gives the same bytes, for every study and whatever else the process has done.

Each study runs twice at its quick preset, so these are marked slow; .ci/run does the same in fresh processes, pictures
and records included. What a clock has measured differs from run to run: its name says so (`gradjax.study.same`).
"""

from pathlib import Path

import pytest

from gradjax.study import contract
from gradjax.study.arrays import check_result
from gradjax.study.same import changed

PROJECT = contract.discover(Path(__file__).resolve().parents[1] / "studies")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_the_same_seed_gives_the_same_bytes(study, x64):
    module = study.module
    once, again = (check_result(module.compute(module.PRESETS["quick"])) for _ in range(2))
    assert changed(once, again) == []
