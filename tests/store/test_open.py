"""Opening: a store is made only where there is none and nothing else."""

import ast
from pathlib import Path
from typing import Any

import pytest

import lopd_store.store
from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_store.store import Store
from lopd_store.store.durable import no_sync


@pytest.mark.parametrize("kind", ["missing", "empty-folder", "file"])
def test_no_store_is_not_found(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "store"
    if kind == "empty-folder":
        root.mkdir()
    if kind == "file":
        root.write_text("text")
    with pytest.raises(NotFoundError, match="no store at"):
        Store.open(root)
    assert kind != "missing" or not root.exists()


def test_where_there_is_no_store_none_is_found(store: Store, tmp_path: Path) -> None:
    found = Store.find(store.root)
    assert found is not None
    assert found.root == store.root
    assert Store.find(tmp_path / "absent") is None
    (store.root / "oci-layout").write_text('{"imageLayoutVersion":"1.1.0"}')
    with pytest.raises(FormatError, match="a newer spec"):
        Store.find(store.root)


def test_opening_again_changes_nothing(store: Store, publish: Any) -> None:
    store.refs.move("a", publish(store, "rows"), expected=None)
    before = (store.root / "index.json").read_bytes()
    assert list(Store.open(store.root, create=True).refs.list()) == ["a"]
    assert (store.root / "index.json").read_bytes() == before


def test_a_folder_with_other_things_in_it_is_not_made_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(UsageError, match="not empty"):
        Store.open(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_whose_making_was_cut_short_is_made_again(store: Store, publish: Any) -> None:
    store.refs.move("a", publish(store, "rows"), expected=None)
    (store.root / "oci-layout").unlink()
    with pytest.raises(NotFoundError):
        Store.open(store.root)
    assert list(Store.open(store.root, create=True).refs.list()) == ["a"]


def test_a_newer_layout_is_not_made_over(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True, sync=no_sync)
    (store.root / "oci-layout").write_text('{"imageLayoutVersion":"1.1.0"}')
    with pytest.raises(FormatError, match="a newer spec"):
        Store.open(store.root, create=True)


def test_a_store_may_stand_behind_a_link(store: Store, tmp_path: Path) -> None:
    """The user named it; only what is inside is not to be trusted."""
    (tmp_path / "link").symlink_to(store.root)
    assert Store.open(tmp_path / "link").fsck() == []


def test_the_store_knows_bytes_and_names_only() -> None:
    """It must not know rows, shards, models or engines: those are built on it."""
    ours = set()
    for file in Path(lopd_store.store.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                words = [*node.module.split("."), *(name.name for name in node.names)]
                ours |= {words[1]} if words[0] == "lopd_store" else set()
    assert ours == {"canonical", "digest", "documents", "errors", "remembered", "store"}


def test_a_store_may_be_named_by_text(store: Store) -> None:
    assert Store.open(str(store.root)).root == store.root
