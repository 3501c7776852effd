"""Opening: a store is made only where there is none and nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, lopd_store.store; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "vllm", "transformers", "ray", "pyarrow", "duckdb", "numpy"}
    ours = {name.split(".")[1] for name in done.stdout.split() if name.startswith("lopd_store.")}
    assert not ours & {"rows", "shards", "identity", "engines"}
