"""The files of an artifact for a repository: its blobs, and nothing that is not what it says."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.artifacts import Artifact, load
from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, LopdError
from lopd_store.hub.committing import Addition
from lopd_store.hub.snapshot import RemoteFile, Snapshot, git_oid
from lopd_store.publishing import contents as module
from lopd_store.publishing.contents import Contents, contents
from lopd_store.remote.layout import Place
from lopd_store.store import Store
from tests.hub.published import files_of

HERE = Place("small", "test")


def laid_out(store: Store, *, picture: bytes | None = None) -> Contents:
    return contents(load(store, "signal"), HERE, picture=picture)


def read(file: Addition) -> bytes:
    return file.source if isinstance(file.source, bytes) else file.source.read_bytes()


def snapshot(files: dict[str, bytes], *, large: bool) -> Snapshot:
    """What a Hub lists of these files."""
    listed = {
        path: RemoteFile(
            path=path,
            size=len(data),
            sha256=Digest.of(data) if large else None,
            git_oid=git_oid(data),
        )
        for path, data in files.items()
    }
    return Snapshot(repo="org/data", what="dataset", revision=None, commit="0" * 40, files=listed)


def test_they_are_what_the_format_says_byte_for_byte(signal: Store) -> None:
    found = {path: read(file) for path, file in laid_out(signal).files.items()}
    columns = found.pop("lopd/small/test/columns.json")
    assert found == files_of(signal.root, "signal", config="small", split="test")
    names = {column.name for column in load(signal, "signal").document.columns}
    assert json.loads(columns)["columns"].keys() == names


def test_each_says_its_own_size_and_digest(signal: Store) -> None:
    for file in laid_out(signal, picture=b"<svg/>").files.values():
        data = read(file)
        assert (file.size, file.digest) == (len(data), Digest.of(data))


@pytest.mark.parametrize("large", [False, True], ids=["as git objects", "as large files"])
def test_what_is_missing_and_what_is_stale_are_told_by_bytes_not_by_names(
    signal: Store,
    *,
    large: bool,
) -> None:
    made = laid_out(signal)
    files = {path: read(file) for path, file in made.files.items()}
    assert len(made.missing_from(None)) == len(files)
    assert made.stale_in(None) == []
    there = snapshot(files, large=large)
    assert (made.missing_from(there), made.stale_in(there)) == ([], [])
    paths = sorted(files)
    files[paths[0]] += b"\n"
    files[paths[1]] = bytes([files[paths[1]][0] ^ 1]) + files[paths[1]][1:]
    del files[paths[2]]
    mine = ["data/small/test-00009-0123456789ab.parquet", "lopd/small/test/blob-0123456789ab"]
    others = [
        "README.md",
        "data/small/test-notes.parquet",
        "data/small/test_2-00000-0123456789ab.parquet",
        "data/small/other.parquet",
        "lopd/small/test2/index.json",
        "lopd/small/notes.txt",
    ]
    there = snapshot(files | dict.fromkeys([*mine, *others], b"x"), large=large)
    assert [file.path for file in made.missing_from(there)] == paths[:3]
    assert made.stale_in(there) == mine


def test_a_strangers_file_among_the_shards_is_refused_for_datasets_would_load_it(
    signal: Store,
) -> None:
    made = laid_out(signal)
    apart = ["data/small/other.parquet", "data/small/test-a/b.parquet", "data/small/test-0.json"]
    files = {path: read(file) for path, file in made.files.items()} | dict.fromkeys(apart, b"x")
    made.require_alone(snapshot(files, large=True))
    made.require_alone(None)
    for path in ("data/small/test-00000-of-00001.parquet", "data/small/test-.parquet"):
        with pytest.raises(FormatError, match=f"found {path}, which datasets would load as rows"):
            made.require_alone(snapshot({**files, path: b"x"}, large=True))


def test_a_file_that_datasets_would_take_for_the_card_is_refused(signal: Store) -> None:
    made = laid_out(signal)
    made.require_alone(snapshot({"docs/.huggingface.yaml": b"x"}, large=False))
    with pytest.raises(FormatError, match=r"expected no .huggingface.yaml, found one: .* remove"):
        made.require_alone(snapshot({".huggingface.yaml": b"configs: []"}, large=False))


def test_two_blobs_that_would_have_one_path_are_refused_and_none_is_lost() -> None:
    path = "lopd/small/test/blob-0123456789ab"
    one = Addition.of(path, b"one")
    assert module.by_path([one, one]) == {path: one}
    with pytest.raises(FormatError, match=f"expected one blob for {path}, found sha256:.* and"):
        module.by_path([one, Addition.of(path, b"another")])


@pytest.fixture(scope="module")
def store_to_damage(built: Path) -> Store:
    return Store.open(built)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_flipped_bit_anywhere_is_found_before_anything_could_be_sent(
    store_to_damage: Store, data: st.DataObject
) -> None:
    store = store_to_damage
    artifact = load(store, "signal")
    parts = [*artifact.manifest.layers, artifact.manifest.config, artifact.manifest.descriptor()]
    part = data.draw(st.sampled_from(parts))
    place = data.draw(st.integers(0, part.size - 1))
    bit = data.draw(st.integers(0, 7))
    path = store.blobs.path(part.digest)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        with pytest.raises(LopdError) as error:
            contents(load(store, "signal"), HERE, picture=None)
    finally:
        path.write_bytes(whole)
        path.chmod(0o444)
    assert isinstance(error.value, IntegrityError), (part.media_type, place, error.value)


def test_rows_that_are_not_the_artifacts_are_refused(signal: Store) -> None:
    """Its shards and its document are right each by its digest, and say different things."""
    artifact = load(signal, "signal")
    other = {**artifact.document.json, "content_digest": str(Digest.of(b"other rows"))}
    changed = Artifact(**{
        **{name: getattr(artifact, name) for name in artifact.__dataclass_fields__},
        "document": type(artifact.document).from_json(other),
    })  # fmt: skip
    with pytest.raises(IntegrityError, match="content-digest-differ"):
        contents(changed, HERE, picture=None)


def test_a_row_group_that_the_viewer_cannot_read_is_refused(
    signal: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VIEWER_BYTES", 1000)
    with pytest.raises(FormatError, match="row group 0: expected at most 1,000 bytes"):
        laid_out(signal)
