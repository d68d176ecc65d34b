"""The same seed gives the same bytes, for every study and whatever else the process has done; other platforms: nearly.

Each study runs twice at its quick preset, so these are marked slow. What a clock has measured differs from run to run:
arrays whose name says "seconds" are exempt, and nothing else is.
"""

from pathlib import Path

import pytest

from gradjax.study import contract
from gradjax.study.arrays import check_result, pack_arrays

PROJECT = contract.discover(Path(__file__).resolve().parents[1] / "studies")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_the_same_seed_gives_the_same_bytes(study, x64):
    module = study.module
    once, again = (check_result(module.compute(module.PRESETS["quick"])) for _ in range(2))
    assert once.keys() == again.keys()
    same = {name: pack_arrays({"it": once[name]}) == pack_arrays({"it": again[name]}) for name in once}
    assert not [name for name in once if not same[name] and "seconds" not in name]
