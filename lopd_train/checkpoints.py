"""Checkpoints that survive `kill -9`, a full disk and a power cut, and are refused when damaged.

    FOLDER/step-00000050/checkpoint.json    the step; size and digest of every other file
    FOLDER/step-00000050/...                whatever the run wrote
    FOLDER/.unfinished-...                  one being written; a kill leaves it, the next save
                                            takes it away

A checkpoint gets its name by one rename once all its bytes are on the disk: what bears the name
is whole. Older ones go only after that.
"""

import os
import pickle
import re
import secrets
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lopd_store.canonical import MAX_DOCUMENT_BYTES, decode_lenient, encode
from lopd_store.digest import Digest
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    Problem,
    StoreError,
    UsageError,
)
from lopd_store.store.durable import Sync, explained, make_folder, sync_folder

LISTING: Final = "checkpoint.json"
_VERSION: Final = 1
_NAME: Final = re.compile(r"step-(\d{8,})")
_UNFINISHED: Final = ".unfinished-"
_STRANGE: Final = (
    RuntimeError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    AssertionError,
)  # with pickle's and struct's own, what torch.load was seen to raise on random bytes, and kin
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")  # how safetensors says which error it met

Write = Callable[[Path], None]
"""Writes a checkpoint's files into an empty folder."""


@dataclass(frozen=True, slots=True)
class _File:
    """What the listing says of one file."""

    size: int
    digest: Digest


class Checkpoints:
    """The checkpoints of one run in one folder; one process at a time writes them."""

    def __init__(self, folder: Path, *, keep: int = 2, sync: Sync = os.fsync) -> None:
        """Name the folder; nothing is read or written yet.

        Args:
            folder: it is made at the first save.
            keep: how many of the newest stay, at least 1.
            sync: see `lopd_store.store.durable.Sync`.
        """
        if keep < 1:
            raise UsageError(f"expected to keep at least 1 checkpoint, found {keep}")
        self.folder = folder
        self.keep = keep
        self._sync = sync

    def all(self) -> list[Path]:
        """Every checkpoint, oldest first. Each is whole unless it was damaged since: `check`."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)), key=step_of)

    def latest(self) -> Path | None:
        """The newest checkpoint, or None when there is none."""
        return next(reversed(self.all()), None)

    def save(self, step: int, write: Write) -> Path:
        """Keep what `write` writes as the checkpoint of `step`.

        Whatever fails or dies, at any moment, the checkpoints there were stay whole until the
        new one has its name.

        Args:
            step: optimiser steps done; later than the latest checkpoint's.
            write: writes the files; `save_state` is for tensors. It writes no `checkpoint.json`.

        Raises:
            UsageError: there is a checkpoint of this step or of a later one.
            StoreError: disk full, read-only or not ours.
        """
        path = self.folder / f"step-{step:08}"
        latest = self.latest()
        if latest and step_of(latest) >= step:
            raise UsageError(
                f"expected no checkpoint of step {step} or later in {self.folder}, found"
                f" {latest.name}: resume from it, or name another folder"
            )
        make_folder(self.folder, sync=self._sync)
        with explained("cannot write", path), self._unfinished() as temp, _disk_errors():
            temp.mkdir()
            write(temp)
            _list_files(temp, step)
            _sync_tree(temp, self._sync)
            temp.rename(path)
            sync_folder(self.folder, sync=self._sync)
        self._prune()
        return path

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """A name for a folder that becomes a checkpoint; it and those of killed runs go."""
        self._sweep()
        try:
            yield self.folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        finally:
            self._sweep()

    def _sweep(self) -> None:
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _prune(self) -> None:
        """Remove all but the newest; under another name first, so that none is ever half there."""
        for path in self.all()[: -self.keep]:
            with explained("cannot remove", path):
                path.rename(self.folder / f"{_UNFINISHED}{path.name}-{secrets.token_hex(8)}")
        self._sweep()


def step_of(checkpoint: Path) -> int:
    """How many optimiser steps a checkpoint is of, by its name.

    Raises:
        UsageError: it is not named as a checkpoint.
    """
    found = _NAME.fullmatch(checkpoint.name)
    if not found:
        raise UsageError(f"expected a checkpoint like step-00000050, found {checkpoint.name!r}")
    return int(found[1])


def check(checkpoint: Path) -> None:
    """Compare every file of a checkpoint with its listing.

    Raises:
        NotFoundError: there is no checkpoint.
        FormatError: its listing is none.
        IntegrityError: a file is missing or not what was written; lists all of them.
    """
    problems = [
        problem
        for name, wanted in _read_listing(checkpoint).items()
        if (problem := _compare(checkpoint / name, name, wanted))
    ]
    if problems:
        raise IntegrityError.of(problems, subject=_damaged(checkpoint))


def save_state(path: Path, state: Any) -> None:
    """Write tensors, numbers, text, lists and dictionaries of them to a file.

    Raises:
        OSError: the disk is full, or another error of it; torch itself would hide which.
    """
    import torch

    with path.open("wb") as file, _disk_errors():
        torch.save(state, file)


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote, onto the CPU; nothing in the file is executed.

    Args:
        path: a file right in the folder of a checkpoint.

    Raises:
        NotFoundError: there is no checkpoint, or it has no such file.
        IntegrityError: the file is not what was written.
        FormatError: it is, but was never written by `save_state`.
    """
    import torch

    wanted = _read_listing(path.parent).get(path.name)
    if wanted is None:
        raise NotFoundError(f"{path.parent}: expected a file {path.name}, found none")
    if problem := _compare(path, path.name, wanted):
        raise IntegrityError.of([problem], subject=_damaged(path.parent))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, struct.error, *_STRANGE) as error:
        raise FormatError(f"{path}: expected tensors that torch can load, found {error}") from error


def _damaged(checkpoint: Path) -> str:
    return f"{checkpoint} is damaged: remove it to go on from the checkpoint before it"


def _list_files(folder: Path, step: int) -> None:
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "digest": str(Digest.of_file(path))}
    listing = {"version": _VERSION, "step": step, "files": files}
    (folder / LISTING).write_bytes(encode(listing))


def _sync_tree(folder: Path, sync: Sync) -> None:
    """Bring every file and every folder to the disk, `folder` last."""
    for name, _, files in os.walk(folder, topdown=False):
        for file in files:
            with (Path(name) / file).open("rb") as opened:
                sync(opened.fileno())
        sync_folder(Path(name), sync=sync)


def _read_listing(checkpoint: Path) -> dict[str, _File]:
    path = checkpoint / LISTING
    try:
        with explained("cannot read", path), path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except StoreError as error:
        raise NotFoundError(f"{checkpoint}: expected a checkpoint: {error}") from error
    document = decode_lenient(data, what=str(path))
    try:
        if document["version"] != _VERSION:
            raise FormatError(f"{path}: expected version {_VERSION}, found {document['version']!r}")
        return {name: _entry(name, said) for name, said in document["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"{path}: expected files, each with size and digest") from error


def _entry(name: str, said: Any) -> _File:
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or not parts:
        raise FormatError(f"expected a file inside the checkpoint, found {name!r}")
    return _File(int(said["size"]), Digest.parse(said["digest"]))


def _compare(path: Path, name: str, wanted: _File) -> Problem | None:
    """What is wrong with a file; size before bytes."""
    if not path.is_file():
        return Problem("missing", name, f"{wanted.size} bytes", "no file")
    if (size := path.stat().st_size) != wanted.size:
        return Problem("size", name, f"{wanted.size} bytes", f"{size} bytes")
    with explained("cannot read", path):
        found = Digest.of_file(path)
    if found != wanted.digest:
        return Problem("digest-mismatch", name, str(wanted.digest), str(found))
    return None


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise the OSError that torch or safetensors met, not what they made of it."""
    from safetensors import SafetensorError

    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        met = error.__context__
        said = _OS_ERROR.search(str(error))
        if isinstance(error, SafetensorError) and said:
            raise OSError(int(said[1]), os.strerror(int(said[1]))) from error
        if isinstance(met, OSError):
            raise OSError(met.errno, met.strerror) from error
        raise
