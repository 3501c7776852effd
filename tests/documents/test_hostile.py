"""Bytes nobody vouches for: each gives one FormatError that says what is wrong, and soon."""

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from lopd_store import canonical
from lopd_store.documents import Identity, Manifest, ModelIdentity, Noise
from lopd_store.documents.schema import MAX_PROBLEMS
from lopd_store.errors import FormatError


def noise(**changes: str) -> bytes:
    """A noise document whose values are given as JSON text."""
    fields = {
        "bound": '"1e-04"',
        "differing": "1",
        "format": '"lopd.noise.v1"',
        "max_abs": '"1e-05"',
        "mean_abs": '"1e-06"',
        "rows": "2",
        "scoring": '"teacher"',
        "tokens": "3",
    }
    pairs = sorted((fields | changes).items())
    return ("{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}").encode()


BROKEN = {
    "a key twice": (noise().replace(b'"rows":2', b'"rows":2,"rows":2'), "'rows' twice"),
    "a huge integer": (noise(rows="9" * 5000), "at most 2^53-1"),
    "a float": (noise(rows="2.0"), "integers and strings only"),
    "NaN": (noise(rows="NaN"), "integers and strings only"),
    "a space": (noise().replace(b":", b": ", 1), "another spelling"),
    "keys out of order": (b'{"b":1,"a":1}', "another spelling"),
    "an escaped letter": (noise(scoring='"te\\u0061cher"'), "another spelling"),
    "a final newline": (noise() + b"\n", "another spelling"),
    "a byte order mark": (b"\xef\xbb\xbf" + noise(), "expected JSON"),
    "not UTF-8": (noise(scoring='"\xff"').decode().encode("latin-1"), "expected JSON"),
    "half of it": (noise()[:40], "expected JSON"),
    "nothing": (b"", "expected JSON"),
    "a list": (b"[]", "wrong-type"),
    "null": (b"null", "wrong-type"),
    "a newer format": (noise(format='"lopd.noise.v2"'), "newer spec than this lopd reads: upgrade"),
    "much newer": (noise(format='"lopd.noise.v17"'), "lopd.noise.v17, written by a newer spec"),
}


def test_the_untouched_document_is_accepted() -> None:
    assert Noise.parse(noise()).rows == 2


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=r"noise\.json") as caught:
        Noise.parse(data, what="noise.json")
    assert message in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("depth", [32, 33, 100, 900, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    with pytest.raises(FormatError):
        Noise.parse(noise(zz=nested))


def test_shallow_unknown_nesting_is_accepted() -> None:
    assert Noise.parse(noise(zz="[" * 31 + "]" * 31)).tokens == 3


def test_stamps_inside_stamps_end(documents: dict[str, Any]) -> None:
    nested = documents["identity"]
    for _ in range(12):
        stamp = json.loads(json.dumps(documents["stamp"]))
        stamp["sft"]["identities"] = [nested]
        nested = {**documents["identity"], "policy_stamp": stamp}
    with pytest.raises(FormatError, match="too-deep"):
        Identity.from_json(nested)


def test_a_million_problems_are_cut_short(documents: dict[str, Any]) -> None:
    documents["manifest"]["layers"] = [7] * 200_000
    data = canonical.encode(documents["manifest"])
    start = time.monotonic()
    with pytest.raises(FormatError) as caught:
        Manifest.parse(data)
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert time.monotonic() - start < 10


def test_huge_strings_are_shown_short(documents: dict[str, Any]) -> None:
    documents["sft"]["kind"] = "x" * 5_000_000
    documents["sft"]["scorings"]["y" * 5_000_000] = "z" * 5_000_000
    with pytest.raises(FormatError) as caught:
        Identity.from_json(documents["sft"])
    assert len(str(caught.value)) < 2000


def test_patterns_do_not_backtrack(documents: dict[str, Any]) -> None:
    files = documents["sft"]["models"]["teacher"]["files"]
    files |= dict.fromkeys(("a/" * 50_000, "a" * 100_000, "." * 100_000, "a/." * 30_000), "x")
    start = time.monotonic()
    with pytest.raises(FormatError):
        Identity.from_json(documents["sft"])
    assert time.monotonic() - start < 5


def test_a_part_alone_is_checked_too() -> None:
    with pytest.raises(FormatError) as caught:
        ModelIdentity.from_json({"weights_digest": "sha256:short", "vocab_size": 1, "files": {}})
    kinds = [(problem.kind, problem.where) for problem in caught.value.problems]
    assert kinds == [("missing-field", "/"), ("not-a-digest", "/weights_digest")]


def test_importing_documents_loads_no_schema_library() -> None:
    code = (
        "import sys, lopd_store.documents;"
        "heavy = {'jsonschema', 'referencing', 'torch'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
