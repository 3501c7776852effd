"""Every name that opens a signal, and what is said of those that do not."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from lopd_store.artifacts import load, point
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError, UsageError
from lopd_store.identity.model import fingerprint
from lopd_store.shard_sets import open_shard_set
from lopd_store.signals import open_signal
from lopd_store.store import Store
from tests.building.chain import build_signal, identity_of, publish, random_rows
from tests.building.fixtures import built, models, origin, root, signal, store, student, teacher

__all__ = ["built", "models", "origin", "root", "signal", "store", "student", "teacher"]


def shards_of(store: Store, to: Path) -> Path:
    """The signal's shards as plain files in a folder."""
    to.mkdir()
    for number, shard in enumerate(open_signal("signal", root=store.root).open_shards()):
        shutil.copyfile(shard.path, to / f"{number:05}.parquet")
    return to


def test_a_ref_and_an_id_open_the_same_artifact(signal: Store) -> None:
    by_ref = open_signal("signal", root=signal.root)
    assert by_ref.id is not None
    document = load(signal, "signal").document
    assert (by_ref.tokens, by_ref.content_digest) == (document.tokens, document.content_digest)
    for name in (str(by_ref.id), by_ref.id.hex, by_ref.id.hex[:12]):
        found = open_signal(name, root=signal.root)
        assert (found.id, found.rows, found.kind) == (by_ref.id, 60, "signal")
        assert sum(shard.rows for shard in found.open_shards()) == 60


@pytest.mark.parametrize("kind", ["sft", "rollouts"])
def test_other_kinds_open_and_say_so(
    kind: str, store: Store, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue({"sft": "teacher", "rollouts": "student"}[kind])
    identity = identity_of(kind, model)
    publish(store, "other", identity, [random_rows(5)], tokenizer_blob=model.tokenizer_blob)
    found = open_signal("other", root=store.root)
    assert (found.kind, found.rows, found.identities) == (kind, 5, (identity,))


def test_a_folder_of_shards_is_the_rows_of_its_artifact(signal: Store, tmp_path: Path) -> None:
    artifact = open_signal("signal", root=signal.root)
    folder = shards_of(signal, tmp_path / "shards")
    (folder / "README.md").write_text("not a shard")
    (folder / "data").mkdir()
    (folder / "00000.parquet").rename(folder / "data" / "first.parquet")
    found = open_shard_set(str(folder), root=None)
    assert (found.id, found.kind, found.rows) == (None, "signal", artifact.rows)
    assert (found.tokens, found.content_digest) == (None, None)
    assert found.identities == artifact.identities
    names = [shard.path.name for shard in found.open_shards()]
    assert names == [*sorted(path.name for path in folder.glob("*.parquet")), "first.parquet"]


def test_a_lone_shard_says_who_made_it(signal: Store, tmp_path: Path) -> None:
    path = shards_of(signal, tmp_path / "shards") / "00001.parquet"
    found = open_shard_set(str(path), root=None)
    (shard,) = found.open_shards()
    assert (found.rows, shard.path) == (shard.rows, path)
    assert found.identities == open_signal("signal", root=signal.root).identities


def test_another_shard_in_the_place_of_one_that_was_opened_is_refused(
    signal: Store, tmp_path: Path
) -> None:
    """Its maker was judged by the first: rows of another must not follow."""
    folder = shards_of(signal, tmp_path / "shards")
    found = open_shard_set(str(folder / "00000.parquet"), root=None)
    (other,) = open_signal("rollouts", root=signal.root).open_shards()
    shutil.copyfile(other.path, folder / "00000.parquet")
    with pytest.raises(IntegrityError, match="expected the shard that was opened"):
        list(found.open_shards())
    (folder / "00000.parquet").unlink()
    with pytest.raises(NotFoundError, match=r"00000\.parquet"):
        list(found.open_shards())


def test_a_folder_without_shards_does_not_hide_a_ref(
    signal: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "signal").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert open_signal("signal", root=signal.root).id is not None


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("STORE", UsageError, "is a whole store"),
        ("absent", NotFoundError, "no ref or artifact 'absent'"),
        ("data/absent.parquet", NotFoundError, "expected a shard at data/absent.parquet"),
        ("./absent", NotFoundError, "no ref or artifact './absent'"),
        ("", NotFoundError, "no ref or artifact ''"),
        ("a\0b", NotFoundError, "no ref or artifact"),
        ("x" * 5000, NotFoundError, "no ref or artifact"),
        ("TEXT", FormatError, "expected b'PAR1' at both ends"),
    ],
)
def test_names_that_open_nothing_say_why(
    name: str, kind: type[LopdError], said: str, signal: Store, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("only text, no Parquet")
    name = name.replace("STORE", str(signal.root)).replace("TEXT", str(text))
    with pytest.raises(kind, match=said):
        open_signal(name, root=signal.root)


def test_no_name_is_not_the_folder_one_stands_in(
    signal: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards_of(signal, tmp_path / "shards"))
    assert open_shard_set(".", root=None).rows == 60
    with pytest.raises(NotFoundError, match="found nothing named ''"):
        open_shard_set("", root=None)


def test_without_a_store_a_name_that_is_no_dataset_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="expected a shard, a folder"):
        open_shard_set("signal", root=None)


def test_a_missing_shard_is_found_before_any_is_opened(signal: Store) -> None:
    *_, last = open_signal("signal", root=signal.root).open_shards()
    last.path.unlink()
    with pytest.raises(NotFoundError, match=last.path.name):
        open_signal("signal", root=signal.root)


def test_a_changed_shard_is_refused_before_it_is_parsed(signal: Store) -> None:
    opened = open_signal("signal", root=signal.root)
    *_, last = opened.open_shards()
    last.path.chmod(0o644)
    last.path.write_bytes(bytes(last.size))
    with pytest.raises(IntegrityError, match="digest-mismatch"):
        list(opened.open_shards())


def republished(store: Store, shards: list[Descriptor], *, like: str) -> None:
    """The documents of one artifact over other shards, under the ref `made-up`."""
    artifact = load(store, like)
    layers = [layer for layer in artifact.manifest.layers if layer not in artifact.shards]
    manifest = Manifest.of(
        artifact_type=artifact.manifest.artifact_type,
        config=artifact.manifest.config,
        layers=[*layers, *shards],
    )
    store.blobs.put(manifest.data)
    point(store, "made-up", manifest.digest, expected=None)


def with_annotations(shard: Descriptor, annotations: Mapping[str, str]) -> Descriptor:
    return Descriptor.from_json(shard.to_json() | {"annotations": dict(annotations)})


def test_a_manifest_that_names_another_teacher_than_the_shards_is_refused(
    signal: Store, models: dict[str, Path]
) -> None:
    build_signal(signal, fingerprint(str(models["padded"])), ref="other")
    theirs, ours = load(signal, "other").shards, load(signal, "signal").shards
    shards = [with_annotations(b, a.annotations) for a, b in zip(ours, theirs, strict=True)]
    republished(signal, shards, like="signal")
    found = open_signal("made-up", root=signal.root)
    with pytest.raises(IntegrityError, match="footer-identity"):
        list(found.open_shards())


def test_a_manifest_that_counts_other_rows_than_the_shards_is_refused(signal: Store) -> None:
    first, second, *others = load(signal, "signal").shards
    counts = [dict(shard.annotations) for shard in (first, second)]
    for count, rows in zip(counts, (first.rows + 1, second.rows - 1), strict=True):
        count["dev.lopd.rows"] = str(rows)
    changed = [with_annotations(s, c) for s, c in zip((first, second), counts, strict=True)]
    republished(signal, [*changed, *others], like="signal")
    with pytest.raises(FormatError, match=f"expected {first.rows + 1} rows, found {first.rows}"):
        list(open_signal("made-up", root=signal.root).open_shards())


def test_a_manifest_that_disagrees_with_its_artifact_document_is_refused(signal: Store) -> None:
    republished(signal, list(load(signal, "signal").shards[1:]), like="signal")
    with pytest.raises(FormatError, match="problem"):
        open_signal("made-up", root=signal.root)


def test_shards_of_several_kinds_are_refused(signal: Store, tmp_path: Path) -> None:
    folder = shards_of(signal, tmp_path / "shards")
    for shard in open_signal("rollouts", root=signal.root).open_shards():
        shutil.copyfile(shard.path, folder / "rollouts.parquet")
    with pytest.raises(FormatError, match="one kind, found rollouts and signal"):
        open_shard_set(str(folder), root=None)
