"""A sweep that is killed with the signal nobody can catch, and started again: the bytes of one that was left alone."""

import random
import time

import pytest
from sweep_cases import ended, files, start

SIZE = {"tilts": 120, "depth": 2}  # tiny cells: most of the time goes into writing
KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_a_sweep_ends_with_the_same_bytes(tmp_path):
    draw, survivors = random.Random(KILLS), []
    for _ in range(KILLS):
        process = start(tmp_path / "killed", **SIZE)
        assert process.stdout.readline() == "started\n"
        had = len(list((tmp_path / "killed").glob("chunk-*")))
        # from compiling, through the first chunks, to a few more of them
        until = had + draw.randrange(4)
        while process.poll() is None and len(list((tmp_path / "killed").glob("chunk-*"))) < until:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.01)
        process.kill()
        ended(process)
        survivors.append(len(list((tmp_path / "killed").glob("chunk-*"))))
    assert survivors == sorted(survivors) and 0 < survivors[-1] < 50
    last, alone = (start(tmp_path / name, **SIZE) for name in ("killed", "alone"))
    assert ended(last)[0] == ended(alone)[0]
    assert files(tmp_path / "killed") == files(tmp_path / "alone")
