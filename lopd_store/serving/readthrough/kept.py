"""What a read-through cache has: rows of the store, and records that are not rows yet.

A record counts as stored when its bytes are on the disk, in the journal; later it becomes a row of
the ref that grows. Between the two, memory answers.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lopd_store.documents.identity import Identity
from lopd_store.errors import LopdError, StoreError
from lopd_store.serving import answers
from lopd_store.serving.answers import Answers, Missing, Scored
from lopd_store.serving.readthrough.flights import key_of
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.journal_commit import GroupCommit
from lopd_store.serving.readthrough.journal_format import Record
from lopd_store.serving.readthrough.upstream_wire import Wanted


@dataclass(slots=True)
class Counts:
    """What a read-through cache has done since it was opened.

    Attributes:
        asked: sequences that the upstream was asked for.
        failed: of these, how many it did not answer, or not rightly.
        kept: how many answers were brought to the disk.
        not_kept: how many the disk refused.
        relayed: requests to generate that were handed on.
        published: how often records became rows.
    """

    asked: int = 0
    failed: int = 0
    kept: int = 0
    not_kept: int = 0
    relayed: int = 0
    published: int = 0


class Kept:
    """Rows and records together. Belongs to one event loop.

    Laws: what `keep` said is stored, `look_up` finds from then on, with the same values, whatever
    is published meanwhile; after a crash it is found too.
    """

    def __init__(
        self,
        growth: Growth,
        *,
        open_rows: Callable[[], tuple[Answers, ...]],
        publish_tokens: int,
        counts: Counts,
        say: Callable[[str], None],
    ) -> None:
        """Use `opening.open_read_through`; `open_rows` reads what the store has now."""
        self._growth = growth
        self._open_rows = open_rows
        self._rows = open_rows()
        self._publish_tokens = publish_tokens
        self._counts = counts
        self._say = say
        self._records: dict[bytes, Record] = {}
        self._tokens = 0
        self._commit: GroupCommit | None = None
        self._publishing = asyncio.Lock()
        self._in_background: asyncio.Task[None] | None = None

    async def begin(self, identity: Identity, tokenizer_blob: bytes) -> None:
        """Say who gives the records that follow. Raises as `Growth.prepare`."""
        await asyncio.to_thread(self._growth.prepare, identity, tokenizer_blob)
        write = partial(self._growth.journal.append, identity=identity.digest)
        self._commit = GroupCommit(write)

    async def look_up(self, wanted: Sequence[Wanted]) -> list[Scored | Missing]:
        """What is stored of each sequence: all that is wanted, or Missing.

        Between the look and the return nothing else runs on the event loop.
        """
        while True:
            rows = self._rows
            found = [await _in_rows(rows, one) for one in wanted]
            if rows is self._rows:  # else a record may have become a row behind our back
                pairs = zip(wanted, found, strict=True)
                return [known or self._in_records(one) for one, known in pairs]

    async def keep(self, records: Sequence[Record]) -> bool:
        """Bring records to the disk, after `begin`; False where it refuses.

        A run goes on when the disk is full, and pays for these sequences again later.
        """
        assert self._commit is not None  # noqa: S101 - for mypy: the caller has begun
        try:
            await self._commit.keep(records)
        except StoreError as error:
            self._counts.not_kept += len(records)
            self._say(f"answered without being stored: {error}")
            return False
        self._counts.kept += len(records)
        for record in records:
            self._remember(record)
        if self._tokens >= self._publish_tokens and self._in_background is None:
            self._in_background = asyncio.create_task(self._publish_in_background())
        return True

    async def publish(self) -> None:
        """Make the records rows, and forget what memory held of them.

        Raises what `Growth.publish` raises; then everything is as it was.
        """
        async with self._publishing:
            before = dict(self._records)
            if await asyncio.to_thread(self._growth.publish) is None:
                return
            self._counts.published += 1
            rows = await asyncio.to_thread(self._open_rows)
            self._rows = rows
            for key, record in before.items():
                if self._records[key] is record:
                    del self._records[key]
            self._tokens = sum(record.tokens for record in self._records.values())

    async def close(self) -> None:
        """Publish what is kept, and let gc have what is not needed. Raises as `publish`."""
        if self._commit is not None:
            await self._commit.idle()
        if self._in_background is not None:
            await self._in_background
        await self.publish()
        await asyncio.to_thread(self._growth.release)

    def _in_records(self, wanted: Wanted) -> Scored | Missing:
        record = self._records.get(key_of(wanted.ids))
        if record is None or record.prompt_length > wanted.first:
            return Missing(longest_prefix=0)
        return Scored(prompt_length=record.prompt_length, logprobs=record.logprobs, stored=True)

    def _remember(self, record: Record) -> None:
        key = key_of(record.ids)
        known = self._records.get(key)
        if known is None or record.prompt_length < known.prompt_length:
            self._records[key] = record
            self._tokens += record.tokens

    async def _publish_in_background(self) -> None:
        try:
            await self.publish()
        except LopdError as error:
            self._say(f"not published yet, the journal keeps it: {error}")
            self._tokens = 0  # tried again after as many tokens more
        finally:
            self._in_background = None


async def _in_rows(rows: Sequence[Answers], wanted: Wanted) -> Scored | None:
    """All that is wanted, from the first that has it."""
    if wanted.first == len(wanted.ids):  # a single id has no log-prob
        return Scored(prompt_length=wanted.first, logprobs=np.empty(0, np.float32), stored=True)
    sequence = answers.Sequence(ids=wanted.ids, prompt_length=wanted.first)
    for part in rows:
        found = await part.answer(sequence)
        if isinstance(found, Scored) and _covers(found, wanted.first):
            return found
    return None


def _covers(found: Scored, first: int) -> bool:
    """Whether everything from position `first` on is known."""
    if found.prompt_length > first:
        return False
    return found.known is None or bool(found.known[first - found.prompt_length :].all())
