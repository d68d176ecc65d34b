"""A study's result as files hold it: arrays in an ``.npz`` without pickles, and those that fit in the record's JSON."""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradjax.study.usage import RecordError

BUDGET = 200_000  # characters of JSON: a committed record stays small enough to read and to diff
KINDS = "biufU"


def check_result(result: object) -> dict[str, np.ndarray]:
    """The result as NumPy arrays by name.

    Raises:
        ValueError: for something that is no mapping from identifiers to arrays of bool, integers, reals or text.
    """
    if not isinstance(result, Mapping) or not result:
        raise ValueError(
            f"compute(config) gave {type(result).__name__}; expected a non-empty mapping from name to array"
        )
    arrays = {}
    for name, value in result.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"compute(config) gave the name {name!r}; expected a Python identifier")
        arrays[name] = np.asarray(value)
        if arrays[name].dtype.kind not in KINDS or arrays[name].dtype == np.longdouble:
            raise ValueError(
                f"compute(config) gave {name!r} of dtype {arrays[name].dtype}; expected bool, integer, real or text "
                "(split complex numbers into two arrays, cast bfloat16 to float32 and longdouble to float64)"
            )
    return arrays


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as the bytes of an ``.npz`` file, the same for the same arrays.

    Uncompressed: another zlib would give other bytes, and the record holds their digest.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an ``.npz`` file; a pickle in it is not opened.

    Raises:
        RecordError: for anything that is no such file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # a foreign file may raise anything: zlib, struct, zipfile and NumPy read it
        raise RecordError(f"the saved arrays cannot be read ({error}); run the study again") from error


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], list[str]]:
    """The arrays as JSON values, the smallest first until the budget is spent, and the names of those left out."""
    kept, spent = set(), 0
    encoded = {name: _encode(array) for name, array in arrays.items() if array.size <= BUDGET}
    for size, name in sorted((len(json.dumps(value, ensure_ascii=False)), name) for name, value in encoded.items()):
        spent += size
        if spent <= BUDGET:
            kept.add(name)
    return {n: encoded[n] for n in arrays if n in kept}, [n for n in arrays if n not in kept]


def saved_arrays(record: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The arrays that a record's figure was drawn from: the file's, or the record's own where it holds them all.

    A clone has no ``.npz`` (git ignores them), so the record must be enough where it can be.

    Raises:
        RecordError: where neither has them.
    """
    if path.exists():
        return unpack_arrays(path.read_bytes())
    if record["arrays_left_out"]:
        raise RecordError(
            f"{path.name} is missing, and the record left {record['arrays_left_out']} out; run the study again"
        )
    return {name: _decode(value) for name, value in record["arrays"].items()}


def encode_number(value: float) -> float | str:
    """A float for JSON, which has no non-finite numbers: 'nan', 'inf' or '-inf' in words."""
    return value if math.isfinite(value) else str(value)


def _encode(array: np.ndarray) -> dict[str, Any]:
    values = array.ravel().tolist()
    if array.dtype.kind == "f":
        values = [encode_number(value) for value in values]
    return {"dtype": array.dtype.str, "shape": list(array.shape), "values": values}


def _decode(encoded: Mapping[str, Any]) -> np.ndarray:
    dtype = np.dtype(encoded["dtype"])
    values = [float(value) for value in encoded["values"]] if dtype.kind == "f" else encoded["values"]
    return np.array(values, dtype).reshape(encoded["shape"])
