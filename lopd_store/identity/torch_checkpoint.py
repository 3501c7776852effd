"""Tensors of `.bin` checkpoints, through torch and without running what they contain."""

import pickle
import struct
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.errors import FormatError
from lopd_store.identity.tensors import TensorDigest

_STRANGE: Final = (RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError,
                   AssertionError)  # fmt: skip
_DTYPES: Final = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16",
    "uint32": "U32", "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16",
    "bfloat16": "BF16", "float32": "F32", "float64": "F64", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip


def read_tensors(path: Path) -> tuple[TensorDigest, ...]:
    """The digests of a `.bin` file's tensors; equal tensors in safetensors have equal ones.

    Raises:
        FormatError: torch is missing, refuses the file, or finds more than tensors in it.
    """
    try:
        import torch
    except ImportError as error:
        raise FormatError(
            f"{path}: .bin checkpoints are read through torch, which is not installed: convert"
            " to safetensors, or pip install 'lopd[train]'"
        ) from error
    try:
        entries = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, struct.error, *_STRANGE) as error:
        raise FormatError(
            f"{path}: expected a checkpoint that torch loads with weights_only: {error}"
        ) from error
    if not isinstance(entries, dict):
        raise FormatError(f"{path}: expected a state dict, found {type(entries).__name__}")
    return tuple(_tensor(name, tensor, path=path) for name, tensor in entries.items())


def _tensor(name: Any, tensor: Any, *, path: Path) -> TensorDigest:
    import torch

    dtype = _DTYPES.get(str(getattr(tensor, "dtype", "")).removeprefix("torch."))
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or dtype is None:
        raise FormatError(
            f"{path}: expected names and dense tensors, found {name!r} of another kind"
        )
    if tensor.layout is not torch.strided:
        raise FormatError(f"{path}: tensor {name!r}: expected a dense tensor")
    size = tensor.numel() * tensor.element_size()
    if size > path.stat().st_size:  # one stored number may claim to be any number of them
        raise FormatError(
            f"{path}: tensor {name!r}: expected it inside the file, found {size} bytes"
        )
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    digest = Digest.of(memoryview(data))
    return TensorDigest(name=name, dtype=dtype, shape=tuple(tensor.shape), digest=digest)
