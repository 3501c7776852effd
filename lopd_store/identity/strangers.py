"""JSON files that other tools wrote: bounded, strict, with floats.

`canonical.py` reads our own documents; checkpoints hold floats and come in any spelling.
"""

import json
import math
from pathlib import Path
from typing import Any, Final

import rfc8785

from lopd_store.canonical import MAX_INTEGER, unique_keys
from lopd_store.errors import FormatError, NotFoundError

MAX_CONFIG_BYTES: Final = 16 << 20  # the largest published config.json is under 1 MB


def read_bytes(path: Path, *, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.

    Raises:
        NotFoundError: there is no such file.
        FormatError: it is larger than `limit`.
    """
    # A pipe or a device would never end.
    if not path.is_file():
        raise NotFoundError(f"expected a file {path}, found none")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FormatError(f"{path}: expected at most {limit} bytes, found more")
    return data


def parse_object(data: bytes, *, what: str) -> dict[str, Any]:
    """A JSON object, each key once. Raises FormatError otherwise."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON: {error}") from error
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object, found {type(value).__name__}")
    return value


def read_object(path: Path, *, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The JSON object in a file: `read_bytes`, then `parse_object`."""
    return parse_object(read_bytes(path, limit=limit), what=str(path))


def read_optional(path: Path) -> dict[str, Any]:
    """`read_object`, or an empty object where there is no such file."""
    return read_object(path) if path.is_file() else {}


def without_floats(value: Any) -> Any:
    """The value with each number in one spelling, fit for canonical JSON.

    10000 and 10000.0 are the integer 10000; other floats become their shortest decimal string
    (RFC 8785), as do infinities and NaN. Raises FormatError when it is nested too deep.
    """
    try:
        return _without_floats(value)
    except RecursionError as error:
        raise FormatError(f"expected JSON that is not nested so deep: {error}") from error


def _without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_floats(item) for item in value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return str(value)
    return value


def _number(value: float) -> int | str:
    if not math.isfinite(value):
        return repr(value)
    if value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    text: bytes = rfc8785.dumps(value)
    return text.decode()
