"""`checkpoint.json`: the files of a checkpoint with their sizes and digests, to tell damage by."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lopd_store.canonical import MAX_DOCUMENT_BYTES, decode_lenient, encode
from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, Problem, StoreError
from lopd_store.store.durable import explained
from lopd_store.store.regular import read

LISTING: Final = "checkpoint.json"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class _File:
    """What the listing says of one file."""

    size: int
    digest: Digest


def list_files(folder: Path, step: int) -> None:
    """Write the listing of everything in a folder into it. Raises OSError."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = {"size": path.stat().st_size, "digest": str(Digest.of_file(path))}
    listing = {"version": _VERSION, "step": step, "files": files}
    (folder / LISTING).write_bytes(encode(listing))


def check(checkpoint: Path) -> None:
    """Compare every file of a checkpoint with its listing.

    Raises:
        NotFoundError: there is no checkpoint.
        FormatError: its listing is none.
        IntegrityError: a file is missing or not what was written; lists all of them.
    """
    listing = _read(checkpoint)
    _refuse(checkpoint, (_compare(checkpoint, name, file) for name, file in listing.items()))


def check_file(checkpoint: Path, name: str) -> None:
    """Compare one file with the listing; raises as `check`, and NotFoundError if not listed."""
    wanted = _read(checkpoint).get(name)
    if wanted is None:
        raise NotFoundError(f"{checkpoint}: expected a file {name}, found none")
    _refuse(checkpoint, [_compare(checkpoint, name, wanted)])


def _refuse(checkpoint: Path, compared: Iterable[Problem | None]) -> None:
    if problems := [problem for problem in compared if problem]:
        subject = f"{checkpoint} is damaged: remove it to go on from the checkpoint before it"
        raise IntegrityError.of(problems, subject=subject)


def _read(checkpoint: Path) -> dict[str, _File]:
    path = checkpoint / LISTING
    try:
        with explained("cannot read", path):
            data = read(path, limit=MAX_DOCUMENT_BYTES)
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


def _compare(checkpoint: Path, name: str, wanted: _File) -> Problem | None:
    """What is wrong with a file; size before bytes."""
    path = checkpoint / name
    if not path.is_file():
        return Problem("missing", name, f"{wanted.size} bytes", "no file")
    if (size := path.stat().st_size) != wanted.size:
        return Problem("size", name, f"{wanted.size} bytes", f"{size} bytes")
    with explained("cannot read", path):
        found = Digest.of_file(path)
    if found != wanted.digest:
        return Problem("digest-mismatch", name, str(wanted.digest), str(found))
    return None
