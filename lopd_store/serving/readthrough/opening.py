"""Opening a read-through cache: what the store has, what a crash left, and who the teacher is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from lopd_store.errors import ConsistencyError, Problem
from lopd_store.identity.compare import same_teacher, same_tokenizer
from lopd_store.serving.answers import Answers
from lopd_store.serving.readthrough.cache import ReadThrough
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.kept import Counts, Kept
from lopd_store.serving.readthrough.upstream import UpstreamClient
from lopd_store.serving.readthrough.upstream_http import UpstreamError, UpstreamOptions
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.serving.served import Served, ServedArtifact
from lopd_store.serving.stored import OpenedSignals
from lopd_store.shard_sets import open_shard_set
from lopd_store.store import Store

PUBLISH_TOKENS: Final = 16_000_000  # a shard; held in memory until then at 8 bytes each


@asynccontextmanager
async def open_read_through(
    store: Store,
    ref: str,
    *,
    upstream: UpstreamOptions,
    teacher: Teacher,
    beside: Sequence[str] = (),
    publish_tokens: int = PUBLISH_TOKENS,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[ReadThrough]:
    """A read-through cache, until the block ends; then all that it kept is what `ref` names.

    What a crash left in the journal is published first.

    Args:
        store: where the ref is at home.
        ref: what grows; it need not exist yet.
        upstream: where the live teacher is. It may be away: what is stored is answered all the
            same.
        teacher: who it is said to be.
        beside: further signals, which are asked first; see `open_shard_set`.
        publish_tokens: kept ids, prompts included, after which they become rows.
        say: told in one line what goes wrong without stopping anything.

    Raises:
        StoreError: another server grows this ref, or the disk is full or read-only.
        IntegrityError: bytes of the journal have changed.
        ConsistencyError: the ref has rows of another identity, or a signal another teacher.
        UsageError: the upstream has several models and none was named.
    """
    growth = Growth(store, ref)
    counts = Counts()
    fixed = [name for name in beside if name != ref]
    with growth.journal.lock():
        await asyncio.to_thread(growth.publish)
        for name in _there(store, ref, fixed):
            _check_teacher(name, store, teacher)
        _check_can_grow(ref, store)
        rows = await asyncio.to_thread(_Rows, store, ref, fixed)
        kept = Kept(
            growth, open_rows=rows.now, publish_tokens=publish_tokens, counts=counts, say=say
        )
        async with UpstreamClient(upstream) as client:
            cache = ReadThrough(client=client, teacher=teacher, kept=kept, counts=counts)
            try:
                await cache.meet(tries=1)
            except UpstreamError as error:
                say(f"{error}; what is stored is answered meanwhile")
            try:
                yield cache
            finally:
                await cache.close()


def served_with(
    store: Store, ref: str, *, teacher: Teacher, beside: Sequence[str], names: Sequence[str]
) -> Served:
    """What such a server says of itself: its teacher is asserted, whatever the signals beside say.

    The arguments are those of `open_read_through`, and what requests call the model. Raises what
    `open_shard_set` raises.
    """
    signals = [open_shard_set(name, root=store.root) for name in _there(store, ref, beside)]
    return Served(
        names=tuple(dict.fromkeys(names)),
        artifacts=tuple(ServedArtifact(name=s.name, id=s.id, rows=s.rows) for s in signals),
        teacher=None,
        asserted=teacher.fingerprint.model,
        vocab_size=teacher.fingerprint.model.vocab_size,
    )


def _there(store: Store, ref: str, beside: Sequence[str]) -> list[str]:
    """The names of all signals there are, the one that grows at the end."""
    fixed = [name for name in beside if name != ref]
    return [*fixed, ref] if store.refs.get(ref) else fixed


class _Rows:
    """What the store has: signals that stay as they are, and one that grows."""

    def __init__(self, store: Store, ref: str, fixed: Sequence[str]) -> None:
        self._store = store
        self._ref = ref
        self._fixed = tuple(self._open(name) for name in fixed)

    def now(self) -> tuple[Answers, ...]:
        """Everything as it is now."""
        grown = (self._open(self._ref),) if self._store.refs.get(self._ref) else ()
        return (*self._fixed, *grown)

    def _open(self, name: str) -> Answers:
        return OpenedSignals.open([name], root=self._store.root).answers


def _check_can_grow(ref: str, store: Store) -> None:
    """Refuse a ref whose teacher is known: what a live server says cannot stand beside it."""
    if store.refs.get(ref) is None:
        return
    for identity in open_shard_set(ref, root=store.root).identities:
        if identity.teacher is not None:
            raise ConsistencyError(
                f"{ref}: expected rows of a live server, whose teacher is asserted, found rows of a"
                f" known teacher: name another ref with -o; {ref} can be served beside it"
            )


def _check_teacher(name: str, store: Store, teacher: Teacher) -> None:
    """Refuse a signal that another teacher gave, or is said to have given."""
    said = teacher.fingerprint
    problems = []
    for identity in open_shard_set(name, root=store.root).identities:
        model = identity.teacher or identity.claimed("teacher")
        if model is None:
            problems.append(Problem("unknown-teacher", name, "a teacher that is named", "none"))
        else:
            # What a publisher asserts to be the same would make any model the teacher.
            problems += same_teacher(replace(model, asserted_same_as=None), said.model)
        if identity.tokenizer is not None:
            problems += same_tokenizer(identity.tokenizer, said.require_tokenizer().identity)
    if problems:
        raise ConsistencyError.of(problems, subject=f"{name} was not scored by this teacher")
