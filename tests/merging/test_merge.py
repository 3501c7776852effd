"""Artifacts one after another: the rows of the whole, in the blobs of the parts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lopd_cli.errors import Commands
from lopd_cli.merging import merge as command
from lopd_store.artifacts import Artifact, load, noises
from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError, NotFoundError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.merge import merge
from lopd_store.publishing.derive import derive
from lopd_store.rows.precision import Precision
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import (
    Arithmetic,
    build_signal,
    identity_of,
    publish,
    publish_rollouts,
    random_rows,
    rows_in,
    rows_of,
)
from tests.publishing.saying import Heard


def assert_valid(store: Store, name: object) -> None:
    assert verify_artifact(store, str(name), Depth()).problems == []


def shards(artifact: Artifact) -> list[Digest]:
    return [part.digest for part in artifact.shards]


def make_sft(
    store: Store, teacher: Fingerprint, ref: str, rows: pa.RecordBatch, shard_tokens: int = 800
) -> Artifact:
    assert teacher.tokenizer_blob is not None
    publish(
        store,
        ref,
        identity_of("sft", teacher),
        [rows],
        tokenizer_blob=teacher.tokenizer_blob,
        shard_tokens=shard_tokens,
    )
    return load(store, ref)


@contextmanager
def new_store() -> Iterator[Store]:
    with TemporaryDirectory() as folder:
        yield Store.open(Path(folder) / "store", create=True, sync=no_sync)


def test_shards_are_the_blobs_of_the_parts(store: Store, teacher: Fingerprint) -> None:
    one = make_sft(store, teacher, "one", random_rows(200))
    other = make_sft(store, teacher, "other", random_rows(100, seed=1))
    before = set(store.blobs.all())
    merged = merge(store, ["one", "other"], ref="both")
    both = load(store, "both")
    assert merged.artifact == both.id
    assert shards(both) == shards(one) + shards(other)
    assert len(set(store.blobs.all()) - before) == 2  # the artifact document and the manifest
    assert (merged.rows, merged.duplicates, merged.rewritten) == (300, 0, 0)
    assert_valid(store, "both")
    expected = pa.concat_tables([rows_in(store, "one"), rows_in(store, "other")])
    assert rows_in(store, "both").equals(expected)
    assert [link.digest for link in both.document.lineage] == [one.id, other.id]
    assert both.identities == one.identities


def test_the_order_of_the_names_is_the_order_of_the_rows(
    store: Store, teacher: Fingerprint
) -> None:
    one = make_sft(store, teacher, "one", random_rows(20))
    other = make_sft(store, teacher, "other", random_rows(20, seed=1))
    merge(store, ["other", "one"], ref="both")
    assert shards(load(store, "both")) == shards(other) + shards(one)


def test_a_repeated_sample_is_kept_and_numbered(store: Store, teacher: Fingerprint) -> None:
    """The same ids with other log-probs are the same sample."""
    first = rows_of([[5]] * 3, [[6], [6], [7]], rollout_logprobs=[[-1.0], [-2.0], [-3.0]])
    second = rows_of([[5]] * 3, [[7], [8], [6]], rollout_logprobs=[[-4.0], [-5.0], [-6.0]])
    one = make_sft(store, teacher, "one", first)
    make_sft(store, teacher, "other", second)
    merged = merge(store, ["one", "other"], ref="both")
    assert (merged.rows, merged.duplicates, merged.rewritten, merged.shards) == (6, 3, 1, 2)
    rows = rows_in(store, "both")
    numbers = [name.partition(".")[2] for name in rows["sample_id"].to_pylist()]
    assert numbers == ["", "1", "", "1", "", "2"]
    assert rows["rollout_logprobs"].to_pylist() == [[-1.0], [-2.0], [-3.0], [-4.0], [-5.0], [-6.0]]
    assert shards(load(store, "both"))[0] == shards(one)[0]
    assert_valid(store, "both")


def test_only_shards_with_a_repeated_sample_are_written_anew(
    store: Store, teacher: Fingerprint
) -> None:
    one = make_sft(store, teacher, "one", random_rows(20))
    rows = pa.concat_batches([random_rows(200, seed=1), random_rows(20).slice(7, 1)])
    other = make_sft(store, teacher, "other", rows)
    merged = merge(store, ["one", "other"], ref="both")
    kept = shards(one) + shards(other)[:-1]
    assert (merged.rewritten, merged.duplicates) == (1, 1)
    assert shards(load(store, "both"))[:-1] == kept
    assert len(kept) > 3
    assert_valid(store, "both")


samples = st.lists(st.tuples(st.integers(5, 6), st.integers(5, 7)), min_size=2, max_size=24)


@given(samples=samples, cuts=st.sets(st.integers(1, 23), min_size=1, max_size=3), data=st.data())
@settings(max_examples=30, deadline=None)
def test_merging_the_parts_gives_the_rows_of_the_whole(
    teacher: Fingerprint, samples: list[tuple[int, int]], cuts: set[int], data: st.DataObject
) -> None:
    rows = rows_of(
        [[prompt] for prompt, _ in samples],
        [[response] for _, response in samples],
        rollout_logprobs=[[-float(place)] for place, _ in enumerate(samples)],
    )
    edges = [0, *sorted(cut for cut in cuts | {1} if cut < len(samples)), len(samples)]
    with new_store() as store:
        whole = make_sft(store, teacher, "whole", rows)
        refs = []
        for start, end in pairwise(edges):
            refs.append(f"part{start}")
            tokens = data.draw(st.integers(1, 12))
            make_sft(store, teacher, refs[-1], rows.slice(start, end - start), tokens)
        assume(len({load(store, ref).id for ref in refs}) == len(refs))
        merge(store, refs, ref="merged")
        merged = load(store, "merged")
        assert_valid(store, "merged")
        for name in ("content_digest", "rows", "tokens", "prompt_tokens", "duplicates"):
            assert getattr(merged.document, name) == getattr(whole.document, name)


def test_several_teachers_keep_their_identities_and_tokenizers(
    signal: Store, other: Fingerprint, student: Fingerprint
) -> None:
    publish_rollouts(signal, student, [random_rows(30, seed=9)], ref="more")
    build_signal(signal, other, rollouts="more", ref="second")
    merged = merge(signal, ["signal", "second"], ref="both")
    both, one, two = (load(signal, ref) for ref in ("both", "signal", "second"))
    assert (merged.identities, merged.rewritten) == (2, 0)
    assert both.identities == one.identities + two.identities
    assert both.manifest.tokenizers == one.manifest.tokenizers
    assert_valid(signal, "both")


def test_a_merge_of_several_identities_is_published_as_one(
    signal: Store, other: Fingerprint, student: Fingerprint
) -> None:
    """Rounded to one precision, rows that differed in precision only have one identity."""
    publish_rollouts(signal, student, [random_rows(30, seed=9)], ref="more")
    build_signal(signal, other, rollouts="more", ref="second")
    publish_rollouts(signal, student, [random_rows(30, seed=10)], ref="third-rollouts")
    build_signal(signal, other, rollouts="third-rollouts", ref="third", precision="2^-12")
    merge(signal, ["signal", "second", "third"], ref="all")
    source = load(signal, "all")
    made = derive(signal, source, precision=Precision.parse("2^-12"))
    assert (len(source.identities), len(made.identities)) == (3, 2)
    assert_valid(signal, made.id)
    assert [part.rows for part in made.shards] == [part.rows for part in source.shards]


def test_skipped_rows_and_evidence_stay_with_the_sources(
    store: Store, teacher: Fingerprint, student: Fingerprint
) -> None:
    wrong = rows_of([[5], [5]], [[6], [999]], rollout_logprobs=[[-1.0], [-1.0]])
    for ref, rows in (("one", random_rows(9)), ("other", wrong)):
        publish_rollouts(store, student, [rows], ref=f"{ref}-rollouts")
        build_signal(store, teacher, rollouts=f"{ref}-rollouts", ref=ref)
    assert load(store, "other").document.skipped == {"token-out-of-vocabulary": 1}
    merge(store, ["one", "other"], ref="both")
    both = load(store, "both")
    assert both.document.skipped == {}
    assert both.manifest.skipped is None
    assert noises(store, load(store, "one").id)
    assert noises(store, both.id) == []
    assert_valid(store, "both")


def test_merging_again_gives_the_same_artifact(store: Store, teacher: Fingerprint) -> None:
    rows = random_rows(40)
    make_sft(store, teacher, "one", rows)
    make_sft(store, teacher, "other", rows.slice(10, 20))
    first = merge(store, ["one", "other"], ref="both")
    assert merge(store, ["one", "other"], ref="both") == first
    assert first.rewritten == 1


def test_the_result_may_replace_a_source(store: Store, teacher: Fingerprint) -> None:
    one = make_sft(store, teacher, "one", random_rows(20))
    make_sft(store, teacher, "more", random_rows(20, seed=1))
    merged = merge(store, ["one", "more"], ref="one")
    assert load(store, "one").id == merged.artifact
    assert [entry.before for entry in store.refs.history("one")] == [None, one.id]


def test_gc_takes_nothing_from_a_merge_at_work(store: Store, teacher: Fingerprint) -> None:
    class Collects(Heard):
        def advance(self, amount: int, /) -> None:
            super().advance(amount)
            store.gc(grace_seconds=0)

    rows = random_rows(200)
    one = make_sft(store, teacher, "one", rows)
    make_sft(store, teacher, "other", rows.slice(1))
    for ref in ("one", "other"):
        store.refs.move(f"{ref}-kept", store.refs.list()[ref], expected=None)
    heard = Collects()
    merged = merge(store, ["one", "other"], ref="both", progress=heard)
    assert merged.rewritten > 1
    assert heard.done == heard.total == merged.tokens > one.document.tokens
    assert_valid(store, "both")
    assert not list(store.builds.glob("merge-*"))


def test_what_cannot_be_one_artifact_is_refused(signal: Store, teacher: Fingerprint) -> None:
    make_sft(signal, teacher, "sft", random_rows(5))
    text = random_rows(5, seed=1, prompt_text=pa.array(["question"] * 5))
    make_sft(signal, teacher, "text", text)
    signal.refs.move("again", signal.refs.list()["sft"], expected=None)
    for names, message in (
        (["sft"], "two artifacts or more to merge, found 1"),
        (["sft", "again"], "twice: sft and again"),
        (["signal", "sft"], "found signal signal and sft sft"),
        (["sft", "text"], "prompt_text string"),
    ):
        with pytest.raises(UsageError, match=message):
            merge(signal, names, ref="both")
    with pytest.raises(NotFoundError):
        merge(signal, ["sft", "nobody"], ref="both")
    with pytest.raises(UsageError, match="expected a ref"):
        merge(signal, ["sft", "text"], ref="../both")
    assert signal.refs.get("both") is None


def test_a_damaged_source_is_refused(store: Store, teacher: Fingerprint) -> None:
    make_sft(store, teacher, "one", random_rows(20))
    other = make_sft(store, teacher, "other", random_rows(20, seed=1))
    path = store.blobs.path(other.shards[0].digest)
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(IntegrityError):
        merge(store, ["one", "other"], ref="both")
    assert store.refs.get("both") is None


def test_a_build_goes_on_from_what_was_merged(store: Store, teacher: Fingerprint) -> None:
    """A trainer's way: rollouts of two days, scored at once."""
    student_rows = load(store, "rollouts")
    publish(
        store,
        "day2",
        student_rows.identities[0],
        [random_rows(20, seed=3)],
        tokenizer_blob=store.blobs.get(student_rows.manifest.tokenizers[0].digest),
    )
    merged = merge(store, ["rollouts", "day2"], ref="days")
    built = build_signal(store, teacher, rollouts="days", scorer=Arithmetic())
    assert built.rows == merged.rows == 80
    assert_valid(store, "signal")


def test_the_command_prints_what_it_made(store: Store, teacher: Fingerprint) -> None:
    commands = Commands(commands={"merge": command})
    rows = random_rows(30)
    make_sft(store, teacher, "one", rows.slice(0, 20))
    make_sft(store, teacher, "other", rows.slice(19))
    words = ["merge", "one", "other", "--store", str(store.root), "-o"]
    plain = CliRunner().invoke(commands, [*words, "both"])
    assert plain.stdout == f"both {load(store, 'both').id}\n"
    assert "rows that repeat an earlier sample, kept: 1\n" in plain.stderr
    said = CliRunner().invoke(commands, [*words, "again", "--json"])
    assert json.loads(said.stdout) == {
        "id": str(load(store, "both").id),
        "ref": "again",
        "rows": 31,
        "tokens": load(store, "both").document.tokens,
        "duplicates": 1,
        "identities": 1,
        "shards": 2,
        "rewritten_shards": 1,
    }
    wrong = CliRunner().invoke(commands, ["merge", "one", "othr", *words[3:], "third"])
    assert wrong.exit_code == 4
    assert "did you mean other" in wrong.stderr
