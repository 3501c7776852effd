"""Each file breaks one rule; the message names it. A valid file of the same bytes is read."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lopd_store.errors import FormatError
from lopd_store.identity.safetensors import MAX_HEADER_BYTES, read_header
from tests.identity.checkpoints import with_header

BODY = bytes(16)


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}


def made(header: object, body: bytes = BODY) -> bytes:
    return with_header(json.dumps(header).encode(), body)


def two(first: list[int], second: list[int], body: bytes = BODY) -> bytes:
    shapes = [[(span[1] - span[0]) // 4] for span in (first, second)]
    return made(
        {
            "a": entry(shape=shapes[0], data_offsets=first),
            "b": entry(shape=shapes[1], data_offsets=second),
        },
        body,
    )


HOSTILE = {
    "empty-file": (b"", "header of at most"),
    "seven-bytes": (b"\0" * 7, "header of at most"),
    "header-longer-than-file": (struct.pack("<Q", 10_000) + b"{}", "inside the file of 10"),
    "header-of-2^64": (b"\xff" * 8 + b"{}", "found length 18446744073709551615"),
    "not-json": (with_header(b"{", BODY), "expected JSON"),
    "not-utf-8": (with_header(b'{"\xff":1}', BODY), "expected JSON"),
    "not-an-object": (made([]), "expected a JSON object"),
    "nested-too-deep": (with_header(b"[" * 200_000, BODY), "expected JSON"),
    "name-twice": (with_header(b'{"a":1,"a":2}', BODY), "'a' twice"),
    "key-twice-in-entry": (with_header(b'{"a":{"dtype":"F32","dtype":"F32"}}', BODY), "twice"),
    "entry-is-a-number": (made({"a": 1}), "dtype, shape and data_offsets"),
    "no-offsets": (made({"a": {"dtype": "F32", "shape": [4]}}), "data_offsets"),
    "three-offsets": (made({"a": entry(data_offsets=[0, 8, 16])}), "data_offsets"),
    "unknown-dtype": (made({"a": entry(dtype="F99")}), "'F99'"),
    "dtype-is-a-list": (made({"a": entry(dtype=["F32"])}), "dtype, shape"),
    "negative-size": (made({"a": entry(shape=[-2, -2])}), "0 or more"),
    "fractional-size": (made({"a": entry(shape=[2.0, 2])}), "0 or more"),
    "boolean-size": (made({"a": entry(shape=[True, 4])}), "0 or more"),
    "size-of-2^64": (made({"a": entry(shape=[1 << 64, 0])}), "0 or more"),
    "hundred-dimensions": (made({"a": entry(shape=[1] * 100)}), "0 or more"),
    "product-overflows": (made({"a": entry(shape=[1 << 62, 1 << 62])}), "bytes for F32"),
    "shape-too-large": (made({"a": entry(shape=[5])}), "expected 20 bytes"),
    "shape-too-small": (made({"a": entry(shape=[3])}), "expected 12 bytes"),
    "backward-offsets": (made({"a": entry(shape=[0], data_offsets=[16, 0])}), "data_offsets"),
    "product-no-float-holds": (made({"a": entry(shape=[1 << 62] * 30)}), "bytes for F32"),
    "half-a-byte": (made({"a": entry(dtype="F4", shape=[31])}), "expected 15.5 bytes"),
    "negative-offset": (made({"a": entry(data_offsets=[-16, 0])}), "0 or more"),
    "past-the-end": (made({"a": entry(shape=[8], data_offsets=[0, 32])}), "to end with the file"),
    "gap-at-start": (made({"a": entry(shape=[2], data_offsets=[8, 16])}), "a gap"),
    "gap-in-the-middle": (two([0, 4], [8, 16]), "a gap"),
    "overlap": (two([0, 12], [8, 16]), "an overlap"),
    "same-bytes-twice": (two([0, 16], [0, 16]), "an overlap"),
    "bytes-after-the-last": (made({"a": entry()}, BODY + b"secret"), "end with the file"),
    "no-tensors-but-bytes": (made({}), "end with the file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_header_is_refused_by_the_rule_it_breaks(name: str, tmp_path: Path) -> None:
    data, said = HOSTILE[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read_header(path)
    assert said in str(caught.value)


def test_a_header_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(MAX_HEADER_BYTES + 1000)
    with pytest.raises(FormatError, match="at most 100000000"):
        read_header(path)


def test_a_valid_file_gives_its_tensors_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = {
        "__metadata__": {"format": "pt"},
        "late": entry(shape=[1], data_offsets=[12, 16]),
        "early": entry(shape=[3], data_offsets=[0, 12]),
        "nothing": entry(shape=[0], data_offsets=[12, 12]),
    }
    path.write_bytes(with_header(json.dumps(header).encode() + b"   ", BODY))
    tensors = read_header(path)
    start = len(path.read_bytes()) - 16
    assert [(tensor.name, tensor.start, tensor.size) for tensor in tensors] == [
        ("early", start, 12),
        ("nothing", start + 12, 0),
        ("late", start + 12, 4),
    ]
