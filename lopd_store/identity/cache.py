"""Remembered digests of large files, so that a model is read once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lopd_store.digest import Digest
from lopd_store.errors import FormatError
from lopd_store.identity.tensors import TensorDigest
from lopd_store.remembered import FileState, Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known of a file.

    Attributes:
        digest: of its bytes, as read; None when they were not hashed whole.
        tensors: of its tensors; None when they were not hashed.
    """

    digest: Digest | None
    tensors: tuple[TensorDigest, ...] | None


class FileCache:
    """What is known of model files. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first record is written."""
        self._records = Records(folder)

    def recall(self, path: Path) -> Remembered | None:
        """What is known of the file as it is now, or None."""
        record = self._records.recall(path)
        if record is None:
            return None
        try:
            digest, tensors = record.get("digest"), record.get("tensors")
            return Remembered(
                digest=Digest(digest) if digest else None,
                tensors=None if tensors is None else tuple(_tensor(entry) for entry in tensors),
            )
        except FormatError:
            return None

    def remember(self, path: Path, state: FileState, known: Remembered) -> None:
        """Record what was read of `path`; see `Records.remember`."""
        record: dict[str, Any] = {}
        if known.digest:
            record["digest"] = str(known.digest)
        if known.tensors is not None:
            record["tensors"] = [tensor.to_json() for tensor in known.tensors]
        self._records.remember(path, state, record)


def _tensor(entry: list[Any]) -> TensorDigest:
    name, dtype, shape, digest = entry
    return TensorDigest(name=name, dtype=dtype, shape=tuple(shape), digest=Digest(digest))
