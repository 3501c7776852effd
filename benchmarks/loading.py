"""How fast do rows come out of a signal, beside a raw NumPy memory map and `datasets`?

An epoch is all rows once, shuffled, in padded batches of response ids and teacher log-probs. Ways
take turns in one process and see the same rows in the same order; ratios are paired. Opening for
the first time, and memory, are measured in processes of their own.

    python benchmarks/loading.py [--tokens 10000000] [--rounds 7]
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import datasets
import numpy as np

from benchmarks import figures
from benchmarks.signal_artifact import make_artifact
from lopd_store.loading.decoded_rows import DecodedRows, Ints
from lopd_store.loading.huggingface import dataset
from lopd_store.shard_sets import open_shard_set

BATCH: Final = 32
LOOKUPS: Final = 2000
COLUMNS: Final = ("response_ids", "teacher_logprobs")
Epoch = Callable[[list[Ints]], int]


def main() -> None:
    """Measure each way, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--tokens", type=int, default=10_000_000, help="response tokens")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        artifact = str(make_artifact(root / "store", tokens=arguments.tokens))
        first = _in_a_process(root / "store", artifact)
        second = _in_a_process(root / "store", artifact)
        rows = DecodedRows.open(open_shard_set(artifact, root=root / "store"))
        rates = _epochs(rows, root, arguments.rounds)
        lookup = _lookup(rows)
    found = {"tokens": arguments.tokens, "rounds": arguments.rounds, "epochs": rates}
    found |= {"microseconds a row by name": lookup, "first open": first, "second open": second}
    figures.show(
        "loading",
        _table(rates, lookup, first, second),
        found,
        arguments,
        libraries=("numpy", "pyarrow", "datasets"),
    )


def _epochs(rows: DecodedRows, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    ways: dict[str, Epoch] = {
        "raw NumPy memory map": _raw(rows, folder),
        "lopd": _ours(rows),
        "datasets, numpy format": _huggingface(rows),
    }
    tokens = int(rows.lists(COLUMNS[0]).offsets[-1])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        order = np.random.default_rng(number).permutation(len(rows))
        batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
        for name, epoch in ways.items():
            start = time.perf_counter()
            if epoch(batches) != tokens:
                raise SystemExit(f"{name} did not give every token once")
            if number:  # the first brings the pages in
                seconds[name].append(time.perf_counter() - start)
    raw = seconds["raw NumPy memory map"]
    return {
        name: {
            "million tokens/s": tokens / statistics.median(found) / 1e6,
            "of raw": figures.paired(raw, found),
        }
        for name, found in seconds.items()
    }


def _ours(rows: DecodedRows) -> Epoch:
    def epoch(batches: list[Ints]) -> int:
        taken = 0
        for chosen in batches:
            ids, logprobs = rows.padded(COLUMNS, chosen).values()
            taken += int(np.count_nonzero(logprobs))
            assert ids.shape == logprobs.shape  # noqa: S101 - a batch that is used
        return taken

    return epoch


def _raw(rows: DecodedRows, folder: Path) -> Epoch:
    """What one would write by hand: two flat files and where each row starts."""
    maps = []
    for name in COLUMNS:
        rows.lists(name).values.tofile(folder / name)
        mapped = np.memmap(folder / name, rows.lists(name).values.dtype, mode="r")
        maps.append(np.asarray(mapped))  # slices of a plain array are quicker than of a memmap
    offsets = rows.lists(COLUMNS[0]).offsets.copy()

    def epoch(batches: list[Ints]) -> int:
        taken = 0
        for chosen in batches:
            starts, ends = offsets[chosen], offsets[chosen + 1]
            longest = int((ends - starts).max())
            made = []
            for values in maps:
                found = np.zeros((len(chosen), longest), values.dtype)
                for line, start, end in zip(found, starts.tolist(), ends.tolist(), strict=True):
                    line[: end - start] = values[start:end]
                made.append(found)
            ids, logprobs = made
            taken += int(np.count_nonzero(logprobs))
            assert ids.shape == logprobs.shape  # noqa: S101 - a batch that is used
        return taken

    return epoch


def _huggingface(rows: DecodedRows) -> Epoch:
    """The same rows as `datasets` gives them, padded by hand."""
    found: datasets.Dataset = dataset(rows).select_columns(list(COLUMNS)).with_format("numpy")

    def epoch(batches: list[Ints]) -> int:
        taken = 0
        for chosen in batches:
            batch = found[chosen.tolist()]
            made = []
            for name in COLUMNS:
                longest = max(map(len, batch[name]))
                padded = np.zeros((len(chosen), longest), batch[name][0].dtype)
                for line, values in zip(padded, batch[name], strict=True):
                    line[: len(values)] = values
                made.append(padded)
            ids, logprobs = made
            taken += int(np.count_nonzero(logprobs))
            assert ids.shape == logprobs.shape  # noqa: S101 - a batch that is used
        return taken

    return epoch


def _lookup(rows: DecodedRows) -> float:
    """Microseconds for a row by its sample_id: median of single ones."""
    names = rows.column("sample_id").to_pylist()
    rows.index(names[0])  # makes the index
    wanted = np.random.default_rng(0).choice(names, LOOKUPS)
    seconds = []
    for name in wanted.tolist():
        start = time.perf_counter()
        rows[rows.index(name)]
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e6


_CHILD: Final = """
import json, sys, time
from pathlib import Path
import numpy as np
import pyarrow, pyarrow.parquet, pyarrow.compute
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import open_shard_set
from benchmarks.figures import peak_mib
before, start = peak_mib(), time.perf_counter()
rows = DecodedRows.open(open_shard_set(sys.argv[2], root=Path(sys.argv[1])))
order = np.random.default_rng(0).permutation(len(rows))
rows.padded(("response_ids", "teacher_logprobs"), order[:32])
first = time.perf_counter() - start
decoded = 0
for name in rows.columns:
    if name.endswith(("_ids", "_logprobs")):
        decoded += rows.lists(name).values.nbytes
        for at in range(0, len(order), 32):
            rows.padded([name], order[at : at + 32])
print(json.dumps({"first batch, s": first, "peak MiB": peak_mib() - before,
                  "decoded MiB": decoded / 2**20}))
"""


def _in_a_process(root: Path, artifact: str) -> dict[str, float]:
    """The seconds to a first batch, and the memory of an epoch over every column of numbers."""
    child = [sys.executable, "-c", _CHILD, str(root), artifact]
    found: dict[str, float] = json.loads(subprocess.check_output(child))
    return found | {"peak of decoded": found["peak MiB"] / found["decoded MiB"]}


def _table(rates: Any, lookup: float, first: Any, second: Any) -> str:
    lines = ["| an epoch | Mtok/s | of raw |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {found['million tokens/s']:.0f} | {found['of raw']:.3f} |"
        for name, found in rates.items()
    ]
    ours, theirs = rates["lopd"]["of raw"], rates["datasets, numpy format"]["of raw"]
    lines += ["", "| | |", "|---|---:|", f"| lopd / datasets | {ours / theirs:.1f} |"]
    lines += [f"| a row by its name | {lookup:.1f} µs |"]
    for name, found in (("never opened before", first), ("opened before", second)):
        lines += [
            f"| {name}: first batch | {found['first batch, s']:.2f} s |",
            (
                f"| {name}: peak memory above imports, all columns of numbers read |"
                f" {found['peak MiB']:.0f} MiB = {found['peak of decoded']:.2f} of"
                f" {found['decoded MiB']:.0f} MiB decoded |"
            ),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
