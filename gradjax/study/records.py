"""Records: everything that a figure's claims rest on, in one JSON file that notices when it is edited.

A record holds no date and no duration: the same run writes the same bytes, and a change in one shows in a diff.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradjax.study.arrays import encode_arrays, encode_number
from gradjax.study.claims import Claim
from gradjax.study.contract import Study
from gradjax.study.files import sha256
from gradjax.study.schema import first_departure
from gradjax.study.usage import RecordError

FORMAT = "gradjax study record 1"


def make_record(
    study: Study,
    preset: str,
    config: Any,
    preset_config: Any,
    environment: Mapping[str, Any],
    claims: list[Claim],
    result: Mapping[str, np.ndarray],
    alternative_text: str,
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    """The record of one run, sealed with its digest.

    Args:
        study: whose docstring, source and field documents are kept.
        preset: the preset's name.
        config: what was run.
        preset_config: what the preset alone would have run; the difference is kept as ``changed``.
        environment: versions, device, precision.
        claims: with their verdicts.
        result: the arrays; those that fit are kept in the record itself.
        alternative_text: the figure in words.
        files: suffix -> bytes of the files beside the record; their digests are kept.
    """
    plain, before = plain_config(config), plain_config(preset_config)
    arrays, left_out = encode_arrays(result)
    return sealed(
        {
            "format": FORMAT,
            "name": study.name,
            "title": study.title,
            "part": study.part,
            "order": study.order,
            "question": study.question,
            "docstring": study.docstring,
            "preset": preset,
            "changed": {name: value for name, value in plain.items() if value != before[name]},
            "config": plain,
            "fields": study.field_documents(),
            "seed": config.seed,
            "environment": dict(environment),
            "claims": [_plain_claim(claim) for claim in claims],
            "figure": alternative_text,
            "files": {suffix: sha256(content) for suffix, content in files.items()},
            "arrays": arrays,
            "arrays_left_out": left_out,
            "source": study.source,
        }
    )


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the digest of everything else in it."""
    body = {name: value for name, value in record.items() if name != "digest"}
    return body | {"digest": _digest(body)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether the record's digest is that of its content: False after an edit by hand."""
    return record.get("digest") == _digest({name: value for name, value in record.items() if name != "digest"})


def render_record(record: Mapping[str, Any]) -> bytes:
    """The record as JSON with one entry a line, so that a diff shows what changed."""
    lines = [f" {_json(name)}: {_entries(value)}" for name, value in record.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_record(path: Path) -> dict[str, Any]:
    """The record in the file.

    Raises:
        RecordError: where the file is missing, is no JSON, or is no record.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RecordError(
            f"there is no record {path.name} in {path.parent}; run the study without --replot first"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} cannot be read as JSON; run the study again") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RecordError(f"{path.name} is no record of this kind ({FORMAT!r}); run the study again")
    if wrong := first_departure(record):
        raise RecordError(f"{path.name} is no whole record: what it says of {wrong!r} cannot be; run the study again")
    return record


def plain_config(config: Any) -> dict[str, Any]:
    """The fields of a ``Config`` as plain JSON values."""
    return {name: _plain(value) for name, value in dataclasses.asdict(config).items()}


def config_from(kind: type, plain: Mapping[str, Any]) -> Any:
    """The ``Config`` that ``plain_config`` gave these values for.

    Raises:
        RecordError: where the fields are other ones, or do not give the same values back.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    if set(defaults) != set(plain):
        raise RecordError(
            f"the record's config has the fields {sorted(plain)}, the study's {sorted(defaults)}; run it again"
        )
    config = kind(**{name: _from_plain(value, defaults[name]) for name, value in plain.items()})
    if plain_config(config) != dict(plain):
        raise RecordError("the record's config cannot be restored; run the study again")
    return config


def claims_differ(record: Mapping[str, Any], claims: list[Claim]) -> list[str]:
    """The names of the claims whose record is not what their study now says about the same arrays."""
    recorded = {claim["name"]: claim for claim in record["claims"]}
    current = {claim.name: _plain_claim(claim) for claim in claims}
    return sorted(name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name))


def _plain_claim(claim: Claim) -> dict[str, Any]:
    return {name: _plain(value) for name, value in claim.as_dict().items()}


def _plain(value: Any) -> Any:
    """JSON values: sequences as lists, non-finite floats as the strings 'nan', 'inf' and '-inf'."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, float):
        return encode_number(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(
        f"a record holds numbers, words, and sequences of them, not {type(value).__name__} ({value!r:.100})"
    )


def _from_plain(value: Any, default: Any) -> Any:
    if isinstance(value, list):
        inner = default[0] if isinstance(default, tuple) and default else None
        return tuple(_from_plain(item, inner) for item in value)
    if isinstance(default, float) and isinstance(value, str):
        if value not in ("nan", "inf", "-inf"):  # what `_plain` writes of a float, and nothing else is one
            raise RecordError(f"the record's config has {value!r:.100} in a number's place; run the study again")
        return float(value)
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _entries(value: Any) -> str:
    """One level of lines inside a list or mapping; what lies deeper stays on its entry's line."""
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {_json(name)}: {_json(item)}" for name, item in value.items()) + "\n }"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {_json(item)}" for item in value) + "\n ]"
    return _json(value)


def _digest(body: Mapping[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
