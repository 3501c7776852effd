"""The table of required fields in the spec is what the schema enforces."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lopd_store.documents.document import problems

CHAPTER = Path(__file__).parents[2] / "schemas" / "identity.md"
ROWS = re.findall(
    r"^\| (`[\w.]+`|… for `\w+`) \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
    CHAPTER.read_text("utf-8"),
    re.MULTILINE,
)
IMPORTED = {"digest": "sha256:" + "0" * 64, "retokenised": False, "tokenizer": "asserted"}
KINDS = ("sft", "rollouts", "signal")
CASES = [
    pytest.param(row[0].strip("`"), kind, row[place], id=f"{kind}: {row[0]}")
    for row in ROWS
    for place, kind in enumerate(KINDS, start=1)
]


def without(document: Any, field: str) -> Any:
    """A copy of an identity document without a field, and without signals that would name it."""
    copy = json.loads(json.dumps(document))
    if field.startswith("…"):
        column = field.removeprefix("… for `").rstrip("`")
        copy["signals"] = [one for one in copy["signals"] if one["column"] != column]
        return copy
    *path, last = field.split(".")
    place = copy
    for step in path:
        place = place[step]
    place.pop(last, None)
    if path:
        name = path[0].removesuffix("s")
        copy["signals"] = [one for one in copy["signals"] if one[name] != last]
    return copy


def test_the_table_is_read_whole() -> None:
    assert len(ROWS) == 17


@pytest.mark.parametrize(("field", "kind", "word"), CASES)
def test_a_field_is_required_where_the_table_says_so(
    field: str, kind: str, word: str, documents: dict[str, Any]
) -> None:
    document = documents["identity" if kind == "signal" else kind]
    if word == "MUST NOT":
        assert problems({**document, field: documents["stamp"]}, "identity") != []
        return
    bare = without(document, field)
    assert bool(problems(bare, "identity")) is word.startswith("REQUIRED")
    if word.endswith("(a)"):
        bare["imported"] = IMPORTED
        assert problems(bare, "identity") == []
    if word.endswith(("(b)", "(c)")):
        imported = documents["imported"] | {"kind": kind}
        free = imported if word.endswith("(b)") else with_unknown_tokenizer(imported)
        assert problems(free, "identity") == []
        assert problems(put_back(free, field, document), "identity") != []


def with_unknown_tokenizer(document: Any) -> Any:
    """A copy of an imported identity whose tokenizer nobody knows."""
    copy = json.loads(json.dumps(document))
    copy["imported"]["tokenizer"] = "unknown"
    if copy["kind"] != "signal":
        del copy["imported"]["asserted"]
    return without(copy, "tokenizer")


def put_back(document: Any, field: str, whole: Any) -> Any:
    """A copy of a document with the field that `without` took from `whole`."""
    copy = json.loads(json.dumps(document))
    if field.startswith("…"):
        copy["signals"] += [one for one in whole["signals"] if one["column"] in field]
        return copy
    *path, last = field.split(".")
    place, source = copy, whole
    for step in path:
        place, source = place[step], source[step]
    place[last] = source[last]
    return copy
