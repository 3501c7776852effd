"""The Parquet shards of a ref: found with the public command, read by anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

LOPD_STORE: Final = str(Path(sys.executable).with_name("lopd-store"))
_NOT_FOUND: Final = 4  # the command's exit code for a ref that does not exist


def show(store: Path, ref: str) -> dict[str, Any] | None:
    """What `lopd-store show REF --json` says, or None when there is no such ref."""
    if not (store / "index.json").exists():
        return None
    command = [LOPD_STORE, "show", ref, "--json", "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == _NOT_FOUND:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def shard_files(store: Path, ref: str) -> list[Path]:
    """The shard files of `ref` in row order: each is a blob named by its digest."""
    shown = show(store, ref)
    if shown is None:
        raise SystemExit(f"expected the ref {ref} in {store}, found none: run the demo first")
    digests = [shard["digest"].removeprefix("sha256:") for shard in shown["shards"]]
    return [store / "blobs" / "sha256" / digest for digest in digests]
