"""Opening files in a folder nobody vouches for: regular files only, links never followed.

A store may come from a stranger. A blob that is a symbolic link to a private file, or an
index that is a pipe which never ends, is refused before a byte of it is read.
"""

import errno
import hashlib
import os
import stat
from io import FileIO
from pathlib import Path

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, Problem
from lopd_store.store.durable import explained

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_for_reading(path: Path) -> FileIO:
    """Open a regular file for reading.

    Raises:
        FileNotFoundError: nothing has that name; callers say what is missing.
        IntegrityError: it is a link, a pipe, a device, a folder.
        StoreError: the system does not let us read it.
    """
    return os.fdopen(open_descriptor(path, os.O_RDONLY), "rb", buffering=0)


def open_descriptor(path: Path, flags: int) -> int:
    """Open a regular file as `os.open` does (new files get mode 0644), with the same refusals."""
    if not flags & os.O_CREAT or path.is_symlink():
        _require(path, os.lstat(path).st_mode)
    try:
        # Without O_NONBLOCK, a pipe put here since the check above would block for ever.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            _require(path, os.lstat(path).st_mode)
        with explained("cannot open", path):
            raise
    try:
        found = os.fstat(descriptor)
        _require(path, found.st_mode)
        if flags & (os.O_RDWR | os.O_WRONLY) and found.st_nlink != 1:
            _refuse(path, f"one of {found.st_nlink} names of a file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(path: Path, *, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises:
        FileNotFoundError, IntegrityError, StoreError: as `open_for_reading`.
        FormatError: the file is larger.
    """
    with open_for_reading(path) as file, explained("cannot read", path):
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise FormatError(f"{path}: expected at most {limit} bytes, found {size}")
        # A read of one byte more: a file that grows meanwhile must not be cut short unnoticed.
        parts = []
        left = limit + 1
        while left > 0 and (block := file.read(min(left, size + 1))):
            parts.append(block)
            left -= len(block)
    if left <= 0:
        raise FormatError(f"{path}: expected at most {limit} bytes, found more")
    return b"".join(parts)


def digest_of(path: Path) -> Digest:
    """The digest of a regular file, streamed; releases the GIL. Raises as `open_for_reading`."""
    with open_for_reading(path) as file, explained("cannot read", path):
        return Digest.from_hex(hashlib.file_digest(file, "sha256").hexdigest())


def size_of(path: Path) -> int:
    """The size of a regular file in bytes. Raises FileNotFoundError and IntegrityError."""
    found = os.lstat(path)
    _require(path, found.st_mode)
    return found.st_size


def require_folder(path: Path) -> None:
    """Refuse what stands where a folder of ours belongs. Nothing at all is fine.

    Raises:
        IntegrityError: a link or a file; followed, a link would let gc remove files elsewhere.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        with explained("cannot look at", path):
            raise
    if not stat.S_ISDIR(mode):
        _refuse(path, _kind(mode), expected="a folder")


def _require(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        _refuse(path, _kind(mode))


def _refuse(path: Path, found: str, *, expected: str = "a regular file") -> None:
    problem = Problem("not-a-regular-file", str(path), expected, found)
    raise IntegrityError(str(problem), problems=(problem,))


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "a regular file")
