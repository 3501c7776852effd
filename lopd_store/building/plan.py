"""A job's plan: which rows make which chunk, decided before the first one is worked on.

The plan is a function of the input's digest, the identity document and the chunk size, so a job
that is run again finds its own folder and goes on; its numbers do not depend on where it stopped.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.digest import Digest, tagged
from lopd_store.documents.identity import Identity
from lopd_store.inputs.source import RowSource

Weigh = Callable[[pa.RecordBatch], npt.NDArray[np.int64]]  # tokens of work in each row


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of the input that are worked on, and kept, together.

    Attributes:
        index: its place, from 0.
        first_row: its first row in the input.
        rows: how many rows.
        tokens: the work in it, in tokens.
    """

    index: int
    first_row: int
    rows: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job will do.

    Attributes:
        source: digest of the input.
        identity: who will have made the rows.
        on_error: `skip` or `fail`, for rows that cannot be worked on.
        shard_tokens: where shards are cut.
        chunks: in row order, covering the input without gap.
    """

    source: Digest
    identity: Identity
    on_error: str
    shard_tokens: int
    chunks: tuple[Chunk, ...]

    @property
    def id(self) -> Digest:
        """The same for the same job, whenever and wherever it is started in this store."""
        chunks = ",".join(f"{chunk.rows}:{chunk.tokens}" for chunk in self.chunks)
        settings = f"{self.on_error}\n{self.shard_tokens}\n{chunks}"
        parts = (self.source.hex, self.identity.digest.hex, settings)
        return tagged("lopd.build.v1", *(part.encode() for part in parts))

    @property
    def tokens(self) -> int:
        """The work in all chunks, in tokens."""
        return sum(chunk.tokens for chunk in self.chunks)


def cut_chunks(source: RowSource, weigh: Weigh, *, chunk_tokens: int) -> tuple[Chunk, ...]:
    """Cut the input into chunks of at least `chunk_tokens`, the last one excepted."""
    cuts: list[Chunk] = []
    first_row, rows, tokens = 0, 0, 0
    for batch in source.read():
        for weight in weigh(batch).tolist():
            rows += 1
            tokens += weight
            if tokens >= chunk_tokens:
                cuts.append(Chunk(index=len(cuts), first_row=first_row, rows=rows, tokens=tokens))
                first_row, rows, tokens = first_row + rows, 0, 0
    if rows:
        cuts.append(Chunk(index=len(cuts), first_row=first_row, rows=rows, tokens=tokens))
    return tuple(cuts)


def rows_of_chunks(
    source: RowSource, chunks: tuple[Chunk, ...], wanted: set[int]
) -> Iterator[tuple[Chunk, pa.RecordBatch]]:
    """The rows of each wanted chunk, in order; at most one chunk and one batch are held."""
    queue = iter(chunks)
    chunk = next(queue, None)
    held: list[pa.RecordBatch] = []
    missing = chunk.rows if chunk else 0
    for batch in source.read():
        rest = batch
        while chunk is not None and len(rest):
            taken = rest.slice(0, missing)
            rest = rest.slice(len(taken))
            missing -= len(taken)
            if chunk.index in wanted:
                held.append(taken)
            if missing == 0:
                if held:
                    yield chunk, pa.concat_batches(held)
                held, chunk = [], next(queue, None)
                missing = chunk.rows if chunk else 0
