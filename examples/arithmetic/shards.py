"""The Parquet shards of a ref: found with the public command, read by anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

LOPD_STORE: Final = str(Path(sys.executable).with_name("lopd-store"))


def shard_files(store: Path, ref: str) -> list[Path]:
    """The shard files of `ref` in row order: each is a blob named by its digest."""
    command = [LOPD_STORE, "show", ref, "--json", "--store", str(store)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    digests = [
        shard["digest"].removeprefix("sha256:") for shard in json.loads(done.stdout)["shards"]
    ]
    return [store / "blobs" / "sha256" / digest for digest in digests]
