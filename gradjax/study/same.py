"""Whether a second run of the studies gave the same bytes: ``python -m gradjax.study.same FOLDER FOLDER``.

What a clock has measured differs from run to run. A study declares it by name: arrays that are called ``seconds…`` or
``…_seconds…`` are times, their study's picture shows them, and only its other arrays are held to the same bytes. Of
every other study each file is.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gradjax.study.arrays import pack_arrays, unpack_arrays


def is_time(name: str) -> bool:
    """Whether an array's name declares it to be measured by a clock.

    >>> is_time("seconds_wall"), is_time("operations")
    (True, False)
    """
    return "seconds" in name.split("_")


def changed(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> list[str]:
    """The names of arrays that are not the same to the last bit; of times, those that only one result has.

    >>> first = {"a": np.array([0.0]), "seconds": np.array(3.1)}
    >>> changed(first, {"a": np.array([-0.0]), "seconds": np.array(2.9)})
    ['a']
    """
    alone = one.keys() ^ two.keys()
    both = [name for name in one if name not in alone and not is_time(name)]
    packed = [[pack_arrays({"it": arrays[name]}) for name in both] for arrays in (one, two)]
    return sorted([*alone, *(name for name, a, b in zip(both, *packed, strict=True) if a != b)])


def differences(one: Path, two: Path) -> list[str]:
    """What the studies' files in two folders differ in, a line each; empty where they are the same.

    Args:
        one, two: folders that ``python -m studies --out`` has written.
    """
    names = sorted({path.stem for folder in (one, two) for path in folder.glob("*.npz")})
    return [f"{name}: {found}" for name in names for found in _between(one, two, name)]


def _between(one: Path, two: Path, name: str) -> list[str]:
    files = [{path.suffix: path for path in folder.glob(f"{name}.*")} for folder in (one, two)]
    if any(".npz" not in found for found in files):
        return ["only one folder has it"]
    arrays = [unpack_arrays(found[".npz"].read_bytes()) for found in files]
    if any(map(is_time, arrays[0])):
        return [f"the array {array}" for array in changed(*arrays)]
    suffixes = sorted(files[0].keys() | files[1].keys())
    contents = [[found[s].read_bytes() if s in found else b"" for s in suffixes] for found in files]
    return [f"the {s[1:]} file" for s, a, b in zip(suffixes, *contents, strict=True) if a != b]


if __name__ == "__main__":
    found = differences(*map(Path, sys.argv[1:]))
    print("\n".join(found) or "The same bytes.")
    raise SystemExit(bool(found))
