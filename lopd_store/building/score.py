"""One chunk of rollouts through a scorer: rows in, the same rows with teacher_logprobs out."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.building.complete import (
    with_column,
    with_finish_reason,
    with_names,
    with_zeros_where_masked,
)
from lopd_store.building.plan import Chunk
from lopd_store.building.run import Prepared
from lopd_store.building.triage import triage
from lopd_store.engines.protocol import Floats, Sequences
from lopd_store.inputs.conform import conformed
from lopd_store.rows import flat
from lopd_store.rows.check import bad_rows

Prepare = Prepared[Sequences, list[Floats]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChunk:
    """Makes chunks ready for a scorer, and rows of its answers.

    Attributes:
        vocab_size: ids at or above it cannot be scored.
        max_tokens: the longest prompt and response together.
        on_error: `skip` or `fail`.
        eos: ids that end a response.
    """

    vocab_size: int
    max_tokens: int
    on_error: str
    eos: Collection[int]

    def prepare(self, chunk: Chunk, rows: pa.RecordBatch) -> Prepare:
        """Leave bad rows out and sort the rest by length, so that batches waste no padding."""
        good, skipped = triage(
            conformed(rows),
            partial(bad_rows, vocab_size=self.vocab_size, max_tokens=self.max_tokens),
            first_row=chunk.first_row,
            on_error=self.on_error,
        )
        sequences = Sequences(good.column("prompt_ids"), good.column("response_ids"))
        order = np.argsort(sequences.lengths, kind="stable")

        def finish(answers: list[Floats] | None) -> pa.RecordBatch:
            return self._with_logprobs(good, order, answers or [])

        return Prepared(sequences.take(order) if len(good) else None, skipped, finish)

    def _with_logprobs(
        self, rows: pa.RecordBatch, order: npt.NDArray[np.int64], answers: list[Floats]
    ) -> pa.RecordBatch:
        in_row_order = [answers[place] for place in np.argsort(order, kind="stable")]
        values = np.concatenate(in_row_order) if answers else np.empty(0, np.float32)
        logprobs = flat.lists_of(pa.array(values), like=rows.column("response_ids"))
        scored = with_column(with_names(rows), "teacher_logprobs", logprobs)
        return with_zeros_where_masked(with_finish_reason(scored, eos=self.eos))
