"""A read-through cache: asked once, kept, answered from then on; whoever asks, however many."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import ConsistencyError, StoreError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.serving.answers import Asked, Missing, Scored
from lopd_store.serving.answers import Sequence as Ids
from lopd_store.serving.growth import Growth
from lopd_store.serving.journal import Journal
from lopd_store.serving.readthrough import ReadThrough
from lopd_store.serving.readthrough_kept import Counts, Kept
from lopd_store.serving.readthrough_open import open_read_through
from lopd_store.serving.upstream import UpstreamClient
from lopd_store.serving.upstream_http import UpstreamError, UpstreamOptions
from lopd_store.serving.upstream_identity import Teacher
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import arithmetic, rows_in
from tests.serving.live_teacher import LiveTeacher, running

T = TypeVar("T")
Work = Callable[[ReadThrough], Awaitable[T]]
ONE, TWO, THREE = [5, 6, 7, 8, 9], [5, 6, 8, 8], [11, 12, 13]


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


@pytest.fixture
def live() -> Iterator[LiveTeacher]:
    with running(LiveTeacher()) as teacher:
        yield teacher


def options(live: LiveTeacher) -> UpstreamOptions:
    return UpstreamOptions(url=live.url, first_wait=0.0, tries=2)


def run(
    store: Store, live: LiveTeacher, teacher: Fingerprint, work: Work[T], **more: Any
) -> tuple[T, Counts]:
    """Work with a cache that grows `live`, opened and closed around it."""

    async def opened() -> tuple[T, Counts]:
        facts: dict[str, Any] = {"upstream": options(live), "teacher": Teacher(fingerprint=teacher)}
        facts |= more
        async with open_read_through(store, facts.pop("ref", "live"), **facts) as cache:
            return await work(cache), cache.counts

    return asyncio.run(opened())


def asked(
    *sequences: list[int], prompt: int | None = None, protocol: str = "openai", echo: bool = False
) -> Asked:
    return Asked(
        protocol=protocol,
        path="/v1/completions",
        body=json.dumps({"echo": echo}).encode(),
        sequences=tuple(Ids(ids=np.array(s, np.int32), prompt_length=prompt) for s in sequences),
    )


def expect_right(request: Asked, found: Sequence[Scored], *, stored: bool = True) -> None:
    """Everything after each sequence's prompt is there, is the teacher's, and is stored."""
    for sequence, scored in zip(request.sequences, found, strict=True):
        assert scored.prompt_length <= max(1, sequence.prompt_length or 0)
        expected = arithmetic(sequence.ids.tolist(), scored.prompt_length)
        assert scored.logprobs.tolist() == expected.tolist()
        assert scored.stored == stored


def ask(*requests: Asked) -> Work[list[list[Scored]]]:
    """One request after the other."""

    async def work(cache: ReadThrough) -> list[list[Scored]]:
        return [await cache.scored(request) for request in requests]

    return work


async def until(happened: Callable[[], object]) -> None:
    while not happened():  # noqa: ASYNC110 - what threads do sets no event of this loop
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("protocol", ["openai", "sglang", "trl"])
def test_the_first_run_pays_and_the_second_needs_no_teacher(
    empty: Store, teacher: Fingerprint, protocol: str
) -> None:
    request = asked(ONE, TWO, THREE, prompt=2, protocol=protocol)
    with running(LiveTeacher()) as live:
        (first,), counts = run(empty, live, teacher, ask(request))
    assert (counts.asked, counts.kept, counts.published) == (3, 3, 1)
    said: list[str] = []
    (second,), counts = run(empty, live, teacher, ask(request), say=said.append)
    assert counts.asked == 0
    assert "what is stored is answered meanwhile" in said[0]
    expect_right(request, first)
    expect_right(request, second)
    assert empty.fsck() == []
    assert verify_artifact(empty, "live", Depth()).problems == []


def test_the_clients_protocol_is_the_one_the_teacher_is_asked_in(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    requests = [
        asked(ONE),
        asked(TWO, echo=True),
        asked(THREE, protocol="sglang"),
        asked([8, 8, 8], protocol="trl", prompt=1),
    ]
    found, _ = run(empty, live, teacher, ask(*requests))
    for request, scored in zip(requests, found, strict=True):
        expect_right(request, scored)
    assert live.paths == [
        "/v1/completions",
        "/v1/completions",
        "/generate",
        "/get_sequence_logprobs/",
    ]
    assert [body.get("echo") for _, body in live.requests[:2]] == [None, True]
    assert {body["model"] for _, body in live.requests[:2]} == {"teacher-model"}


def test_only_what_is_missing_of_a_request_is_asked_for(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    request = asked(THREE, ONE, THREE, TWO, TWO)
    found, counts = run(empty, live, teacher, ask(asked(ONE), request))
    expect_right(request, found[1])
    assert live.scored == [tuple(ONE), tuple(THREE), tuple(TWO)]
    assert counts.asked == 3


def test_a_longer_prompt_is_answered_from_the_store_and_a_shorter_one_asks_again(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    requests = [asked(ONE, prompt=prompt) for prompt in (3, 4, 3, 1, None, 2, 0)]
    found, counts = run(empty, live, teacher, ask(*requests))
    for request, scored in zip(requests, found, strict=True):
        expect_right(request, scored)
    assert counts.asked == 2
    assert rows_in(empty, "live").column("prompt_ids").to_pylist() == [[5, 6, 7], [5]]
    again, counts = run(empty, live, teacher, ask(*requests))
    assert counts.asked == 0
    for request, scored in zip(requests, again, strict=True):
        expect_right(request, scored)


def test_a_single_id_has_no_log_prob_and_nobody_is_asked(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    ((found,),), counts = run(empty, live, teacher, ask(asked([7])))
    assert found.logprobs.tolist() == []
    assert counts.asked == 0


def test_what_is_missing_is_missing_until_it_was_brought(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        (sequence,) = asked(ONE, prompt=3).sequences
        assert isinstance(await cache.answer(sequence), Missing)
        await cache.scored(asked(ONE, prompt=3))
        expect_right(asked(ONE, prompt=3), [await cache.answer(sequence)])  # type: ignore[list-item]
        (whole,) = asked(ONE).sequences
        assert isinstance(await cache.answer(whole), Missing)

    run(empty, live, teacher, work)


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


def sequences(count: int, seed: int) -> list[list[int]]:
    chance = np.random.default_rng(seed)
    return [chance.integers(5, 267, chance.integers(2, 30)).tolist() for _ in range(count)]


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


def test_an_answer_that_cannot_be_right_is_stored_nowhere(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    def spoil(answer: Any) -> Any:
        answer["choices"][0]["prompt_logprobs"][2] = {"7": {"logprob": -9999.0}}
        return answer

    live.spoil = spoil
    with pytest.raises(UpstreamError, match="minus-infinity"):
        run(empty, live, teacher, ask(asked(ONE)))
    assert empty.refs.get("live") is None


def test_ids_that_the_teacher_lacks_are_refused_before_it_is_asked(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    with pytest.raises(UsageError, match="expected ids below 320, the teacher's, found 320"):
        run(empty, live, teacher, ask(asked([5, 320])))
    assert live.requests == []


def test_a_teacher_that_comes_later_is_asked_when_it_is_there(
    empty: Store, teacher: Fingerprint
) -> None:
    with running(LiveTeacher()) as gone:
        port = int(gone.url.rpartition(":")[2])

    async def work(cache: ReadThrough) -> None:
        with pytest.raises(UpstreamError, match="found none in 2 tries"):
            await cache.scored(asked(ONE))
        with running(LiveTeacher(), port=port):
            expect_right(asked(ONE), await cache.scored(asked(ONE)))

    run(empty, gone, teacher, work)
    assert load(empty, "live").document.rows == 1


def test_signals_beside_are_answered_first_and_never_asked_for(
    signal: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    row = rows_in(signal, "signal").to_pylist()[0]
    ids, prompt = row["prompt_ids"] + row["response_ids"], len(row["prompt_ids"])
    requests = (asked(ids, prompt=prompt), asked(ids), asked(ids, prompt=prompt), asked(ids))
    found, counts = run(signal, live, teacher, ask(*requests), beside=["signal"])
    assert found[0][0].logprobs.tolist() == row["teacher_logprobs"]
    for request, scored in zip(requests, found, strict=True):
        expect_right(request, scored)
    assert counts.asked == 1
    _, counts = run(signal, live, teacher, ask(*requests), beside=["signal", "live"])
    assert counts.asked == 0


def test_signals_of_another_teacher_do_not_stand_beside(
    signal: Store, live: LiveTeacher, student: Fingerprint
) -> None:
    with pytest.raises(ConsistencyError, match="signal was not scored by this teacher"):
        run(signal, live, student, ask(), beside=["signal"])


def test_a_ref_of_another_identity_is_refused_at_the_start(
    signal: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    with pytest.raises(ConsistencyError, match="name another ref for new rows"):
        run(signal, live, teacher, ask(), ref="signal")


def test_a_second_server_of_the_same_ref_is_refused(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    async def work(cache: ReadThrough) -> None:
        again = open_read_through(
            empty, "live", upstream=options(live), teacher=Teacher(fingerprint=teacher)
        )
        with pytest.raises(StoreError, match="is held by process"):
            await again.__aenter__()
        expect_right(asked(ONE), await cache.scored(asked(ONE)))

    run(empty, live, teacher, work)


@asynccontextmanager
async def on_a_bad_disk(
    store: Store, live: LiveTeacher, teacher: Fingerprint, full: list[bool], said: list[str]
) -> AsyncIterator[ReadThrough]:
    """A cache whose journal's disk is full while `full` says so."""

    def sync(_descriptor: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")

    growth = Growth(store, "live")
    growth.journal = Journal(growth.journal.folder, sync=sync)
    counts = Counts()
    kept = Kept(growth, open_rows=tuple, publish_tokens=10**9, counts=counts, say=said.append)
    with growth.journal.lock():
        async with UpstreamClient(options(live)) as client:
            cache = ReadThrough(
                client=client, teacher=Teacher(fingerprint=teacher), kept=kept, counts=counts
            )
            await cache.meet()
            yield cache
            await cache.close()


def test_a_full_disk_stops_no_training_and_nothing_is_called_stored(
    empty: Store, live: LiveTeacher, teacher: Fingerprint
) -> None:
    full, said = [False], list[str]()

    async def work() -> None:
        async with on_a_bad_disk(empty, live, teacher, full, said) as cache:
            full[0] = True
            expect_right(asked(ONE, TWO), await cache.scored(asked(ONE, TWO)), stored=False)
            assert (cache.counts.kept, cache.counts.not_kept) == (0, 2)
            full[0] = False
            expect_right(asked(ONE), await cache.scored(asked(ONE)))

    asyncio.run(work())
    assert "answered without being stored" in said[0]
    assert "free some space" in said[0]
    assert live.scored == [tuple(ONE), tuple(TWO), tuple(ONE)]
    assert load(empty, "live").document.rows == 1
