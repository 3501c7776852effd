"""JSON of strangers: what every protocol asks of it before it is believed."""

import json
from typing import Any, Final, Never

import numpy as np

from lopd_store.serving.answers import Ids
from lopd_store.serving.protocols.refusal import malformed

MAX_SEQUENCES: Final = 4096  # vLLM takes 1024 prompts; a batch of rollouts is smaller

Fields = dict[str, Any]


def read_object(body: bytes) -> Fields:
    """The JSON object in a request's body. Raises RefusedError where there is none.

    NaN and infinities are no JSON; of a key that comes twice the last counts, as live servers
    have it.
    """
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise malformed(f"expected JSON in UTF-8: {_short(error)}") from error
    if not isinstance(found, dict):
        raise malformed(f"expected a JSON object, found {_kind(found)}")
    return found


def whole(fields: Fields, name: str, *, default: int, least: int) -> int:
    """An integer field; absent and null are the default. Raises RefusedError."""
    found = fields.get(name)
    if found is None:
        return default
    if type(found) is not int or found < least:
        raise malformed(f"{name}: expected an integer from {least} on, {_found(found)}", param=name)
    return found


def flag(fields: Fields, name: str) -> bool:
    """A boolean field; absent and null are false. Raises RefusedError."""
    found = fields.get(name)
    if found is None:
        return False
    if not isinstance(found, bool):
        raise malformed(f"{name}: expected true or false, {_found(found)}", param=name)
    return found


def text(fields: Fields, name: str) -> str | None:
    """A string field; None where it is absent or null. Raises RefusedError."""
    found = fields.get(name)
    if found is not None and not isinstance(found, str):
        raise malformed(f"{name}: expected a string, {_found(found)}", param=name)
    return found


def listed(found: Any, *, name: str) -> list[Any]:
    """A list of at most `MAX_SEQUENCES` things. Raises RefusedError."""
    if not isinstance(found, list):
        raise malformed(f"{name}: expected a list, {_found(found)}", param=name)
    if len(found) > MAX_SEQUENCES:
        raise malformed(
            f"{name}: expected at most {MAX_SEQUENCES} sequences in a request, found {len(found)}",
            param=name,
        )
    return found


def one_or_many(found: Any, *, name: str, vocab_size: int) -> tuple[list[Ids], bool]:
    """Token ids of one sequence, or of several; and whether it is one alone.

    Raises RefusedError: text, no ids, or something that is no id of this vocabulary.
    """
    if _has_text(found):
        raise malformed(
            f"{name}: expected token ids, found text: rows are known by their ids, and a text may"
            f" have several; tokenise it and send the ids",
            param=name,
        )
    if isinstance(found, list) and found and not isinstance(found[0], list):
        return [ids_of(found, name=name, vocab_size=vocab_size)], True
    many = listed(found, name=name)
    if not many:
        raise malformed(f"{name}: expected at least one sequence, found none", param=name)
    return [ids_of(one, name=name, vocab_size=vocab_size) for one in many], False


def ids_of(found: Any, *, name: str, vocab_size: int) -> Ids:
    """Token ids as int32. Raises RefusedError: none, or no ids of this vocabulary."""
    if not isinstance(found, list) or not found:
        raise malformed(f"{name}: expected a list of token ids, {_found(found)}", param=name)
    if not set(map(type, found)) <= {int}:
        other = next(item for item in found if type(item) is not int)
        raise malformed(f"{name}: expected integers only, {_found(other)}", param=name)
    for extreme in (min(found), max(found)):
        if not 0 <= extreme < vocab_size:
            raise malformed(
                f"{name}: token id {_shown(extreme)} is out of vocabulary: expected 0 to"
                f" {vocab_size - 1}",
                param=name,
            )
    return np.array(found, np.int32)


def _has_text(found: Any) -> bool:
    return isinstance(found, str) or (
        isinstance(found, list) and bool(found) and isinstance(found[0], str)
    )


def _no_number(word: str) -> Never:
    raise ValueError(f"{word} is no number in JSON")


def _found(value: Any) -> str:
    return f"found {_shown(value)}"


def _shown(value: Any) -> str:
    """A value for a message, never long: strangers chose it."""
    if isinstance(value, (list, dict)) or value is None:
        return _kind(value)
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a huge integer"
    return _short(json.dumps(value))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "an object" if isinstance(value, dict) else _short(json.dumps(value))


def _short(value: object) -> str:
    return f"{value!s:.100}"
