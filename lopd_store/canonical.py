"""RFC 8785 canonical JSON, restricted to what digests may cover: no floats, no big integers.

`encode(decode(data)) == data` for every document we accept: there is exactly one byte string
for each value, so a document can be embedded in another and still be checked by its digest.
"""

import json
from typing import Any, Final, NoReturn

import rfc8785

from lopd_store.errors import FormatError

MAX_DOCUMENT_BYTES: Final = 64 << 20
MAX_INTEGER: Final = 2**53 - 1  # I-JSON (RFC 7493): what every JSON reader keeps exact
_MAX_DIGITS: Final = 17


def encode(value: Any) -> bytes:
    """The canonical bytes of a value. Raises FormatError on floats and integers over 2^53-1."""
    try:
        _refuse_floats(value, "")
        return bytes(rfc8785.dumps(value))
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise FormatError(f"expected a JSON value that can be made canonical: {error}") from error


def decode(data: bytes, *, what: str = "document") -> Any:
    """Read a canonical document.

    Raises:
        FormatError: too large, not UTF-8, not JSON, a duplicate key, a float, an integer over
            2^53-1, nested too deep, or not in canonical form.
    """
    value = decode_lenient(data, what=what)
    if encode(value) != data:
        raise FormatError(f"{what}: expected RFC 8785 canonical JSON, found another spelling of it")
    return value


def decode_lenient(data: bytes, *, what: str = "document") -> Any:
    """Read JSON of the same restricted values in any spelling (other tools rewrite index.json)."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FormatError(f"{what}: expected at most {MAX_DOCUMENT_BYTES} bytes, found {len(data)}")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique_keys,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON: {error}") from error
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The `object_pairs_hook` of readers: an object with each key once. Raises FormatError."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(f"expected each key once, found {key[:80]!r} twice")
        found[key] = value
    return found


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise FormatError(f"expected an integer of at most 2^53-1, found {text[:40]}")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise FormatError(f"expected integers and strings only, found the number {text[:40]}")


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise FormatError(f"{where or '/'}: expected integers and strings only, found {value!r}")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_floats(item, f"{where}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_floats(item, f"{where}/{index}")
