"""A journal becomes an artifact: every record once, the same artifact in however many steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, IntegrityError, RefMovedError
from lopd_store.identity.model import Fingerprint
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.journal_format import Record
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import rows_in
from tests.serving.journals import record_of


def some_records(count: int, *, seed: int = 0) -> list[Record]:
    chance = np.random.default_rng(seed)
    found = []
    for length in chance.integers(2, 40, count).tolist():
        prompt = int(chance.integers(1, length))
        logprobs = -chance.exponential(1.0, length - prompt)
        found.append(record_of(prompt, chance.integers(5, 267, length).tolist(), logprobs.tolist()))
    return found


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


@pytest.fixture(scope="session")
def live(teacher: Fingerprint) -> Teacher:
    return Teacher(fingerprint=teacher, stated={"dtype": "bfloat16"})


class Grower:
    """A ref that grows by records, publication by publication."""

    def __init__(self, store: Store, live: Teacher, ref: str = "live") -> None:
        self.growth = Growth(store, ref, shard_tokens=300)
        self.identity = live.identity({"vllm": "0.32.0"})
        self.growth.prepare(self.identity, live.tokenizer_blob)

    def tell(self, records: Sequence[Record]) -> None:
        self.growth.journal.append(records, identity=self.identity.digest)

    def grow(self, records: Sequence[Record]) -> Digest | None:
        self.tell(records)
        return self.growth.publish()


def test_every_record_is_a_row_with_its_ids_and_values(empty: Store, live: Teacher) -> None:
    records = some_records(50)
    grown = Grower(empty, live).grow(records)
    rows = rows_in(empty, "live").to_pylist()
    assert empty.refs.resolve("live") == grown
    assert [row["prompt_ids"] + row["response_ids"] for row in rows] == [
        record.ids.tolist() for record in records
    ]
    assert [row["teacher_logprobs"] for row in rows] == [r.logprobs.tolist() for r in records]
    assert {row["finish_reason"] for row in rows} == {"unknown"}
    assert len(load(empty, "live").shards) > 1
    assert verify_artifact(empty, "live", Depth()).problems == []
    assert empty.fsck() == []


@pytest.mark.parametrize("cuts", [(20,), (1, 2, 3), (5, 5, 39)])
def test_grown_in_many_steps_it_is_the_artifact_of_one_step(
    empty: Store, live: Teacher, cuts: tuple[int, ...]
) -> None:
    records = some_records(40)
    expected = Grower(empty, live, "once").grow(records)
    steps = Grower(empty, live, "often")
    for first, last in zip((0, *cuts), (*cuts, len(records)), strict=True):
        grown = steps.grow(records[first:last])
    assert grown == expected


def test_a_sample_told_again_is_one_row(empty: Store, live: Teacher) -> None:
    records = some_records(10)
    grower = Grower(empty, live)
    grower.grow([*records, records[3]])
    grown = grower.grow(records[4:])
    artifact = load(empty, "live")
    assert grown == artifact.id
    assert (artifact.document.rows, artifact.document.duplicates) == (10, 0)


def test_the_same_ids_with_another_boundary_are_another_row(empty: Store, live: Teacher) -> None:
    short, long = record_of(3, [5, 6, 7, 8], [-1.0]), record_of(1, [5, 6, 7, 8], [-2.0, -3.0, -1.0])
    Grower(empty, live).grow([short, long, short])
    assert rows_in(empty, "live").column("prompt_ids").to_pylist() == [[5, 6, 7], [5]]


def test_a_crash_between_the_ref_and_the_journals_end_costs_and_repeats_nothing(
    empty: Store, live: Teacher
) -> None:
    grower = Grower(empty, live)
    grower.tell(some_records(20))
    (segment,) = grower.growth.journal.roll()
    left = segment.read_bytes()
    grown = grower.growth.publish()
    assert not segment.exists()
    segment.write_bytes(left)
    assert Growth(empty, "live", shard_tokens=300).publish() == grown
    assert not segment.exists()


def test_an_empty_journal_publishes_nothing(empty: Store, live: Teacher) -> None:
    assert Grower(empty, live).growth.publish() is None
    assert empty.refs.get("live") is None


def test_rows_of_another_identity_are_refused_by_name_and_the_journal_stays(
    empty: Store, live: Teacher, teacher: Fingerprint
) -> None:
    grower = Grower(empty, live)
    grower.grow(some_records(5))
    other = Teacher(fingerprint=teacher, stated={"dtype": "float16"})
    with pytest.raises(ConsistencyError, match=r"/imported/asserted/scoring/dtype.*'float16'"):
        grower.growth.prepare(other.identity({"vllm": "0.32.0"}), other.tokenizer_blob)
    renamed = Growth(empty, "other")
    renamed.prepare(other.identity({}), other.tokenizer_blob)
    renamed.journal.append(some_records(5), identity=other.identity({}).digest)
    before = empty.refs.get("live")
    assert before is not None
    empty.refs.move("other", before, expected=None)
    with pytest.raises(ConsistencyError, match="name another ref"):
        renamed.publish()
    assert len(renamed.journal.roll()) == 1
    empty.refs.remove("other")
    assert renamed.publish() is not None


def test_a_ref_that_holds_rollouts_cannot_grow(signal: Store, live: Teacher) -> None:
    with pytest.raises(ConsistencyError, match="rollouts has rows of another identity"):
        Grower(signal, live, "rollouts")


def test_what_two_engines_said_before_a_crash_is_kept_apart(empty: Store, live: Teacher) -> None:
    grower = Grower(empty, live)
    grower.tell(some_records(5))
    grower.growth.journal.roll()
    newer = live.identity({"vllm": "0.33.0"})
    empty.blobs.put(newer.encode())
    grower.growth.journal.append(some_records(3, seed=1), identity=newer.digest)
    with pytest.raises(ConsistencyError, match=r"0\.33\.0"):
        grower.growth.publish()
    assert load(empty, "live").document.rows == 5
    assert len(grower.growth.journal.roll()) == 1


class Raced(Growth):
    """Another process publishes between our reading of the ref and our moving of it."""

    def __init__(self, store: Store, ref: str, other: Grower, *, times: int) -> None:
        super().__init__(store, ref, shard_tokens=300)
        self.left = times
        self.other = other

    def _store_with(self, *arguments: object) -> Digest:
        artifact = super()._store_with(*arguments)  # type: ignore[arg-type]
        if self.left:
            self.left -= 1
            grown = self.other.grow(some_records(2, seed=100 + self.left))
            name = self.other.growth.ref
            store = self._store
            found, before = store.refs.get(name), store.refs.get(self.ref)
            assert found is not None
            assert found.digest == grown
            store.refs.move(self.ref, found, expected=before.digest if before else None)
        return artifact


def test_a_ref_that_moves_meanwhile_is_built_upon_and_not_overwritten(
    empty: Store, live: Teacher
) -> None:
    raced = Raced(empty, "live", Grower(empty, live, "elsewhere"), times=2)
    identity = live.identity({"vllm": "0.32.0"})
    raced.prepare(identity, live.tokenizer_blob)
    raced.journal.append(some_records(6), identity=identity.digest)
    raced.publish()
    assert load(empty, "live").document.rows == 6 + 4
    assert raced.left == 0


def test_a_ref_that_never_holds_still_is_given_up_and_the_journal_stays(
    empty: Store, live: Teacher
) -> None:
    raced = Raced(empty, "live", Grower(empty, live, "elsewhere"), times=100)
    identity = live.identity({"vllm": "0.32.0"})
    raced.prepare(identity, live.tokenizer_blob)
    raced.journal.append(some_records(6), identity=identity.digest)
    with pytest.raises(RefMovedError):
        raced.publish()
    assert len(raced.journal.roll()) == 1


def test_gc_takes_nothing_that_a_journal_needs_and_all_of_it_after_its_end(
    empty: Store, live: Teacher
) -> None:
    grower = Grower(empty, live)
    grower.tell(some_records(5))
    held = set(empty.gc(grace_seconds=0).removed)
    assert held == set()
    assert grower.growth.publish() is not None
    empty.refs.remove("live")
    empty.gc(grace_seconds=0)
    assert empty.blobs.get(grower.identity.digest) == grower.identity.encode()
    grower.growth.release()
    empty.gc(grace_seconds=0)
    assert list(empty.blobs.all()) == []


def test_a_hold_cut_short_by_a_crash_stops_neither_gc_nor_the_next_publication(
    empty: Store, live: Teacher
) -> None:
    grower = Grower(empty, live)
    grower.tell(some_records(5))
    with (grower.growth.journal.folder / "holds").open("a") as file:
        file.write("sha256:0123")
    empty.gc(grace_seconds=0)
    assert grower.growth.publish() is not None
    empty.gc(grace_seconds=0)


def test_a_damaged_segment_stops_publication_and_is_left_as_it_is(
    empty: Store, live: Teacher
) -> None:
    grower = Grower(empty, live)
    grower.tell(some_records(5))
    (segment,) = grower.growth.journal.roll()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged-journal"):
        grower.growth.publish()
    assert segment.read_bytes() == data
    assert empty.refs.get("live") is None


def test_the_teacher_of_a_live_server_is_asserted_and_the_gate_says_so(
    empty: Store, live: Teacher, teacher: Fingerprint
) -> None:
    Grower(empty, live).grow(some_records(5))
    (identity,) = load(empty, "live").identities
    assert isinstance(identity, Identity)
    assert identity.teacher is None
    assert identity.claimed("teacher") == teacher.model
    assert identity.imported is not None
    assert identity.imported.asserted.scoring == {
        "engine": "vllm",
        "versions": "vllm 0.32.0",
        "dtype": "bfloat16",
    }
    report = verify_artifact(empty, "live", Depth(teacher=teacher))
    assert [problem.kind for problem in report.problems] == ["asserted-teacher"]
