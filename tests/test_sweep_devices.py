"""The same sweep on one device and eight, in one process and two; and the end of a process whose peer is gone.

Every process has a timeout: with two XLA threads on a CPU, programs can wait for each other for ever, and a dead peer
is waited for until its heartbeat is missed.
"""

import time

import pytest
from sweep_cases import ended, files, free_port, start

SIZE = {"depth": 4}


def results(*processes):
    """The last line of each: device count and digest."""
    said = [ended(process) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return [out.splitlines()[-1].split() for out, _ in said]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "out"
    ((devices, digest),) = results(start(folder, **SIZE))
    assert devices == "1"
    return folder, digest


def test_eight_devices_give_the_bytes_of_one(alone, tmp_path):
    assert results(start(tmp_path, devices=8, **SIZE)) == [["8", alone[1]]]
    assert files(tmp_path) == files(alone[0])


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one_and_resume_each_other(alone, tmp_path):
    """Three devices a process: blocks do not come out even. Only process 0 writes, and it alone knows what is there."""

    def both():
        address = {"port": free_port(), **SIZE}
        peers = [start(tmp_path / str(number), devices=3, process=number, **address) for number in range(2)]
        return results(*peers)

    assert both() == 2 * [["6", alone[1]]]
    assert files(tmp_path / "0") == files(alone[0]) and not (tmp_path / "1").exists()
    (tmp_path / "0" / "chunk-00001.npz").unlink()
    assert both() == 2 * [["6", alone[1]]]
    assert files(tmp_path / "0") == files(alone[0])


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_lost_peer_ends_the_other_and_is_said(tmp_path, victim):
    address = {"port": free_port(), "depth": 2000, "tilts": 60}
    peers = [start(tmp_path, process=number, **address) for number in range(2)]
    for _ in range(600):
        if (tmp_path / "chunk-00001.npz").exists():
            break
        time.sleep(0.1)
    peers[victim].kill()
    _, said = ended(peers[1 - victim], timeout=90)
    ended(peers[victim])
    assert peers[1 - victim].returncode not in (0, None)
    # jaxlib may end the process first, where the coordinator is the one that is gone
    assert "lost another process of this sweep" in said or "another task died" in said
    whole = sorted(tmp_path.glob("chunk-*.npz"))
    assert 2 <= len(whole) < 75 and not (victim and list(tmp_path.glob(".*.tmp")))


def test_a_folder_that_process_0_cannot_use_ends_all(tmp_path):
    (tmp_path / "file").write_text("")
    address = {"port": free_port(), **SIZE}
    peers = [start(tmp_path / "file", process=number, **address) for number in range(2)]
    said = [ended(peer, timeout=90)[1] for peer in peers]
    assert all(peer.returncode not in (0, None) for peer in peers)
    assert "is no folder that can be written to" in said[0]
    assert "process 0 cannot use its folder" in said[1]
