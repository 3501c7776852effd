"""A document against its JSON Schema: every problem, not the first.

The schemas are the files strangers get, `schemas/v1/*.schema.json`. They refer to each other by
URN, so nothing is ever fetched. jsonschema is imported at the first check: it is slow to load.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lopd_store.errors import FormatError, Problem

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator
    from referencing import Registry

MAX_PROBLEMS: Final = 1000  # a hostile document may have millions; nobody reads that far
_SHOWN_CHARACTERS: Final = 80

_KINDS: Final = {
    "required": "missing-field",
    "type": "wrong-type",
    "const": "wrong-value",
    "enum": "wrong-value",
    "anyOf": "wrong-value",
    "pattern": "bad-spelling",
    "minimum": "out-of-range",
    "maximum": "out-of-range",
    "minItems": "too-few",
    "maxItems": "too-many",
    "minProperties": "too-few",
    "contains": "missing-entry",
    "maxLength": "too-long",
    "not": "forbidden-field",
}
_VERSIONED: Final = re.compile(r"(?:application/vnd\.)?lopd\.[a-z-]+\.v([0-9]{1,9})")
_TYPES: Final = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}


def folder() -> Path:
    """Where the schemas are: inside an installed package, else in the repository."""
    package = Path(__file__).parents[1]
    packaged = package / "_schemas"
    return (packaged if packaged.is_dir() else package.parent / "schemas") / "v1"


def check(document: Any, name: str, *, what: str) -> None:
    """Refuse a document that its schema refuses.

    Args:
        document: a JSON value, as `canonical.decode` gives it.
        name: a schema, such as `identity`, or a part of one, such as `identity#model`.
        what: the subject of the error message.

    Raises:
        FormatError: with every problem in `.problems`.
    """
    if found := problems(document, name):
        raise FormatError.of(found, subject=what)


def problems(document: Any, name: str) -> list[Problem]:
    """Everything that the schema `name` finds wrong in `document` (at most MAX_PROBLEMS).

    A document of a newer spec gives the one problem `newer-format`: judging the rest by the
    rules of this version would only mislead.
    """
    if newer := _newer(document):
        return [newer]
    errors: Iterator[ValidationError] = _validator(name).iter_errors(document)
    found = [_problem(error) for error in islice(errors, MAX_PROBLEMS)]
    return sorted(found, key=lambda problem: (problem.where, problem.kind))


def _newer(document: Any) -> Problem | None:
    if not isinstance(document, dict):
        return None
    fields = ((field, document.get(field)) for field in ("format", "artifactType"))
    return next((_upgrade(f"/{name}", text) for name, text in fields if _is_newer(text)), None)


def _is_newer(text: Any) -> bool:
    match = _VERSIONED.fullmatch(text) if isinstance(text, str) else None
    return match is not None and int(match[1]) > 1


def _upgrade(where: str, text: Any) -> Problem:
    found = f"{text}, written by a newer spec than this lopd reads: upgrade lopd"
    return Problem("newer-format", where, "version 1", found)


def _problem(error: "ValidationError") -> Problem:
    where = "".join(f"/{_escaped(step)}" for step in error.absolute_path) or "/"
    keyword = str(error.validator)
    if keyword == "required":
        return Problem("missing-field", where, f"the field {error.message!r}", "none")
    if keyword in ("const", "pattern") and _is_newer(error.instance):
        return _upgrade(where, error.instance)
    rule: dict[str, Any] = error.schema  # type: ignore[assignment] # no schema of ours is a boolean
    expected = rule.get("title") or f"{keyword} {json.dumps(error.validator_value)[:200]}"
    kind = rule.get("x-problem") if keyword in ("pattern", "maxLength") else None
    return Problem(
        kind or _KINDS.get(keyword, "wrong-value"), where, str(expected), shown(error.instance)
    )


def _escaped(step: str | int) -> str:
    return str(step)[:_SHOWN_CHARACTERS].replace("~", "~0").replace("/", "~1")


def shown(value: Any) -> str:
    """A value for an error message: short, whatever a stranger put there."""
    if isinstance(value, str):
        return json.dumps(value[:_SHOWN_CHARACTERS]) + ("…" if value[_SHOWN_CHARACTERS:] else "")
    return _TYPES.get(type(value)) or str(value)


@cache
def _validator(name: str) -> "Validator":
    from jsonschema import Draft202012Validator, validators

    name, _, part = name.partition("#")
    # jsonschema searches with Python's `$`, which also matches before a final newline
    keywords = {"pattern": _pattern, "required": _required}
    strict: type[Validator] = validators.extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call] # its stub has no types
    target = f"urn:lopd:schema:v1:{name}" + (f"#/$defs/{part}" if part else "")
    return strict({"$ref": target}, registry=_registry())


@cache
def _registry() -> "Registry[Any]":
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    contents = [json.loads(path.read_text("utf-8")) for path in folder().glob("*.schema.json")]
    for content in contents:
        del content["$schema"]  # else jsonschema goes back to its own keywords at each reference
    return Registry().with_resources(
        (content["$id"], DRAFT202012.create_resource(content)) for content in contents
    )


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> "Iterator[ValidationError]":
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not _compiled(pattern).fullmatch(instance):
        yield ValidationError("does not match")


def _required(_: Any, names: list[str], instance: Any, __: Any) -> "Iterator[ValidationError]":
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, dict):
        yield from (ValidationError(name) for name in names if name not in instance)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
