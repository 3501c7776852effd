"""How fast is a shard read with every check, beside plain pyarrow and DuckDB without any?

Rows are random: for speed only, never for size. Medians of runs taken in turn in one process.

    python benchmarks/read_shard.py [--tokens 4000000] [--runs 7]
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import figures
from benchmarks.list_column import list_column
from lopd_store.digest import Digest
from lopd_store.rows import check, sample_id
from lopd_store.rows.content import ContentDigest
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import write_shards

IDENTITY: Final = b'{"format":"lopd.identity.v1","kind":"signal"}'
VOCABULARY: Final = 151_936
PROMPT, RESPONSE, BATCH = 100, 900, 256


def main() -> None:
    """Measure each way in turn, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--tokens", type=int, default=4_000_000, help="response tokens")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rates = measured(Path(name), arguments.tokens, arguments.runs)
    lines = ["| | Mtok/s |", "|---|---:|"]
    lines += [f"| {what} | {rate:.1f} |" for what, rate in rates.items()]
    found = {"tokens": arguments.tokens, "million tokens/s": rates}
    libraries = ("pyarrow", "duckdb")
    figures.show("read_shard", "\n".join(lines), found, arguments, libraries=libraries)


def measured(folder: Path, tokens: int, runs: int) -> dict[str, float]:
    """Million response tokens a second of each way, median of runs in turn."""
    source = list(batches(tokens))
    (shard,) = write_shards(source, identity=IDENTITY, folder=folder, shard_tokens=1 << 40)
    (folder / "written").mkdir()

    def write() -> None:
        list(write_shards(source, identity=IDENTITY, folder=folder / "written"))

    def checked() -> None:
        for batch in Shard.open(shard.path).batches():
            found = check.row_problems(
                batch, kind="signal", vocab_size=VOCABULARY, where="shard 0", first_row=0
            )
            if found:
                raise SystemExit(str(found[0]))

    def content() -> None:
        state = ContentDigest(source[0].schema)
        for batch in source:
            state.update(batch)
        state.digest()

    ways: dict[str, Callable[[], Any]] = {
        "read: Shard.batches (footer, page headers, CRCs, validation)": lambda: list(
            Shard.open(shard.path).batches()
        ),
        "read: pyarrow.parquet.read_table": lambda: pq.read_table(shard.path),
        "read: DuckDB to Arrow": lambda: duckdb.sql(f"from '{shard.path}'").to_arrow_table(),
        "read and check every row": checked,
        "file digest": lambda: Digest.of_file(shard.path),
        "content digest of rows in memory": content,
        "write: write_shards (with digest and fsync)": write,
        "write: pyarrow.parquet.write_table": lambda: pq.write_table(
            pa.Table.from_batches(source), folder / "plain.parquet"
        ),
    }
    seconds: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(runs):
        for what, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[what].append(time.perf_counter() - start)
    return {what: shard.tokens / statistics.median(found) / 1e6 for what, found in seconds.items()}


def batches(tokens: int) -> Iterator[pa.RecordBatch]:
    """Rows of random ids and log-probs."""
    random = np.random.default_rng(0)
    for _ in range(max(1, tokens // (BATCH * RESPONSE))):
        prompt = list_column(_ids(random, PROMPT), PROMPT)
        response = list_column(_ids(random, RESPONSE), RESPONSE)
        logprobs = -random.exponential(size=(2, BATCH, RESPONSE)).astype(np.float32)
        yield pa.record_batch(
            {
                "sample_id": sample_id.sample_ids(prompt, response),
                "prompt_id": sample_id.prompt_ids_digests(prompt),
                "prompt_ids": prompt,
                "response_ids": response,
                "teacher_logprobs": list_column(logprobs[0], RESPONSE),
                "rollout_logprobs": list_column(logprobs[1], RESPONSE),
                "finish_reason": pa.array(["stop"] * BATCH),
            }
        )


def _ids(random: np.random.Generator, length: int) -> npt.NDArray[np.int32]:
    return random.integers(0, VOCABULARY, (BATCH, length), dtype=np.int32)


if __name__ == "__main__":
    main()
