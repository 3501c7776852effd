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
from pathlib import Path
from typing import Any, Final

from lopd_store.errors import FormatError, UsageError
from lopd_store.store.durable import Sync, explained, make_folder, sync_folder
from lopd_train.listing import check_file, list_files

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
        """Every checkpoint, oldest first; `listing.check` says whether one was damaged since."""
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
            list_files(temp, step)
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

    check_file(path.parent, path.name)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, struct.error, *_STRANGE) as error:
        raise FormatError(f"{path}: expected tensors that torch can load, found {error}") from error


def _sync_tree(folder: Path, sync: Sync) -> None:
    """Bring every file and every folder to the disk, `folder` last."""
    for name, _, files in os.walk(folder, topdown=False):
        for file in files:
            with (Path(name) / file).open("rb") as opened:
                sync(opened.fileno())
        sync_folder(Path(name), sync=sync)


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
