"""A sweep that is killed with the signal nobody can catch, and started again: the bytes of one that was left alone."""

import random
import signal
import time

import pytest
from sweep_cases import ended, files, start

SIZE = {"tilts": 120, "depth": 2}  # 50 chunks of tiny cells
PAUSE = 0.002  # seconds, four times a file: most of the time goes into writing, on a fast machine too
KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments_a_sweep_ends_with_the_same_bytes(tmp_path):
    draw, survivors = random.Random(KILLS), []
    for _ in range(KILLS):
        process = start(tmp_path / "killed", pause=PAUSE, **SIZE)
        assert process.stdout.readline() == "started\n"
        had = len(chunks(tmp_path / "killed"))
        # from compiling, through the first chunk, to two more of them
        until = had + draw.randrange(3)
        while process.poll() is None and len(chunks(tmp_path / "killed")) < until:
            time.sleep(0.001)
        time.sleep(draw.random() * 4 * PAUSE)
        process.kill()
        ended(process)
        assert process.returncode == -signal.SIGKILL  # it had not ended by itself
        survivors.append(len(chunks(tmp_path / "killed")))
    last, alone = (start(tmp_path / name, **SIZE) for name in ("killed", "alone"))
    assert ended(last)[0] == ended(alone)[0]
    assert survivors == sorted(survivors) and 0 < survivors[-1] < len(chunks(tmp_path / "killed"))
    assert files(tmp_path / "killed") == files(tmp_path / "alone")


def chunks(folder):
    return list(folder.glob("chunk-*"))
