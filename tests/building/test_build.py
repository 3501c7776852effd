"""What a build promises, with a scorer that is arithmetic: one id, however it was interrupted."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.building.job import Share
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.noise import Noise
from lopd_store.errors import (
    ConsistencyError,
    EngineError,
    RefMovedError,
    UsageError,
)
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import (
    Arithmetic,
    arithmetic,
    build_signal,
    publish_rollouts,
    random_rows,
    rows_in,
    rows_of,
)


@pytest.fixture(scope="module")
def uninterrupted(
    origin: Path, teacher: Fingerprint, tmp_path_factory: pytest.TempPathFactory
) -> Digest:
    root = Path(shutil.copytree(origin, tmp_path_factory.mktemp("whole") / "store"))
    artifact = build_signal(Store.open(root, sync=no_sync), teacher).artifact
    assert artifact is not None
    return artifact


class FailsAt(Arithmetic):
    """Raises at its n-th chunk."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.at, self.error = at, error

    def score(self, sequences: Any) -> Any:
        if len(self.calls) == self.at:
            raise self.error
        return super().score(sequences)


def test_every_position_has_the_teachers_own_number_in_source_order(
    store: Store, teacher: Fingerprint
) -> None:
    build_signal(store, teacher)
    rows = rows_in(store, "signal")
    source = random_rows(60)
    assert rows["prompt_ids"].to_pylist() == source["prompt_ids"].to_pylist()
    assert rows["response_ids"].to_pylist() == source["response_ids"].to_pylist()
    assert rows["rollout_logprobs"].to_pylist() == source["rollout_logprobs"].to_pylist()
    for prompt, response, found in zip(
        rows["prompt_ids"].to_pylist(),
        rows["response_ids"].to_pylist(),
        rows["teacher_logprobs"].to_pylist(),
        strict=True,
    ):
        assert found == arithmetic(prompt + response, len(prompt)).tolist()


def test_fresh_stores_come_to_the_same_artifact(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    built = build_signal(store, teacher)
    assert built.artifact == uninterrupted
    assert built.resumed_tokens == 0
    assert store.refs.resolve("signal") == uninterrupted
    assert len(load(store, "signal").shards) > 1
    assert verify_artifact(store, "signal", Depth()).problems == []


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_run_that_failed_goes_on_and_scores_only_what_is_missing(
    store: Store, teacher: Fingerprint, uninterrupted: Digest, chunks: int
) -> None:
    first = FailsAt(chunks, EngineError("out of memory"))
    with pytest.raises(EngineError, match="out of memory"):
        build_signal(store, teacher, scorer=first)
    assert store.refs.get("signal") is None
    second = Arithmetic()
    built = build_signal(store, teacher, scorer=second)
    assert built.artifact == uninterrupted
    scored = second.calls[: -min(60, 32)]  # then 32 rows one by one, for the noise
    assert sum(first.calls) + sum(scored) == 60
    assert len(first.calls) == chunks
    assert (built.resumed_tokens > 0) == (chunks > 0)


def test_ctrl_c_loses_nothing_that_was_finished(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_signal(store, teacher, scorer=FailsAt(2, KeyboardInterrupt()))
    built = build_signal(store, teacher)
    assert built.artifact == uninterrupted
    assert built.resumed_tokens >= 600


def test_a_finished_build_is_not_done_again(store: Store, teacher: Fingerprint) -> None:
    first = build_signal(store, teacher)
    again = Arithmetic()
    second = build_signal(store, teacher, scorer=again, ref="another/name")
    assert again.calls == []
    assert second.artifact == first.artifact
    assert store.refs.resolve("another/name") == first.artifact


def test_a_finished_build_whose_blob_has_rotted_is_done_again_and_mended(
    store: Store, teacher: Fingerprint
) -> None:
    first = build_signal(store, teacher)
    assert first.artifact is not None
    shard = store.blobs.path(load(store, "signal").shards[0].digest)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    assert store.fsck() != []
    assert build_signal(store, teacher).artifact == first.artifact
    assert store.fsck() == []


def test_a_finished_build_holds_nothing(store: Store, teacher: Fingerprint) -> None:
    build_signal(store, teacher)
    build_signal(store, teacher)
    assert [path.name for path in store.builds.glob("*/*") if "lock" not in path.name] == ["done"]
    store.refs.remove("rollouts")
    store.refs.remove("signal")
    store.gc(grace_seconds=0)
    assert list(store.blobs.all()) == []


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in-order", "backwards"])
def test_parts_of_a_job_come_to_the_artifact_of_the_whole(
    store: Store, teacher: Fingerprint, uninterrupted: Digest, order: tuple[int, int]
) -> None:
    scorers = [Arithmetic(), Arithmetic()]
    first, second = (
        build_signal(store, teacher, scorer=scorer, share=Share(index, 2))
        for index, scorer in zip(order, scorers, strict=True)
    )
    assert first.artifact is None
    assert first.pending_chunks > 0
    assert second.artifact == uninterrupted
    assert sum(scorers[0].calls) + sum(scorers[1].calls[:-32]) == 60
    again = build_signal(store, teacher, share=Share(order[0], 2))
    assert again.artifact == uninterrupted


def test_a_part_beyond_the_chunks_has_nothing_to_do(store: Store, teacher: Fingerprint) -> None:
    scorer = Arithmetic()
    built = build_signal(store, teacher, scorer=scorer, share=Share(90, 90))
    assert scorer.calls == []
    assert built.artifact is None


class Meddles(Arithmetic):
    """Does something to the store at its first chunk."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def score(self, sequences: Any) -> Any:
        if not self.calls:
            self.act()
        return super().score(sequences)


def test_a_ref_moved_meanwhile_is_left_alone_and_the_artifact_is_kept(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    rollouts = store.refs.get("rollouts")
    assert rollouts is not None

    def move() -> None:
        store.refs.move("signal", rollouts, expected=None)

    with pytest.raises(RefMovedError, match="expected no ref, found sha256:"):
        build_signal(store, teacher, scorer=Meddles(move))
    assert store.refs.resolve("signal") == rollouts.digest
    assert store.blobs.has(uninterrupted)
    store.gc(grace_seconds=0)
    again = Arithmetic()
    assert build_signal(store, teacher, scorer=again).artifact == uninterrupted
    assert again.calls == []
    assert store.refs.resolve("signal") == uninterrupted


def test_gc_during_a_build_takes_nothing_it_needs(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    def collect() -> None:
        store.refs.remove("rollouts")
        store.gc(grace_seconds=0)

    assert build_signal(store, teacher, scorer=Meddles(collect)).artifact == uninterrupted
    assert store.fsck() == []


def test_gc_between_any_two_blobs_of_publishing_takes_none_of_them(
    store: Store, teacher: Fingerprint, uninterrupted: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = []

    def collecting(put: Any) -> Any:
        def wrapped(*given: Any, **named: Any) -> Any:
            digest = put(*given, **named)
            collected.append(store.gc(grace_seconds=0))
            return digest

        return wrapped

    monkeypatch.setattr(store.blobs, "put", collecting(store.blobs.put))
    monkeypatch.setattr(store.blobs, "put_file", collecting(store.blobs.put_file))
    assert build_signal(store, teacher).artifact == uninterrupted
    assert len(collected) > 5
    assert store.fsck() == []
    assert len(store.evidence(uninterrupted)) == 1


def test_a_result_that_gc_took_in_part_is_made_again(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    build_signal(store, teacher)
    shard = load(store, "signal").shards[0].digest
    store.refs.remove("signal")
    store.blobs.path(shard).unlink()
    assert build_signal(store, teacher).artifact == uninterrupted
    assert store.fsck() == []


def test_chunks_of_another_size_are_another_artifact(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    other = build_signal(store, teacher, chunk_tokens=301, ref="other").artifact
    assert other != uninterrupted
    assert other is not None
    contents = {load(store, str(a)).document.content_digest for a in (other,)}
    build_signal(store, teacher)
    assert contents == {load(store, "signal").document.content_digest}


def test_shards_of_another_size_have_the_same_content(store: Store, teacher: Fingerprint) -> None:
    build_signal(store, teacher, ref="many")
    build_signal(store, teacher, shard_tokens=1 << 20, ref="one")
    many, one = load(store, "many"), load(store, "one")
    assert len(many.shards) > len(one.shards) == 1
    assert many.document.content_digest == one.document.content_digest


def test_rounding_stays_within_what_is_stated(store: Store, teacher: Fingerprint) -> None:
    build_signal(store, teacher, ref="exact")
    build_signal(store, teacher, ref="rounded", precision="2^-3")
    exact, rounded = (rows_in(store, ref)["teacher_logprobs"] for ref in ("exact", "rounded"))
    gaps = np.abs(
        np.concatenate(exact.to_pylist()).astype(np.float64) - np.concatenate(rounded.to_pylist())
    )
    assert 0 < gaps.max() <= 2**-3
    assert load(store, "rounded").identities[0].precision == "2^-3"


def test_noise_is_measured_and_attached_without_changing_the_id(
    store: Store, teacher: Fingerprint, uninterrupted: Digest
) -> None:
    class Noisy(Arithmetic):
        """Rows by themselves get numbers a little lower."""

        def score(self, sequences: Any) -> Any:
            found = super().score(sequences)
            return found if len(sequences) > 1 else [row - np.float32(0.25) for row in found]

    build_signal(store, teacher, scorer=Noisy())
    assert store.refs.resolve("signal") == uninterrupted
    (evidence,) = store.evidence(uninterrupted, media.NOISE_TYPE)
    manifest = Manifest.parse(store.blobs.get(evidence.digest))
    noise = Noise.parse(store.blobs.get(manifest.layers[0].digest))
    tokens = sum(map(len, random_rows(60)["response_ids"].to_pylist()[:32]))
    assert (noise.rows, noise.tokens, noise.differing) == (32, tokens, tokens)
    assert (noise.mean_abs, noise.max_abs, noise.bound) == ("0.25", "0.25", "1")


def test_a_teacher_with_another_tokenizer_is_refused_before_it_is_opened(
    store: Store, tmp_path: Path, models: dict[str, Path]
) -> None:
    folder = Path(shutil.copytree(models["teacher"], tmp_path / "stranger"))
    path = folder / "tokenizer.json"
    text = path.read_text().replace('"Ġthe": 265', '"Ġthe": 266').replace('"12": 266', '"12": 265')
    path.write_text(text)
    scorer = Arithmetic()
    with pytest.raises(ConsistencyError, match="tokenizer") as caught:
        build_signal(store, fingerprint(str(folder)), scorer=scorer)
    assert {problem.kind for problem in caught.value.problems} >= {"other-vocabulary"}
    assert scorer.calls == []


def test_padded_vocabulary_rows_are_no_difference(
    store: Store, models: dict[str, Path], uninterrupted: Digest
) -> None:
    built = build_signal(store, fingerprint(str(models["padded"])))
    assert built.artifact not in (None, uninterrupted)


def test_rows_of_several_tokenizers_are_refused(store: Store, student: Fingerprint) -> None:
    """No writer of ours makes such an artifact: two identities are merged by hand."""
    from dataclasses import replace

    from lopd_store.documents.artifact import ArtifactDocument
    from lopd_store.documents.manifest import Descriptor
    from tests.building.chain import identity_of

    assert student.tokenizer is not None
    artifact = load(store, "rollouts")
    foreign = replace(student.tokenizer, core_digest=Digest.of(b"x"), vocab_digest=Digest.of(b"y"))
    other = identity_of("rollouts", student, tokenizer=foreign)
    store.blobs.put(other.encode())
    document = artifact.document.json
    document["identities"].append(str(other.digest))
    config = ArtifactDocument.from_json(document)
    store.blobs.put(config.encode())
    layer = Descriptor.of(other.encode(), media_type=media.IDENTITY)
    manifest = Manifest.of(
        artifact_type=media.artifact_type("rollouts"),
        config=Descriptor.of(config.encode(), media_type=media.ARTIFACT),
        layers=[*artifact.manifest.layers[:1], layer, *artifact.manifest.layers[1:]],
    )
    store.blobs.put(manifest.encode())
    store.refs.move("mixed", manifest.descriptor(), expected=None)
    with pytest.raises(ConsistencyError, match="expected rows of one tokenizer, found several"):
        build_signal(store, student, rollouts="mixed")


def test_a_signal_is_no_input_for_a_build(store: Store, teacher: Fingerprint) -> None:
    build_signal(store, teacher)
    with pytest.raises(UsageError, match="expected an artifact of kind rollouts or sft"):
        build_signal(store, teacher, rollouts="signal")


def test_masked_positions_get_zero_and_are_not_looked_at(
    tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    store = Store.open(tmp_path / "masked", create=True, sync=no_sync)
    mask = pa.array([[True, False, True]], pa.list_(pa.bool_()))
    rows = rows_of([[7]], [[8, 9, 10]], rollout_logprobs=[[-1.0, -7.0, -2.0]], loss_mask=mask)
    publish_rollouts(store, student, [rows])
    build_signal(store, teacher)
    (found,) = rows_in(store, "signal")["teacher_logprobs"].to_pylist()
    whole = arithmetic([7, 8, 9, 10], 1).tolist()
    assert found == [whole[0], 0.0, whole[2]]
    assert verify_artifact(store, "signal", Depth()).problems == []
