"""Many requests, one sync: records that come while the disk is busy go to it together."""

import asyncio
from collections.abc import Callable, Sequence

from lopd_store.serving.readthrough.journal_format import Record


class GroupCommit:
    """Writes groups of records, one group at a time. Belongs to one event loop.

    Laws: when `keep` returns, its records were in a group whose write returned; when it raises,
    none of its group counts. Cancelling a caller stops no write.
    """

    def __init__(self, write: Callable[[Sequence[Record]], None]) -> None:
        """Give the write that brings a group to the disk; it runs in a thread."""
        self._write = write
        self._turn = asyncio.Lock()
        self._group: list[Record] = []
        self._next: asyncio.Task[None] | None = None

    async def keep(self, records: Sequence[Record]) -> None:
        """Bring records to the disk. Raises what the write raises."""
        self._group += records
        if self._next is None:
            self._next = asyncio.create_task(self._commit())
        await asyncio.shield(self._next)

    async def idle(self) -> None:
        """Wait until all that was brought is written, or was refused."""
        if self._next is not None:
            await asyncio.wait([self._next])
        async with self._turn:
            pass

    async def _commit(self) -> None:
        async with self._turn:  # while it waits for its turn, the group fills
            group, self._group, self._next = self._group, [], None
            await asyncio.to_thread(self._write, group)
