"""One chunk of prompts through a sampler: prompts in, n rows for each out."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from lopd_store.building.complete import with_column, with_names
from lopd_store.building.plan import Chunk
from lopd_store.building.run import Prepared
from lopd_store.building.triage import triage
from lopd_store.documents.identity import Sampling
from lopd_store.engines.protocol import Samples, request_seeds
from lopd_store.inputs.conform import conformed
from lopd_store.rows.check import bad_prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRequest:
    """What a sampler is asked.

    Attributes:
        prompts: list<int32>, one a prompt.
        seeds: one a sample, prompt-major.
    """

    prompts: pa.ListArray
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleChunk:
    """Makes chunks of prompts ready for a sampler, and rows of what it sampled.

    Attributes:
        sampling: temperature, top-p, lengths, seed and n.
        vocab_size: ids at or above it cannot be read by the model.
        max_tokens: the longest prompt that leaves room for one token.
        on_error: `skip` or `fail`.
    """

    sampling: Sampling
    vocab_size: int
    max_tokens: int
    on_error: str

    def prepare(self, chunk: Chunk, rows: pa.RecordBatch) -> Prepared[PromptRequest, Samples]:
        """Leave bad prompts out; seeds go by a prompt's place in the input, not in the chunk."""
        good, skipped = triage(
            conformed(rows),
            partial(bad_prompts, vocab_size=self.vocab_size, max_tokens=self.max_tokens),
            first_row=chunk.first_row,
            on_error=self.on_error,
        )
        left_out = {row.row for row in skipped}
        places = [
            i for i in range(chunk.first_row, chunk.first_row + chunk.rows) if i not in left_out
        ]
        n, seed = self.sampling.n, self.sampling.seed
        seeds = [s for i in places for s in request_seeds(seed, first_prompt=i, prompts=1, n=n)]
        request = PromptRequest(prompts=good.column("prompt_ids"), seeds=tuple(seeds))

        def finish(samples: Samples | None) -> pa.RecordBatch:
            return self._rows(good, _no_samples() if samples is None else samples)

        return Prepared(request if len(good) else None, skipped, finish)

    def _rows(self, prompts: pa.RecordBatch, samples: Samples) -> pa.RecordBatch:
        repeated = prompts.take(pa.array(np.repeat(np.arange(len(prompts)), self.sampling.n)))
        rows = with_column(repeated, "response_ids", samples.response_ids)
        rows = with_column(rows, "rollout_logprobs", samples.rollout_logprobs)
        rows = with_column(rows, "finish_reason", samples.finish_reason)
        return with_names(rows)


def _no_samples() -> Samples:
    return Samples(
        response_ids=pa.array([], pa.list_(pa.int32())),
        rollout_logprobs=pa.array([], pa.list_(pa.float32())),
        finish_reason=pa.array([], pa.string()),
    )
