"""Is a macro of `lopd-store sql` as fast as the best that one writes by hand?

Each macro, on an artifact of 10M response tokens, beside the same question asked in DuckDB by
hand, in polars, and in NumPy behind pyarrow. All of them start from the artifact's Parquet files,
each time, and every answer is compared with the macro's. A ratio is `macro's seconds / theirs`,
the median of pairs of runs taken in turn; up to 1.1 of the fastest is aimed at. `open` is what a
session costs once: footers, page headers, views and macros; digests were checked before.

    python benchmarks/sql_macros.py [--tokens 10000000] [--runs 11] [--only lengths …]
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks import figures
from benchmarks.list_column import list_column
from benchmarks.signal_artifact import make_artifact
from benchmarks.sql_by_hand import DUCKDB, MACROS, Answer, Paths
from benchmarks.sql_in_numpy import NUMPY
from benchmarks.sql_in_polars import POLARS
from lopd_store.rows import flat
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.shards.writer import write_shards
from lopd_store.sql.session import ask, connect

CONTENDERS: Final = ("DuckDB by hand", "polars", "NumPy")


def main() -> None:
    """Make two artifacts, ask every question in every way, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--tokens", type=int, default=10_000_000, help="response tokens")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--only", nargs="+", choices=tuple(MACROS), default=tuple(MACROS))
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        a, b = artifacts(Path(folder), arguments.tokens)
        seconds = {"open": [opening(a, b) for _ in range(arguments.runs)]}
        connection = connect({"a": a, "b": b})
        for question in arguments.only:
            seconds |= timed(question, ways(connection, question, a, b), arguments.runs)
        connection.close()
    found = {"tokens": arguments.tokens, "seconds": seconds}
    libraries = ("duckdb", "polars", "numpy", "pyarrow")
    figures.show(
        "sql_macros", table(seconds, arguments.only), found, arguments, libraries=libraries
    )


def artifacts(folder: Path, tokens: int) -> tuple[ShardSet, ShardSet]:
    """A signal, and the same rows with another teacher's log-probs."""
    artifact = make_artifact(folder / "store", tokens=tokens)
    a = open_shard_set(str(artifact), root=folder / "store")
    (folder / "b").mkdir()
    shards = list(a.open_shards())
    rows = (other_teacher(batch) for shard in shards for batch in shard.batches())
    list(write_shards(rows, identity=shards[0].identity_bytes, folder=folder / "b"))
    return a, open_shard_set(str(folder / "b"), root=None)


def other_teacher(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows whose teacher is half as sure wherever the ids are odd."""
    given, ids = flat.lists(batch.column("teacher_logprobs")), flat.lists(batch["response_ids"])
    values = np.where(ids.values % 2, given.values * np.float32(2), given.values)
    column = list_column(values, np.diff(given.offsets))
    at = batch.schema.names.index("teacher_logprobs")
    return batch.set_column(at, "teacher_logprobs", column)


def opening(a: ShardSet, b: ShardSet) -> float:
    """Seconds until a session is there."""
    start = time.perf_counter()
    connect({"a": a, "b": b}).close()
    return time.perf_counter() - start


def ways(
    connection: Any, question: str, a: ShardSet, b: ShardSet
) -> Mapping[str, Callable[[], Answer]]:
    """The macro and its contenders, each an answer when called."""
    paths: list[Paths] = [[str(shard.path) for shard in each.open_shards()] for each in (a, b)]
    by_hand = duckdb.connect()
    values = dict(zip("ab", paths, strict=True))
    given = {name: values[name] for name in values if f"${name}" in DUCKDB[question]}

    def macro() -> Answer:
        return list(ask(connection, MACROS[question]).to_arrow_table().columns)

    def duckdb_by_hand() -> Answer:
        return list(by_hand.sql(DUCKDB[question], params=given).to_arrow_table().columns)

    hands = (duckdb_by_hand, lambda: POLARS[question](*paths), lambda: NUMPY[question](*paths))
    return {"macro": macro, **dict(zip(CONTENDERS, hands, strict=True))}


def timed(
    question: str, ways: Mapping[str, Callable[[], Answer]], runs: int
) -> dict[str, list[float]]:
    """Seconds of each way, run after run; the first one of each only shows that they agree."""
    expected = ways["macro"]()
    for name, way in ways.items():
        agree(f"{question}, {name}", expected, way())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {f"{question}: {name}": found for name, found in seconds.items()}


def agree(what: str, expected: Answer, found: Answer) -> None:
    """Refuse to time an answer that is another one."""
    for one, other in zip(expected, found, strict=True):
        left, right = np.asarray(one), np.asarray(other)
        if left.dtype.kind in "OU":
            np.testing.assert_array_equal(left.astype(str), right.astype(str), what)
        else:
            left, right = left.astype(np.float64), right.astype(np.float64)
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12, err_msg=what)


def table(seconds: Mapping[str, list[float]], questions: Sequence[str]) -> str:
    """The figures as a Markdown table."""
    lines = [
        f"| macro | seconds | {' | '.join(CONTENDERS)} | of the fastest |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for question in questions:
        mine = seconds[f"{question}: macro"]
        theirs = [seconds[f"{question}: {name}"] for name in CONTENDERS]
        ratios = [figures.paired(mine, each) for each in theirs]
        times = " | ".join(f"{statistics.median(each):.3f}" for each in theirs)
        lines.append(
            f"| {question} | {statistics.median(mine):.3f} | {times} | {max(ratios):.2f} |"
        )
    return "\n".join(lines) + f"\n\nopen: {statistics.median(seconds['open']):.3f} s, twice."


if __name__ == "__main__":
    main()
