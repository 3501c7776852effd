"""A read-through cache: asked once, kept, answered from then on."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.errors import ConsistencyError, StoreError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.serving.answers import Missing
from lopd_store.serving.readthrough.cache import ReadThrough
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.journal import Journal
from lopd_store.serving.readthrough.kept import Counts, Kept
from lopd_store.serving.readthrough.opening import open_read_through
from lopd_store.serving.readthrough.upstream import UpstreamClient
from lopd_store.serving.readthrough.upstream_http import UpstreamError
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import rows_in
from tests.serving.live_teacher import LiveTeacher, running
from tests.serving.reading_through import (
    ONE,
    THREE,
    TWO,
    ask,
    asked,
    expect_right,
    options,
    run,
)
from tests.train.signals_made import Made


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


@pytest.fixture
def live() -> Iterator[LiveTeacher]:
    with running(LiveTeacher()) as teacher:
        yield teacher


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


def test_positions_that_a_signal_masks_are_asked_for(
    made: Made, live: LiveTeacher, tmp_path: Path
) -> None:
    """Every third position is masked, from the first."""
    store = Store.open(shutil.copytree(made.store.root, tmp_path / "copy"), sync=no_sync)
    row = next(r for r in rows_in(store, "signal").to_pylist() if len(r["response_ids"]) == 3)
    ids, prompt = row["prompt_ids"] + row["response_ids"], len(row["prompt_ids"])
    requests = [asked(ids, prompt=prompt + 1), asked(ids, prompt=prompt)]
    found, counts = run(store, live, made.teacher, ask(*requests), beside=["signal"])
    assert found[0][0].logprobs.tolist()[-2:] == row["teacher_logprobs"][1:]
    expect_right(requests[1], found[1])
    assert counts.asked == 1


def test_signals_of_another_teacher_do_not_stand_beside(
    signal: Store, live: LiveTeacher, student: Fingerprint
) -> None:
    with pytest.raises(ConsistencyError, match="signal was not scored by this teacher"):
        run(signal, live, student, ask(), beside=["signal"])


def test_another_teacher_than_the_one_that_was_asked_before_is_refused_even_with_none_there(
    empty: Store, teacher: Fingerprint, student: Fingerprint
) -> None:
    with running(LiveTeacher()) as live:
        run(empty, live, teacher, ask(asked(ONE)))
    with pytest.raises(ConsistencyError, match="live was not scored by this teacher"):
        run(empty, live, student, ask())


def test_a_ref_whose_teacher_is_known_is_refused_at_the_start_even_with_none_there(
    signal: Store, teacher: Fingerprint
) -> None:
    with running(LiveTeacher()) as away:
        pass
    with pytest.raises(ConsistencyError, match="found rows of a known teacher: name another ref"):
        run(signal, away, teacher, ask(), ref="signal")


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
