"""Golden vectors of the format, from the spec alone: the standard library and nothing of ours.

    python schemas/vectors/make.py            write vectors.json
    python schemas/vectors/make.py --check    fail when vectors.json is not what this writes

Bytes stand as base64, float32 values as the decimal text of their exact value.
"""

import argparse
import hashlib
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # isolated, Python does not look beside a script

from schemas.vectors.documents import identities, stamps
from schemas.vectors.signatures import signatures
from schemas.vectors.spelling import (
    base64,
    canonical,
    raw,
    sha256,
    tagged,
    u64,
)

Json = dict[str, Any]
Column = Json
Tensor = tuple[str, str, list[int], bytes]

VECTORS = Path(__file__).with_name("vectors.json")
WIDTHS = {"bool": "<?", "int32": "<i", "int64": "<q", "float32": "<f", "float64": "<d"}
QUIET_NAN = {"float32": "0000c07f", "float64": "000000000000f87f"}


def float32(value: float) -> float:
    """The float32 nearest to a number."""
    (nearest,) = struct.unpack("<f", struct.pack("<f", value))
    return float(nearest)


def packed(value: Any, width: str) -> bytes:
    """A primitive value as bytes: null as zero, -0.0 as 0.0, every NaN as one."""
    value = 0 if value is None else value
    if isinstance(value, str):
        value = float(value)
        if math.isnan(value):
            return bytes.fromhex(QUIET_NAN[width])
        value += 0.0
    return struct.pack(WIDTHS[width], value)


def streams(kind: str, values: list[Any]) -> list[bytes]:
    """The length streams and the value stream of a column's values."""
    if kind.startswith("list<"):
        lists = [value or [] for value in values]
        inner = streams(kind[5:-1], [item for one in lists for item in one])
        return [b"".join(u64(len(one)) for one in lists), *inner]
    if kind == "string":
        texts = [(value or "").encode() for value in values]
        return [b"".join(u64(len(text)) for text in texts), b"".join(texts)]
    return [b"".join(packed(value, kind) for value in values)]


def column_digest(column: Column) -> str:
    """content-digest.md, one column."""
    name, kind, values = column["name"], column["type"], column["values"]
    valid = bytes(value is not None for value in values)
    parts = [hashlib.sha256(stream).digest() for stream in (valid, *streams(kind, values))]
    return tagged("lopd.column.v1", name.encode(), kind.encode(), *parts)


def content_digest(rows: int, columns: list[Column]) -> str:
    """content-digest.md, all columns in the order of their names' UTF-8 bytes."""
    named = sorted(columns, key=lambda column: column["name"].encode())
    digests = [column_digest(one) for one in named]
    return tagged("lopd.content.v1", u64(rows), *map(raw, digests))


def ids_name(tag: str, *lists: list[int]) -> str:
    """shard.md: sample_id and prompt_id."""
    lengths = b"".join(u64(len(ids)) for ids in lists)
    values = b"".join(struct.pack(f"<{len(ids)}i", *ids) for ids in lists)
    return hashlib.sha256(f"{tag}\n".encode() + lengths + values).hexdigest()[:32]


def on_grid(value: float, exponent: int) -> float:
    """shard.md: the multiple of twice 2^-exponent nearest to a float32, ties to even."""
    return float32(math.ldexp(round(math.ldexp(value, exponent - 1)), 1 - exponent)) + 0.0


def safetensors(tensors: list[Tensor]) -> bytes:
    """A file of (name, dtype, shape, bytes) in that order."""
    header: dict[str, Any] = {}
    offset = 0
    for name, dtype, shape, data in tensors:
        ends = [offset, offset + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return u64(len(text)) + text + b"".join(data for *_, data in tensors)


def weights_digest(tensors: list[Tensor]) -> str:
    """identity.md: over the tensors in the order of their names' UTF-8 bytes."""
    named = sorted(tensors, key=lambda tensor: tensor[0].encode())
    leaves = [[name, dtype, shape, sha256(data)] for name, dtype, shape, data in named]
    return sha256(b"lopd.weights.v1\n" + canonical(leaves))


def digests() -> dict[str, Any]:
    """Plain and tagged digests."""
    tag = "lopd.test.v1"
    lists: list[tuple[str, list[bytes]]] = [(tag, []), (tag, [b""]), (tag, [b"ab", b"c"])]
    lists += [(tag, [b"a", b"bc"]), ("lopd.test.v2", [b"ab", b"c"])]
    return {
        "plain": [{"data": base64(data), "digest": sha256(data)} for data in (b"", b"{}", b"lopd")],
        "tagged": [
            {"tag": tag, "parts": [base64(part) for part in parts], "digest": tagged(tag, *parts)}
            for tag, parts in lists
        ],
    }


def canonical_json() -> dict[str, Any]:
    """Values with their one spelling, and bytes that a reader refuses."""
    accepted: list[Any] = [
        {"b": 1, "a": [True, False, None], "": {}},
        {"text": 'quote " backslash \\ slash / tab \t newline \n bell \x07 delete \x7f'},
        {"é": "combining e\u0301", "z": "\u2028", "\U0001f600": "after", "\ufb33": "before?"},
        [2**53 - 1, -(2**53 - 1), 0],
        "a lone string",
    ]
    refused = {
        "a space": b'{"a": 1}',
        "keys out of order": b'{"b":1,"a":2}',
        "a key twice": b'{"a":1,"a":1}',
        "a float": b'{"a":0.5}',
        "a float that is whole": b'{"a":1.0}',
        "an exponent": b'{"a":1e2}',
        "an integer over 2^53-1": b'{"a":9007199254740992}',
        "a leading zero": b'{"a":01}',
        "a negative zero": b'{"a":-0}',
        "NaN": b'{"a":NaN}',
        "a needless escape": b'{"a":"\\u0041"}',
        "an escaped slash": b'{"a":"\\/"}',
        "a lone surrogate": b'{"a":"\\ud800"}',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "bytes that are not UTF-8": b'{"a":"\xff"}',
        "a final newline": b"{}\n",
        "two values": b"{}{}",
        "nothing": b"",
        "a comment": b"{}//",
    }
    return {
        "accepted": [{"value": value, "bytes": base64(canonical(value))} for value in accepted],
        "refused": [{"why": why, "bytes": base64(data)} for why, data in refused.items()],
    }


def samples() -> list[Any]:
    """Names of samples and prompts."""
    pairs: list[tuple[list[int], list[int]]] = [
        ([], []),
        ([1, 2], [3]),
        ([1], [2, 3]),
        ([1, 2, 3], []),
        ([151643], [0, 2**31 - 1]),
    ]
    return [
        {
            "prompt_ids": prompt,
            "response_ids": response,
            "sample_id": ids_name("lopd.sample.v1", prompt, response),
            "prompt_id": ids_name("lopd.prompt.v1", prompt),
        }
        for prompt, response in pairs
    ]


def content() -> list[Any]:
    """Columns of every type, nulls, negative zero, NaN, names that sort by bytes."""
    cases: dict[str, list[tuple[str, str, list[Any]]]] = {
        "strings": [("s", "string", ["a", "", None, "é😀"])],
        "lists of int32": [("ids", "list<int32>", [[1, 2], [], None, [-1, 2**31 - 1]])],
        "lists of float32": [("f", "list<float32>", [["-0.5", "-0.0"], ["nan"], [], ["-inf"]])],
        "lists of strings": [("l", "list<string>", [["a", "bc"], ["abc"], [""], None])],
        "booleans": [("b", "bool", [True, False, None, True])],
        "wide numbers": [
            ("i", "int64", [2**40, -1, None]),
            ("d", "float64", ["0.1", "-0.0", None]),
        ],
        "names in byte order": [("é", "int32", [1]), ("z", "int32", [2]), ("Z", "int32", [3])],
        "no rows": [("sample_id", "string", []), ("loss_mask", "list<bool>", [])],
    }
    found = []
    for why, columns in cases.items():
        named = [dict(zip(("name", "type", "values"), column, strict=True)) for column in columns]
        rows = len(columns[0][2])
        found.append({"why": why, "columns": named, "digest": content_digest(rows, named)})
    return found


def weights() -> list[Any]:
    """One model in one file and in two, with a tied output embedding and with one changed bit."""
    embed: Tensor = ("model.embed_tokens.weight", "F32", [3, 2], struct.pack("<6f", *range(6)))
    norm = ("model.norm.weight", "BF16", [2], bytes.fromhex("803f803f"))
    scale: Tensor = ("scale", "F16", [], bytes.fromhex("003c"))
    tied = ("lm_head.weight", *embed[1:])
    changed = (*norm[:3], bytes.fromhex("803f813f"))
    cases: list[tuple[str, list[list[Tensor]], list[Tensor]]] = [
        ("one file", [[norm, embed, scale]], [embed, norm, scale]),
        ("two files", [[scale, embed], [norm]], [embed, norm, scale]),
        ("a tied output embedding is left out", [[embed, norm, scale, tied]], [embed, norm, scale]),
        ("one bit changed", [[embed, changed, scale]], [embed, changed, scale]),
    ]
    return [
        {
            "why": why,
            "files": [base64(safetensors(file)) for file in files],
            "digest": weights_digest(counted),
        }
        for why, files, counted in cases
    ]


def precision() -> list[Any]:
    """Log-probs on the grid of 2^-12: steps of 2^-11, ties to even."""
    step = 2.0**-11
    logprobs = [0.0, -0.0, -step, -step / 2, -1.5 * step, -2.5 * step, -0.49 * step, -0.51 * step]
    logprobs += [-0.1, -1.0, -17.3, -700.123, -8191.9997, -20000.001]
    return [
        {"max_error": "2^-12", "value": repr(value), "rounded": repr(on_grid(value, 12))}
        for value in map(float32, logprobs)
    ]


def vectors() -> str:
    """Every vector, as the text of vectors.json."""
    rows = (samples, content, weights, precision)
    makers = (digests, canonical_json, *rows, stamps, identities, signatures)
    document = {maker.__name__: maker() for maker in makers}
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Write the golden vectors, or check them.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    if not parser.parse_args().check:
        VECTORS.write_text(vectors(), encoding="utf-8")
    elif VECTORS.read_text(encoding="utf-8") != vectors():
        sys.exit(f"{VECTORS.name} is not what {Path(__file__).name} writes: run it, read the diff")


if __name__ == "__main__":
    main()
