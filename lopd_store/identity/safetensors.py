"""Headers of safetensors files nobody vouches for, with the standard library alone.

A file is `u64 little-endian N`, N bytes of JSON, then the tensors' bytes. The header names each
tensor once with dtype, shape and byte range; ranges follow each other without gap or overlap
and end with the file.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from lopd_store.errors import FormatError
from lopd_store.identity import strangers

MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the reference reader
_LENGTH_BYTES: Final = 8
_MAX_DIMENSIONS: Final = 64

# Bits an element takes, by the names of the format; sub-byte types must fill whole bytes.
DTYPE_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRange:
    """Where a tensor's bytes lie.

    Attributes:
        name: as in the header.
        dtype: a key of `DTYPE_BITS`.
        shape: sizes, outermost first; () is a scalar.
        start: offset of the first byte in the file.
        size: bytes, equal to dtype x shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def read_header(path: Path) -> tuple[TensorRange, ...]:
    """The tensors of a safetensors file, in the order of their bytes.

    Raises:
        FormatError: the header breaks any rule of the format; the message names the rule.
    """
    with path.open("rb") as file:
        file_size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if file_size < _LENGTH_BYTES or length > min(MAX_HEADER_BYTES, file_size - _LENGTH_BYTES):
            raise FormatError(
                f"{path}: expected a safetensors header of at most {MAX_HEADER_BYTES} bytes"
                f" inside the file of {file_size}, found length {length}"
            )
        data = file.read(length)
    entries = strangers.parse_object(data, what=f"{path} header")
    entries.pop("__metadata__", None)
    body = _LENGTH_BYTES + length
    tensors = [_tensor(name, entry, body=body, path=path) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.size))
    _check_contiguous(tensors, start=body, end=file_size, path=path)
    return tuple(tensors)


def _tensor(name: str, entry: Any, *, body: int, path: Path) -> TensorRange:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise FormatError(f"{path}: tensor {name!r}: expected dtype, shape and data_offsets")
    if dtype not in DTYPE_BITS:
        raise FormatError(f"{path}: tensor {name!r}: expected a known dtype, found {dtype!r}")
    if len(shape) > _MAX_DIMENSIONS or not all(_is_count(size) for size in (*shape, begin, end)):
        raise FormatError(f"{path}: tensor {name!r}: expected sizes and offsets of 0 or more")
    bits = prod(shape) * DTYPE_BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise FormatError(
            f"{path}: tensor {name!r}: expected {_bytes_text(bits)} for {dtype} {shape},"
            f" found data_offsets [{begin}, {end}]"
        )
    size = end - begin
    return TensorRange(name=name, dtype=dtype, shape=tuple(shape), start=body + begin, size=size)


def _bytes_text(bits: int) -> str:
    """As integers only: a product of hostile sizes is too large for a float."""
    return f"{bits // 8}" + f"{bits % 8 / 8:g}".removeprefix("0") + " bytes"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _check_contiguous(tensors: list[TensorRange], *, start: int, end: int, path: Path) -> None:
    for tensor in tensors:
        if tensor.start != start:
            raise FormatError(
                f"{path}: tensor {tensor.name!r}: expected its bytes to start at {start},"
                f" found {tensor.start} ({'a gap' if tensor.start > start else 'an overlap'})"
            )
        start += tensor.size
    if start != end:
        raise FormatError(f"{path}: expected tensors to end with the file at {end}, found {start}")
