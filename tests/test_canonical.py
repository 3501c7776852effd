"""Canonical JSON: one byte string a value; what two readers could read differently is refused."""

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store import canonical
from lopd_store.errors import FormatError

QUICK = settings(deadline=None, max_examples=60)  # a busy machine is no failure

LARGEST = 2**53 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

REFUSED = {
    "duplicate-key": (b'{"a":1,"a":1}', "found 'a' twice"),
    "duplicate-key-inside": (b'[{"b":{"a":1,"a":2}}]', "found 'a' twice"),
    "same-key-escaped": (b'{"a":1,"\\u0061":2}', "found 'a' twice"),
    "float": (b"[1.5]", "integers and strings only"),
    "whole-float": (b"[1.0]", "integers and strings only"),
    "exponent": (b"[1e3]", "integers and strings only"),
    "nan": (b"[NaN]", "integers and strings only"),
    "infinity": (b"[-Infinity]", "integers and strings only"),
    "too-large": (b"[9007199254740992]", "2^53-1"),
    "too-small": (b"[-9007199254740992]", "2^53-1"),
    "million-digits": (b"[" + b"9" * 1_000_000 + b"]", "2^53-1"),
    "nested-too-deep": (b"[" * 200_000 + b"]" * 200_000, "expected"),
    "not-utf-8": (b'["\xff"]', "expected JSON"),
    "utf-16": ('{"a":1}'.encode("utf-16"), "expected JSON"),
    "byte-order-mark": (b'\xef\xbb\xbf{"a":1}', "expected JSON"),
    "empty": (b"", "expected JSON"),
    "two-values": (b"1 2", "expected JSON"),
    "comment": (b"/**/1", "expected JSON"),
    "space": (b'{"a": 1}', "canonical"),
    "newline-at-the-end": (b'{"a":1}\n', "canonical"),
    "keys-out-of-order": (b'{"b":1,"a":2}', "canonical"),
    "needless-escape": (b'"\\u0061"', "canonical"),
    "upper-case-escape": (b'"\\u000B"', "canonical"),
    "escaped-slash": (b'"\\/"', "canonical"),
    "minus-zero": (b"-0", "canonical"),
    "lone-surrogate": (b'"\\ud800"', "expected"),
}


@QUICK
@given(VALUES)
def test_what_is_encoded_is_decoded_to_itself(value: Any) -> None:
    data = canonical.encode(value)
    assert canonical.decode(data) == value
    assert canonical.encode(canonical.decode(data)) == data


@QUICK
@given(VALUES)
def test_the_bytes_are_those_of_rfc_8785(value: Any) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@QUICK
@given(st.dictionaries(st.text("abcXYZ019", max_size=4), st.integers(0, 99)))
def test_for_plain_keys_they_are_those_of_the_standard_library(value: dict[str, int]) -> None:
    stated = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert canonical.encode(value) == stated


def test_keys_are_ordered_by_their_utf_16_units() -> None:
    """The example of RFC 8785, section 3.2.3: an emoji (a surrogate pair) precedes U+FB33."""
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    found = list(json.loads(canonical.encode(value)).values())
    assert found == [2, 4, 6, 7, 1, 5, 3]


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_any_other_spelling_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(FormatError) as caught:
        canonical.decode(data, what="the document")
    assert says in str(caught.value)
    assert str(caught.value).startswith("the document: ") or data == REFUSED["lone-surrogate"][0]
    assert len(str(caught.value)) < 500


@QUICK
@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_a_format_error(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except FormatError:
        return
    assert canonical.encode(value) == data


@QUICK
@given(VALUES, st.integers(0, 4))
def test_lenient_reading_takes_any_spelling_of_the_same_value(value: Any, indent: int) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=indent % 2 == 0)
    assert canonical.decode_lenient(text.encode()) == value


@pytest.mark.parametrize("name", ["duplicate-key", "float", "too-large", "nan", "not-utf-8"])
def test_lenient_reading_refuses_the_same_values(name: str) -> None:
    with pytest.raises(FormatError):
        canonical.decode_lenient(REFUSED[name][0])


@pytest.mark.parametrize(
    "value",
    [1.5, [0.0], {"a": [1, {"b": float("nan")}]}, 2**53, -(2**53), "\ud800", {1: 2}, {"a": b""}],
    ids=["float", "zero", "nan-inside", "large", "small", "surrogate", "number-key", "bytes"],
)
def test_a_value_without_canonical_bytes_is_refused(value: Any) -> None:
    with pytest.raises(FormatError, match="expected"):
        canonical.encode(value)


def test_a_float_is_named_by_its_place() -> None:
    with pytest.raises(
        FormatError, match=r"/a/1/b: expected integers and strings only, found 0\.5"
    ):
        canonical.encode({"a": [1, {"b": 0.5}]})


def test_a_document_over_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "MAX_DOCUMENT_BYTES", 5)
    with pytest.raises(FormatError, match="expected at most 5 bytes, found 7"):
        canonical.decode(b'{"a":1}')
