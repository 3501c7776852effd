"""Many at once: one question and one record for each sequence, and nothing is lost on the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.serving.answers import Answers, Missing, Scored
from lopd_store.serving.answers import Sequence as Ids
from lopd_store.serving.readthrough.cache import ReadThrough
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.journal_format import Record
from lopd_store.serving.readthrough.kept import Counts, Kept
from lopd_store.serving.readthrough.upstream_http import UpstreamError
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.serving.readthrough.upstream_wire import Wanted
from lopd_store.serving.stored import OpenedSignals, StoredAnswers
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import arithmetic, rows_in
from tests.serving.live_teacher import LiveTeacher, running
from tests.serving.reading_through import (
    ONE,
    TWO,
    asked,
    expect_right,
    run,
    sequences,
    until,
)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


@pytest.fixture
def live() -> Iterator[LiveTeacher]:
    with running(LiveTeacher()) as teacher:
        yield teacher


def test_many_callers_of_one_sequence_are_one_question(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        live.gate.clear()
        request = asked(ONE, TWO)
        callers = [asyncio.create_task(cache.scored(request)) for _ in range(40)]
        await until(lambda: live.requests)
        callers[0].cancel()
        live.gate.set()
        for found in await asyncio.gather(*callers[1:]):
            expect_right(request, found)

    _, counts = run(empty, live, teacher, work)
    assert live.scored == [tuple(ONE), tuple(TWO)]
    assert (counts.asked, counts.kept) == (2, 2)


def test_what_everybody_went_away_from_is_kept_all_the_same(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        live.gate.clear()
        caller = asyncio.create_task(cache.scored(asked(ONE)))
        await until(lambda: live.requests)
        caller.cancel()
        live.gate.set()
        await until(lambda: cache.counts.kept)

    run(empty, live, teacher, work)
    assert rows_in(empty, "live").column("response_ids").to_pylist() == [ONE[1:]]


@pytest.mark.parametrize("publish_tokens", [10**9, 100])
def test_whoever_asks_for_whatever_at_once_each_sequence_is_asked_for_once(
    empty: Store, live: LiveTeacher, teacher: Fingerprint, publish_tokens: int
) -> None:
    everything = sequences(80, seed=1)

    async def client(cache: ReadThrough, seed: int) -> None:
        chance = np.random.default_rng(seed)
        for _ in range(6):
            places = chance.integers(0, len(everything), 5).tolist()
            request = asked(*(everything[place] for place in places))
            expect_right(request, await cache.scored(request))

    async def work(cache: ReadThrough) -> None:
        await asyncio.gather(*(client(cache, seed) for seed in range(40)))

    _, counts = run(empty, live, teacher, work, publish_tokens=publish_tokens)
    assert len(live.scored) == len(set(live.scored)) == counts.asked == counts.kept
    rows = rows_in(empty, "live").to_pylist()
    assert sorted(tuple(r["prompt_ids"] + r["response_ids"]) for r in rows) == sorted(live.scored)
    assert (counts.published > 1) == (publish_tokens == 100)
    assert load(empty, "live").document.duplicates == 0


def test_a_sequence_on_its_way_with_a_longer_prompt_is_asked_for_from_before_it_too(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        live.gate.clear()
        requests = [asked(ONE, prompt=prompt) for prompt in (3, 1, 2, 4)]
        callers = []
        for request in requests:
            callers.append(asyncio.create_task(cache.scored(request)))
            await asyncio.sleep(0)
        await until(lambda: len(live.requests) == 2)
        live.gate.set()
        for request, caller in zip(requests, callers, strict=True):
            expect_right(request, await caller)

    _, counts = run(empty, live, teacher, work)
    assert counts.asked == 2


def test_what_has_become_rows_is_answered_from_them(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    pool = sequences(6, seed=2)

    async def work(cache: ReadThrough) -> None:
        for place, _ in enumerate(pool):
            request = asked(*pool[: place + 1])
            expect_right(request, await cache.scored(request))
            await cache.publish()
            expect_right(request, await cache.scored(request))

    _, counts = run(empty, live, teacher, work)
    assert (counts.asked, counts.published) == (6, 6)


class Slow:
    """Rows that are looked into slowly: the first look ends when it is let go."""

    def __init__(self, rows: Answers, go: asyncio.Event) -> None:
        self.rows = rows
        self.go = go

    async def answer(self, sequence: Ids) -> Scored | Missing:
        found = await self.rows.answer(sequence)
        await self.go.wait()
        return found


def test_a_record_that_becomes_a_row_while_somebody_looks_is_found(
    empty: Store, teacher: Fingerprint
) -> None:
    growth = Growth(empty, "live")
    go = asyncio.Event()

    def open_rows() -> tuple[Answers, ...]:
        if empty.refs.get("live") is None:
            return (Slow(StoredAnswers(()), go),)
        return (OpenedSignals.open(["live"], root=empty.root).answers,)

    async def work() -> None:
        kept = Kept(growth, open_rows=open_rows, publish_tokens=10**9, counts=Counts(), say=print)
        live = Teacher(fingerprint=teacher)
        await kept.begin(live.identity({}), live.tokenizer_blob)
        wanted = [Wanted(ids=np.array(ONE, np.int32), first=1)]
        looking = asyncio.create_task(kept.look_up(wanted))
        await asyncio.sleep(0)
        logprobs = arithmetic(ONE, 1)
        assert await kept.keep([Record(prompt_length=1, ids=wanted[0].ids, logprobs=logprobs)])
        await kept.publish()
        go.set()
        (found,) = await looking
        assert isinstance(found, Scored)
        assert found.logprobs.tolist() == logprobs.tolist()

    with growth.journal.lock():
        asyncio.run(work())


def test_who_asked_together_with_a_bad_sequence_is_asked_for_again_alone(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    live.longest = 10

    async def work(cache: ReadThrough) -> None:
        live.gate.clear()
        spoilt = asyncio.create_task(cache.scored(asked(ONE, list(range(5, 30)))))
        await until(lambda: live.requests)
        innocent = asyncio.create_task(cache.scored(asked(ONE)))
        await asyncio.sleep(0)
        live.gate.set()
        expect_right(asked(ONE), await innocent)
        with pytest.raises(UpstreamError, match=r"found status 400 .*maximum context length"):
            await spoilt

    _, counts = run(empty, live, teacher, work)
    assert (counts.asked, counts.failed, counts.kept) == (3, 2, 1)


def test_a_failure_is_shared_by_its_callers_and_forgotten_after_it(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        live.refusals = [500]
        callers = [cache.scored(asked(ONE)) for _ in range(5)]
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(one) for one in found] == [UpstreamError] * 5
        expect_right(asked(ONE), await cache.scored(asked(ONE)))

    run(empty, live, teacher, work)
    assert len(live.requests) == 2
