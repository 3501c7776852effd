"""The loop that every long job shares: what is not done yet is worked on and kept."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import pyarrow as pa

from lopd_store.building.job import Job, Share
from lopd_store.building.plan import Chunk, rows_of_chunks
from lopd_store.building.progress import Progress
from lopd_store.documents.skipped import SkippedRow
from lopd_store.inputs.source import RowSource

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Prepared(Generic[Request, Answer]):
    """A chunk made ready for an engine.

    Attributes:
        request: what the engine is asked; None when no row of the chunk is left to ask about.
        skipped: the rows that were left out.
        finish: the engine's answer → the rows to keep.
    """

    request: Request | None
    skipped: list[SkippedRow]
    finish: Callable[[Answer | None], pa.RecordBatch]


def run_chunks(
    job: Job,
    source: RowSource,
    *,
    share: Share,
    progress: Progress,
    prepare: Callable[[Chunk, pa.RecordBatch], Prepared[Request, Answer]],
    answer: Callable[[Iterable[Request]], Iterator[Answer]],
) -> None:
    """Work on every chunk of `share` that is not on disk yet.

    `answer` turns requests into answers in the same order and may read some ahead, which is how
    several engines are kept busy while each chunk is still answered as a whole.
    """
    waiting: deque[tuple[Chunk, Prepared[Request, Answer]]] = deque()

    def keep(chunk: Chunk, prepared: Prepared[Request, Answer], answered: Answer | None) -> None:
        job.keep(chunk.index, prepared.finish(answered), prepared.skipped)
        progress.advance(chunk.tokens)

    def requests() -> Iterator[Request]:
        for chunk, rows in rows_of_chunks(source, job.plan.chunks, job.pending(share)):
            prepared = prepare(chunk, rows)
            if prepared.request is None:
                keep(chunk, prepared, None)
            else:
                waiting.append((chunk, prepared))
                yield prepared.request

    if job.plan.on_error == "fail":  # a bad row at the end must not cost hours of work
        for chunk, rows in rows_of_chunks(source, job.plan.chunks, job.pending(share)):
            prepare(chunk, rows)
    progress.begin(total_tokens=job.plan.tokens, done_tokens=job.done_tokens)
    for answered in answer(requests()):
        keep(*waiting.popleft(), answered)
