"""The schema files themselves: valid, closed under reference, open for unknown fields."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lopd_store.documents import schema

FOLDER = Path(__file__).parents[2] / "schemas" / "v1"
FILES = sorted(FOLDER.glob("*.schema.json"))
NAMES = {
    "artifact",
    "common",
    "descriptor",
    "identity",
    "index",
    "manifest",
    "noise",
    "signature",
    "skipped",
    "stamp",
}
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from inside(item)


def test_these_are_the_schemas() -> None:
    assert {path.name.removesuffix(".schema.json") for path in FILES} == NAMES
    assert schema.folder() == FOLDER


@each_file
def test_a_schema_is_valid_draft_2020_12(path: Path) -> None:
    document = json.loads(path.read_text("utf-8"))
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:lopd:schema:v1:{path.name.removesuffix('.schema.json')}"


@each_file
def test_references_stay_among_our_schemas(path: Path) -> None:
    for rule in inside(json.loads(path.read_text("utf-8"))):
        target, _, part = rule.get("$ref", "#").partition("#")
        place = json.loads(path.read_text("utf-8"))
        if target:
            name = target.removeprefix("urn:lopd:schema:v1:")
            assert name in NAMES
            place = json.loads((FOLDER / f"{name}.schema.json").read_text("utf-8"))
        for step in part.strip("/").split("/") if part else ():
            place = place[step]


@each_file
def test_patterns_are_anchored_and_unknown_fields_allowed(path: Path) -> None:
    for rule in inside(json.loads(path.read_text("utf-8"))):
        if isinstance(pattern := rule.get("pattern"), str):
            assert pattern.startswith("^")
            assert pattern.endswith("$")
        assert rule.get("additionalProperties", True) is not False
        assert not {"unevaluatedProperties", "patternProperties", "uniqueItems"} & rule.keys()
