"""What a record's parts must be before anything reads them: a file comes from anywhere, a digest proves no origin.

Names become parts of paths and of addresses on the page, so they are identifiers and nothing else.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

KINDS = "biufU"
FILES = {"png", "pdf", "csv", "npz"}


def first_departure(record: Mapping[str, Any]) -> str:
    """What is first found wrong with the record's shape, in words; empty where nothing is.

    >>> first_departure({"name": "../../elsewhere"})
    'name'
    """
    return next((name for name, good in PARTS.items() if not _is(good, record.get(name))), "")


def _is(good: Callable[[Any], bool], value: Any) -> bool:
    try:
        return bool(good(value))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return False


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _identifier(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^\W\d]\w*", value) is not None


def _integer(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    """A real number, or what stands for a non-finite one."""
    return type(value) in (int, float) or value in ("nan", "inf", "-inf")


def _plain(value: Any) -> bool:
    """A value of a config: numbers, words, and lists of them."""
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | str | int | float)


def _map(key: Callable[[Any], bool], item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(_is(key, k) and _is(item, v) for k, v in value.items())


def _list(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(_is(item, entry) for entry in value)


def _claim(value: Any) -> bool:
    words = all(_text(value[name]) for name in ("name", "source", "relation", "statement"))
    words = words and _text(value.get("miss", ""))
    numbers = all(_number(value[name]) for name in ("measured", "expected", "tolerance"))
    return words and numbers and type(value["holds"]) is bool


def _array(value: Any) -> bool:
    dtype, shape = np.dtype(value["dtype"]), value["shape"]
    sized = _list(_integer)(shape) and all(length >= 0 for length in shape)
    right = str if dtype.kind == "U" else bool | int | float | str
    values = isinstance(value["values"], list) and all(isinstance(entry, right) for entry in value["values"])
    return dtype.kind in KINDS and sized and values and math.prod(shape) == len(value["values"])


def _environment(value: Any) -> bool:
    words = _text(value["device"]) and _text(value["dtype"]) and all(map(_text, value))
    return type(value["x64"]) is bool and words and _map(_text, _text)(value["versions"])


PARTS: dict[str, Callable[[Any], bool]] = {
    "name": _identifier,
    "title": _text,
    "part": _identifier,
    "order": _integer,
    "question": _text,
    "docstring": _text,
    "preset": _identifier,
    "changed": _map(_identifier, _plain),
    "config": _map(_identifier, _plain),
    "fields": _map(_identifier, _text),
    "seed": _integer,
    "environment": _environment,
    "claims": _list(_claim),
    "figure": _text,
    "files": lambda value: _map(_identifier, _text)(value) and value.keys() == FILES,
    "arrays": _map(_identifier, _array),
    "arrays_left_out": _list(_identifier),
    "source": _text,
    "digest": _text,
}
