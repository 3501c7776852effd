"""Files that people name for answers and exports: in no store, and only files are replaced."""

import stat
from pathlib import Path

from lopd_store.errors import UsageError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where a file of ours must not come to stand.

    A file is written beside its place and then takes it: a device or a link there would be gone.

    Raises UsageError: something is there and not to be replaced, or is no regular file; there is no
    folder for it; it is in a store; it is `-`.
    """
    if path.name == "-":
        raise UsageError("expected a file's name, found -: these files are not written to stdout")
    if not path.parent.is_dir():
        raise UsageError(f"expected a folder at {path.parent}, found none")
    if stores := [each for each in path.resolve().parents if (each / "oci-layout").exists()]:
        raise UsageError(f"expected a place outside of stores, found {path} in that at {stores[0]}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"expected a file or nothing at {path}, found a link, folder or device")
    if not overwrite:
        raise UsageError(f"expected no file at {path}, found one; --force replaces it")
