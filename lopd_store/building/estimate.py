"""What a build would take, measured on a few of its rows: tokens, bytes, time."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow as pa

from lopd_store.building.plan import Chunk, Plan, rows_of_chunks
from lopd_store.building.score import ScoreChunk
from lopd_store.engines.protocol import Scorer
from lopd_store.errors import FormatError
from lopd_store.inputs.source import RowSource
from lopd_store.shards.writer import write_shards

SAMPLE_ROWS: Final = 512  # enough to be past the engine's first-batch costs


def measure(plan: Plan, rollouts: RowSource, work: ScoreChunk, scorer: Scorer) -> dict[str, int]:
    """Score the first rows twice, time the second pass, and write them as a shard.

    Returns:
        rows, bad_rows (of them), tokens, chunks, bytes, seconds, tokens_per_second: of the whole
        build, as integers.

    Raises:
        FormatError: none of the first rows can be scored.
    """
    rows = sum(chunk.rows for chunk in plan.chunks)
    bad = _bad_rows(plan, rollouts, work)
    first = Chunk(index=0, first_row=0, rows=min(SAMPLE_ROWS, rows), tokens=0)
    _, sample = next(rows_of_chunks(rollouts, (first,), {0}))
    prepared = work.prepare(first, sample)
    if prepared.request is None:
        raise FormatError("expected rows that can be scored among the first, found none")
    scorer.score(prepared.request)
    start = time.perf_counter()
    answers = scorer.score(prepared.request)
    seconds = time.perf_counter() - start
    tokens = int(prepared.request.lengths.sum())
    scale = plan.tokens / tokens
    return {
        "rows": rows,
        "bad_rows": bad,
        "tokens": plan.tokens,
        "chunks": len(plan.chunks),
        "bytes": round(scale * _bytes(plan, prepared.finish(answers))),
        "seconds": round(scale * seconds),
        "tokens_per_second": round(tokens / seconds),
    }


def _bad_rows(plan: Plan, rollouts: RowSource, work: ScoreChunk) -> int:
    everything = {chunk.index for chunk in plan.chunks}
    chunks = rows_of_chunks(rollouts, plan.chunks, everything)
    return sum(len(work.prepare(chunk, rows).skipped) for chunk, rows in chunks)


def _bytes(plan: Plan, rows: pa.RecordBatch) -> int:
    with TemporaryDirectory() as folder:
        files = write_shards(iter([rows]), identity=plan.identity.encode(), folder=Path(folder))
        return sum(file.size for file in files)
