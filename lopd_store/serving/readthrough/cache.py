"""A read-through cache: the stored is answered; what is missing is asked once, kept, answered."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lopd_store.errors import UsageError
from lopd_store.serving import answers
from lopd_store.serving.answers import Asked, Missing, Reply, Scored
from lopd_store.serving.readthrough import upstream_wire
from lopd_store.serving.readthrough.flights import Flights
from lopd_store.serving.readthrough.journal_format import Record
from lopd_store.serving.readthrough.kept import Counts, Kept
from lopd_store.serving.readthrough.upstream import UpstreamClient
from lopd_store.serving.readthrough.upstream_http import UpstreamError
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.serving.readthrough.upstream_wire import Question, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    """The upstream, as it said who it is: the name of its model, and which ids that knows."""

    model: str | None
    vocab_size: int


class ReadThrough:
    """`Answers` and `Upstream` of a server in front of a live teacher. Belongs to one event loop.

    Laws: a sequence that was answered as `stored` is answered so again, with the same values, also
    after a crash; concurrent requests for a sequence are one request to the upstream and one
    record; a sequence of which everything wanted is stored is not asked for.

    Attributes:
        counts: what it has done.
    """

    def __init__(
        self, *, client: UpstreamClient, teacher: Teacher, kept: Kept, counts: Counts
    ) -> None:
        """Use `opening.open_read_through`."""
        self.counts = counts
        self._client = client
        self._teacher = teacher
        self._kept = kept
        self._flights = Flights()
        self._met: _Met | None = None
        self._meeting = asyncio.Lock()

    async def answer(self, sequence: answers.Sequence) -> Scored | Missing:
        """What is stored, or Missing where something that is wanted is not. See `Answers`."""
        (found,) = await self._kept.look_up([_wanted(sequence)])
        return found

    async def relay(self, asked: Asked) -> Reply:
        """Hand a request to generate on as it came. See `Upstream`. Raises UpstreamError."""
        self.counts.relayed += 1
        return await self._client.relay(asked)

    async def scored(self, asked: Asked) -> list[Scored]:
        """From the store what is there, and from the teacher what is not. See `Upstream`.

        Raises:
            UpstreamError: the teacher refused, cannot be reached, or cannot be right.
            UsageError: an id outside the teacher's vocabulary.
            ConsistencyError: the ref has rows of another identity.
            StoreError: the disk refused to keep who the teacher is.
        """
        wanted = [_wanted(sequence) for sequence in asked.sequences]
        found = await self._kept.look_up(wanted)
        pairs = zip(wanted, found, strict=True)
        missing = [one for one, known in pairs if isinstance(known, Missing)]
        brought = iter(await self._flights.bring(missing, partial(self._ask, asked)))
        return [next(brought) if isinstance(known, Missing) else known for known in found]

    async def meet(self, *, tries: int | None = None) -> None:
        """Ask the upstream who it is, and keep that in the store; once.

        Args:
            tries: how often; None takes what its options say.

        Raises:
            UpstreamError: it cannot be reached.
            UsageError: it has several models and none was named.
            ConsistencyError: the ref has rows of another identity.
        """
        await self._meet(tries)

    async def publish(self) -> None:
        """Make what was kept rows of the ref. Raises as `Growth.publish`; nothing is lost."""
        await self._kept.publish()

    async def close(self) -> None:
        """Give up what is on its way, and publish what was kept. Raises as `publish`."""
        await self._flights.close()
        await self._kept.close()

    async def _ask(self, asked: Asked, wanted: Sequence[Wanted]) -> list[Scored]:
        """Ask the teacher, check what it says, bring it to the disk."""
        met = await self._meet()
        _refuse_unknown_ids(wanted, met.vocab_size)
        self.counts.asked += len(wanted)
        try:
            question = _question(asked, wanted, met.model)
            logprobs = await self._client.score(question, wanted)
        except UpstreamError:
            self.counts.failed += len(wanted)
            raise
        records = [
            Record(prompt_length=one.first, ids=one.ids, logprobs=found)
            for one, found in zip(wanted, logprobs, strict=True)
        ]
        stored = await self._kept.keep(records)
        return [
            Scored(prompt_length=record.prompt_length, logprobs=record.logprobs, stored=stored)
            for record in records
        ]

    async def _meet(self, tries: int | None = None) -> _Met:
        async with self._meeting:
            if self._met is None:
                described = await self._client.describe(tries=tries)
                identity = self._teacher.identity(described.versions)
                await self._kept.begin(identity, self._teacher.tokenizer_blob)
                self._met = _Met(model=described.model, vocab_size=identity.vocab_size)
            return self._met


def _wanted(sequence: answers.Sequence) -> Wanted:
    """What a request is about: without a boundary, all that can be scored."""
    return Wanted(ids=sequence.ids, first=max(1, sequence.prompt_length or 0))


def _refuse_unknown_ids(wanted: Sequence[Wanted], vocab_size: int) -> None:
    largest = max(int(one.ids.max()) for one in wanted)
    if largest >= vocab_size:
        raise UsageError(f"expected ids below {vocab_size}, the teacher's, found {largest}")


def _question(asked: Asked, wanted: Sequence[Wanted], model: str | None) -> Question:
    """The question in the protocol that the client spoke."""
    if asked.protocol == "sglang":
        return upstream_wire.ask_sglang(wanted)
    if asked.protocol == "trl":
        return upstream_wire.ask_trl(wanted)
    if json.loads(asked.body).get("echo"):
        return upstream_wire.ask_openai_echo(wanted, model)
    return upstream_wire.ask_openai(wanted, model)
