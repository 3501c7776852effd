"""How fast is `verify` at depth 1, beside hashing the same bytes and doing nothing else?

Depth 1 checks sizes, the digest of every blob, footers, schemas, every value of every row, sample
ids, numbering and the content digest. It has to hash more than it reads: the shards as they are,
each column's values for the content digest, and the ids once more for the names of rows.

Beside it, on the same artifact and interleaved with it, run after run:

    sha256sum       the tool people check downloads with, over the shard files
    hashlib files   SHA-256 by OpenSSL on one core, over the shard files
    hashlib rows    the same over the rows' columns in memory, uncompressed
    hashlib all     the same over all that verify has to hash

A ratio is `their seconds / verify's seconds`: 1 means that verify takes no longer than hashing
alone, 0.5 that it takes twice as long. Three of them: the median of the pairs of runs; best run by
best run, which is nearest to a machine with nothing else to do; and by CPU seconds, which is what
one core would come to. Rows look like rollouts: about 1,000 response tokens, Zipf-like ids of a
vocabulary of 151,936, log-probs of which 60% are nearly zero. The tokenizer is tiny: opening a real
one is a fixed cost of some tenths of a second.
"""

import argparse
import hashlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks import figures
from benchmarks.signal_artifact import make_artifact
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Manifest
from lopd_store.rows import flat
from lopd_store.shards.reader import Shard
from lopd_store.store import Store
from lopd_store.verify.integrity import check_artifact
from lopd_store.verify.report import Report

TOKENS: Final = 24_000_000
RUNS: Final = 9
IDS: Final = ("prompt_ids", "prompt_ids", "response_ids")  # hashed for names of prompts, samples
LISTS: Final = ("prompt_ids", "response_ids", "teacher_logprobs", "rollout_logprobs")
Buffers: TypeAlias = Sequence[npt.NDArray[np.uint8]]


def main() -> None:
    """Make an artifact, verify it again and again, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="response tokens")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--verify", nargs=2, metavar=("ROOT", "ID"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verify:
        verify(Path(arguments.verify[0]), Digest.parse(arguments.verify[1]))
        print(figures.peak_mib())
        return
    with TemporaryDirectory() as folder:
        small, large = Path(folder) / "small", Path(folder) / "large"
        quarter = make_artifact(small, tokens=arguments.tokens // 4)
        whole = make_artifact(large, tokens=arguments.tokens)
        found = measure(large, whole, runs=arguments.runs)
        found["peak_mib"] = {"quarter": peak(small, quarter), "whole": peak(large, whole)}
    figures.show("verify_rate", table(found), found, arguments)


def measure(root: Path, artifact: Digest, *, runs: int) -> figures.Json:
    """Wall and CPU seconds of each way, run after run, and the bytes it goes through."""
    store = Store.open(root)
    manifest = Manifest.parse(store.blobs.get(artifact))
    paths = [store.blobs.path(layer.digest) for layer in manifest.shards]
    rows, ids = buffers(paths)
    ways: dict[str, Callable[[], object]] = {
        "verify": lambda: verify(root, artifact),
        "hashlib files": lambda: [Digest.of_file(path) for path in paths],
        "hashlib rows": lambda: hash_all(rows),
        "hashlib ids": lambda: hash_all(ids),
    }
    if tool := shutil.which("sha256sum"):
        command = [tool, *map(str, paths)]
        ways["sha256sum"] = lambda: subprocess.run(command, check=True, capture_output=True)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            start, used = time.perf_counter(), figures.cpu_seconds()
            way()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(figures.cpu_seconds() - used)
    sizes = {
        "files": sum(path.stat().st_size for path in paths),
        "rows": sum(buffer.nbytes for buffer in rows),
        "ids": sum(buffer.nbytes for buffer in ids),
    }
    return {"bytes": sizes, "shards": len(paths), "wall_seconds": wall, "cpu_seconds": cpu}


def verify(root: Path, artifact: Digest) -> None:
    """One verification at depth 1, which must find nothing."""
    report = Report(target="benchmark")
    check_artifact(Store.open(root), artifact, report)
    if not report.ok:
        sys.exit(str(report.problems))


def buffers(paths: Sequence[Path]) -> tuple[Buffers, Buffers]:
    """The list columns' values, in memory: all of them, and those that are hashed for names."""
    columns: dict[str, list[npt.NDArray[np.uint8]]] = {name: [] for name in LISTS}
    for path in paths:
        for batch in Shard.open(path).batches(LISTS):
            for name, held in columns.items():
                held.append(flat.lists(batch.column(name)).values.view(np.uint8))
    return [b for held in columns.values() for b in held], [b for n in IDS for b in columns[n]]


def hash_all(parts: Buffers) -> None:
    """SHA-256 over all of the parts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.data)
    state.digest()


def peak(root: Path, artifact: Digest) -> int:
    """Peak memory in MiB of a process that verifies an artifact and nothing else."""
    command = [sys.executable, __file__, "--verify", str(root), str(artifact)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def table(found: figures.Json) -> str:
    """The figures as a Markdown table and a line below it."""
    sizes, wall, cpu = found["bytes"], found["wall_seconds"], found["cpu_seconds"]
    made_of = {
        "verify": ["rows"],
        "sha256sum": ["files"],
        "hashlib files": ["files"],
        "hashlib rows": ["rows"],
        "hashlib all": ["files", "rows", "ids"],
    }
    for clock in (wall, cpu):
        runs = zip(*(clock[f"hashlib {part}"] for part in made_of["hashlib all"]), strict=True)
        clock["hashlib all"] = [sum(run) for run in runs]
    lines = [
        "| way | MB | seconds | best | CPU s | MB/s, best | of pairs | of bests | of CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, parts in made_of.items():
        if name not in wall:
            continue
        size, best = sum(sizes[part] for part in parts), min(wall[name])
        lines.append(
            f"| {name} | {size / 1e6:.0f} | {statistics.median(wall[name]):.2f} | {best:.2f} "
            f"| {statistics.median(cpu[name]):.2f} | {size / best / 1e6:.0f} "
            f"| {figures.paired(wall[name], wall['verify']):.2f} "
            f"| {best / min(wall['verify']):.2f} "
            f"| {figures.paired(cpu[name], cpu['verify']):.2f} |"
        )
    memory = found["peak_mib"]
    return "\n".join(lines) + (
        f"\n\n{found['shards']} shards, {sizes['files'] / 1e6:.0f} MB. Peak memory of a process "
        f"that verifies: {memory['whole']} MiB; a quarter of the rows: {memory['quarter']} MiB."
    )


if __name__ == "__main__":
    main()
