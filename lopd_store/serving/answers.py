"""What stands between a request and its numbers: sequences asked for, log-probs found, or neither.

A protocol's file turns a request into `Asked` and what `Answers` found into a reply. Where
something is missing and there is an `Upstream`, the teacher behind it is asked for that.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequence:
    """Token ids whose log-probs somebody wants.

    Attributes:
        ids: prompt and response joined, shape (length,), at least one, each in the vocabulary.
        prompt_length: how many of them are the prompt, where the protocol says so (TRL's does);
            at least 0 and below the length.
    """

    ids: Ids
    prompt_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What is known of a sequence: the log-probs of everything after its first `prompt_length` ids.

    Attributes:
        prompt_length: ids before the first log-prob; of what is before, nothing is known.
        logprobs: nats, shape (length - prompt_length,), finite and at most 0.
        known: which of them mean something, same shape (`loss_mask`); None means all.
        stored: whether they survive a crash: read from the store, or written and synced.
    """

    prompt_length: int
    logprobs: Floats
    known: Mask | None = None
    stored: bool

    def positions(self) -> list[float | None]:
        """A log-prob for each id of the sequence, None where none is known."""
        found: list[float | None] = [None] * self.prompt_length
        found += self.logprobs.tolist()
        if self.known is not None:
            for place in np.flatnonzero(~self.known).tolist():
                found[self.prompt_length + place] = None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A sequence nobody has stored.

    Attributes:
        longest_prefix: the largest k such that its first k ids are those of a stored sequence.
    """

    longest_prefix: int


class Answers(Protocol):
    """Log-probs by exact token ids.

    Laws: what is given back was given by the teacher to exactly these ids; asked again, a sequence
    that was `Scored` and `stored` is `Scored` with the same float32 values, also after a crash.
    """

    async def answer(self, sequence: Sequence) -> Scored | Missing:
        """What is known of a sequence. Called by many requests at once on one event loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A request that was understood.

    Attributes:
        protocol: `openai`, `sglang` or `trl`.
        path: where it was posted, such as `/v1/completions`.
        body: the JSON as it came, byte for byte.
        sequences: what it wants log-probs of, in its own order; empty where `generates`.
        places: which one of the request each of them is, where some of it want none; None for all.
        generates: why only a live model can answer it, in words; None for all others.
    """

    protocol: str
    path: str
    body: bytes = field(repr=False)
    sequences: tuple[Sequence, ...]
    places: tuple[int, ...] | None = None
    generates: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer.

    Attributes:
        stored: whether every number in it is in the store, or synced: sent as `x-lopd-stored: 1`.
    """

    status: int
    body: bytes = field(repr=False)
    media_type: str = "application/json"
    stored: bool = False


class Upstream(Protocol):
    """A live teacher behind the store, asked in the protocol that the request came in."""

    async def scored(self, asked: Asked) -> list[Scored]:
        """Log-probs of each of `asked.sequences`, in order: stored ones, else the teacher's.

        Called when something is `Missing`; what is stored is not asked for again. The client gets
        its reply from these numbers alone, so that it is the same reply when all is stored. Each
        `Scored` has everything after the sequence's `prompt_length`, or after its first id.

        Raises:
            EngineError: the teacher refused, cannot be reached, or its answer cannot be right;
                `upstream_http.UpstreamError` is one that carries an `http_status`, 502 or 504.
            UsageError: an id that the teacher does not have.
            ConsistencyError, StoreError: what the teacher says cannot be kept where it should be.
        """
        ...

    async def relay(self, asked: Asked) -> Reply:
        """The teacher's own reply to a request that generates, as it came; nothing of it is kept.

        Raises EngineError.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where a server's numbers come from.

    Attributes:
        answers: asked first.
        upstream: asked for what is missing, if there is one.
    """

    answers: Answers
    upstream: Upstream | None = None
