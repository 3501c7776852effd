"""Sequences on their way from the teacher: each is asked for once, however many wait for it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from lopd_store.errors import EngineError
from lopd_store.serving.answers import Ids, Scored
from lopd_store.serving.readthrough.upstream_wire import Wanted

Ask = Callable[[Sequence[Wanted]], Awaitable[Sequence[Scored]]]
"""Brings log-probs of sequences, in order, none of them twice. Raises EngineError."""


def key_of(ids: Ids) -> bytes:
    """The name of exact ids in memory."""
    return hashlib.sha256(ids.astype("<i4", copy=False).tobytes()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """Sequences that were asked for together; `places` says where each one's answer stands."""

    task: asyncio.Task[Sequence[Scored]]
    places: dict[bytes, int]

    async def answer(self, key: bytes) -> Scored:
        return (await asyncio.shield(self.task))[self.places[key]]


class Flights:
    """What is being asked for. Belongs to one event loop.

    Laws: a sequence that is on its way from a position at or before the wanted one is not asked
    for again; a caller that goes away stops no request, as others may wait for it and its answer
    is kept.
    """

    def __init__(self) -> None:
        self._flying: dict[bytes, tuple[int, _Flight]] = {}
        self._tasks: set[asyncio.Task[Sequence[Scored]]] = set()

    async def bring(self, wanted: Sequence[Wanted], ask: Ask) -> list[Scored]:
        """Log-probs of each sequence from its `first` position on, or from before that.

        What another caller asked for together with other sequences is asked for once more by
        itself if that fails: the fault may have been theirs.

        Raises EngineError.
        """
        joined = {key_of(one.ids) for one in wanted if self._covered(one)}
        self._depart([one for one in wanted if not self._covered(one)], ask)
        flights = [self._flying[key_of(one.ids)][1] for one in wanted]
        found = []
        for one, flight in zip(wanted, flights, strict=True):
            key = key_of(one.ids)
            try:
                found.append(await flight.answer(key))
            except EngineError:
                if key not in joined or len(flight.places) == 1:
                    raise
                found += await self.bring([one], ask)
        return found

    async def close(self) -> None:
        """Give up what is on its way, and wait until it has stopped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _covered(self, one: Wanted) -> bool:
        flying = self._flying.get(key_of(one.ids))
        return flying is not None and flying[0] <= one.first

    def _depart(self, wanted: Sequence[Wanted], ask: Ask) -> None:
        own: dict[bytes, Wanted] = {}
        for one in wanted:
            key = key_of(one.ids)
            if key not in own or one.first < own[key].first:
                own[key] = one
        if not own:
            return
        task = asyncio.create_task(self._fly(own, ask))
        flight = _Flight(task, {key: place for place, key in enumerate(own)})
        self._flying |= {key: (one.first, flight) for key, one in own.items()}
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    async def _fly(self, own: dict[bytes, Wanted], ask: Ask) -> Sequence[Scored]:
        task = asyncio.current_task()
        try:
            return await ask(list(own.values()))
        finally:
            for key in own:
                if (flying := self._flying.get(key)) and flying[1].task is task:
                    del self._flying[key]

    def _landed(self, task: asyncio.Task[Sequence[Scored]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited may have gone away
