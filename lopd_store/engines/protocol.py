"""What an engine is: token ids in, log-probs out; its laws, which `tests/engines` runs.

Engines take whole Arrow columns and give back NumPy or Arrow: no Python object per token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.digest import tagged
from lopd_store.documents.scoring import Sampling
from lopd_store.errors import EngineError, FormatError, Problem
from lopd_store.rows import flat
from lopd_store.rows.flat import ListArray

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]

LOGPROBS_MODE: Final = "raw_logprobs"
"""log-softmax of the model's own logits at temperature 1, before any sampling filter."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Prompts and responses to score, as two columns of the same length.

    Slicing and taking keep whole rows; `ids` and the counts are views on Arrow memory.

    Attributes:
        prompt: list<int32>, no nulls; the context before the first response token.
        response: list<int32>, no nulls; the tokens to score.
    """

    prompt: ListArray
    response: ListArray

    def __post_init__(self) -> None:
        _check_column(self.prompt, "prompt")
        _check_column(self.response, "response")
        if len(self.prompt) != len(self.response):
            raise FormatError(
                f"expected as many responses as prompts ({len(self.prompt)}), "
                f"found {len(self.response)}"
            )

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def prompt_lengths(self) -> Counts:
        """Tokens of each prompt, int64."""
        return flat.lengths(self.prompt)

    @property
    def response_lengths(self) -> Counts:
        """Tokens of each response, int64."""
        return flat.lengths(self.response)

    @property
    def lengths(self) -> Counts:
        """Tokens of each whole sequence, int64."""
        return self.prompt_lengths + self.response_lengths

    @property
    def response_tokens(self) -> int:
        """Response tokens of all sequences together: the answers' total length."""
        return int(self.response_lengths.sum())

    def ids(self, index: int) -> Ids:
        """Prompt and response ids of one sequence, joined."""
        return np.concatenate([row(self.prompt, index), row(self.response, index)])

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "Sequences":
        """The sequences at `indices`, in that order."""
        wanted = pa.array(indices, pa.int64())
        return Sequences(self.prompt.take(wanted), self.response.take(wanted))

    def slice(self, start: int, length: int | None = None) -> "Sequences":
        """`length` sequences from `start`, without a copy."""
        return Sequences(self.prompt.slice(start, length), self.response.slice(start, length))


def row(column: ListArray, index: int) -> Ids:
    """One row of a list<int32> column without nulls, as a view."""
    if not 0 <= index < len(column):
        raise IndexError(index)
    first, last = column.offsets[index].as_py(), column.offsets[index + 1].as_py()
    return np.asarray(column.values.slice(first, last - first).to_numpy(), np.int32)


def _check_column(column: ListArray, name: str) -> None:
    if column.type != pa.list_(pa.int32()):
        raise FormatError(f"{name}: expected list<int32>, found {column.type}")
    if column.null_count or column.flatten().null_count:
        raise FormatError(f"{name}: expected no nulls, found some")


class Engine(Protocol):
    """What a scorer and a sampler have in common: one loaded model."""

    @property
    def scoring(self) -> Mapping[str, Any]:
        """Facts for the identity document: whatever changes numbers, and nothing about the host.

        Keys: engine, versions, dtype, quantization, device, logprobs_mode, tensor_parallel_size
        (int) and settings (strings). The caller adds chunk_tokens.
        """
        ...

    @property
    def vocab_size(self) -> int:
        """Ids at or above this are refused."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest prompt and response together."""
        ...

    def close(self) -> None:
        """Free the model. Closing twice is allowed; using a closed engine raises EngineError."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Scorer(Engine, Protocol):
    """Log-probs of given tokens.

    Laws:
        1. One answer per sequence, in order: float32 of the response's length.
        2. answer[t] = ln p(response[t] given prompt and response[:t]), in nats, temperature 1.
        3. Every value is finite and ≤ 0, and zero is +0.0.
        4. The same call in the same process gives the same bits.
        5. A sequence's answer does not depend on its company, up to the noise bound
           (1e-4 nats in float32 on small models; measured per artifact).
        6. An empty prompt, an id outside the vocabulary or a sequence longer than `max_tokens`
           raises EngineError naming every such sequence, before anything is run.
    """

    def score(self, sequences: Sequences) -> list[Floats]:
        """Validated answers for `sequences`. Raises EngineError."""
        ...


@dataclass(frozen=True, slots=True)
class Samples:
    """What a policy sampled: row `p * n + s` is sample `s` of prompt `p`.

    Attributes:
        response_ids: list<int32>; ends in the sampled end-of-sequence id where there was one.
        rollout_logprobs: list<float32>, same lengths; the sampler's own log-probs in nats at
            temperature 1, whatever temperature it sampled with.
        finish_reason: string; `stop`, `length` or `abort`.
    """

    response_ids: ListArray
    rollout_logprobs: ListArray
    finish_reason: pa.StringArray

    def __len__(self) -> int:
        return len(self.response_ids)


class Sampler(Engine, Protocol):
    """Responses sampled from a policy.

    Laws:
        1. `sampling.n` samples per prompt, prompt-major; lengths of ids and log-probs agree.
        2. A sample has between 1 and `sampling.max_tokens` tokens, fewer where prompt and
           response would pass the engine's `max_tokens`; then its finish reason is `length`.
        3. A sampled end-of-sequence id is kept, and the finish reason is `stop`.
        4. The same prompt, sampling and seed give the same sample in any company, unless two
           tokens lie within the noise bound of each other at the point that was drawn.
        5. Prompts are refused as a scorer refuses sequences, before anything is run.
    """

    def sample(self, prompts: ListArray, *, sampling: Sampling, seeds: Sequence[int]) -> Samples:
        """Sample `sampling.n` responses per prompt; `seeds` has one seed per sample, in row order.

        Raises:
            EngineError: prompts that cannot be run, or the engine failed.
            UsageError: sampling or seeds that make no sense.
        """
        ...


def request_seeds(seed: int, *, first_prompt: int, prompts: int, n: int) -> list[int]:
    """One seed in [0, 2^63) per sample, from the job's seed and the sample's place in the job.

    `first_prompt` is the place of the first of these prompts in the whole job, so a sample's
    seed does not depend on how the job was cut.
    """
    return [
        int.from_bytes(bytes.fromhex(tagged("lopd.seed.v1", *map(_number, place)).hex)[:8]) >> 1
        for prompt in range(first_prompt, first_prompt + prompts)
        for place in ((seed, prompt, sample) for sample in range(n))
    ]


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def refuse_unscorable(sequences: Sequences, *, vocab_size: int, max_tokens: int) -> None:
    """Law 6 of a scorer. Raises EngineError naming every sequence that breaks it."""
    problems = [
        *_length_problems(sequences, max_tokens),
        *_vocabulary_problems(sequences.prompt, "prompt", vocab_size),
        *_vocabulary_problems(sequences.response, "response", vocab_size),
    ]
    if problems:
        raise EngineError.of(problems, subject="sequences that cannot be run")


def _length_problems(sequences: Sequences, max_tokens: int) -> list[Problem]:
    empty = np.flatnonzero(sequences.prompt_lengths == 0)
    totals = sequences.lengths
    return [
        Problem("empty-prompt", f"sequence {index}", "at least one prompt token", "none")
        for index in empty
    ] + [
        Problem("too-long", f"sequence {index}", f"at most {max_tokens} tokens", f"{totals[index]}")
        for index in np.flatnonzero(totals > max_tokens)
    ]


def _vocabulary_problems(column: ListArray, name: str, vocab_size: int) -> list[Problem]:
    values = np.asarray(column.flatten().to_numpy(), np.int32)
    offsets = column.offsets.to_numpy() - column.offsets[0].as_py()
    bad = np.flatnonzero((values < 0) | (values >= vocab_size))
    rows, firsts = np.unique(np.searchsorted(offsets, bad, side="right") - 1, return_index=True)
    return [
        Problem(
            "out-of-vocabulary",
            f"sequence {index} {name} position {bad[first] - offsets[index]}",
            f"an id in [0, {vocab_size})",
            str(values[bad[first]]),
        )
        for index, first in zip(rows, firsts, strict=True)
    ]
