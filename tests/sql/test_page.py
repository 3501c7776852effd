"""docs/sql.md runs as it stands, and documents every view and macro there is."""

from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.shard_sets import open_shard_set
from lopd_store.sql.macros import MACROS
from lopd_store.sql.session import ask, connect
from lopd_store.sql.statements import parsed
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import Arithmetic, build_signal, publish_rollouts, random_rows
from tests.documents_run import Reader, blocks
from tests.train.signals_made import Made

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `store`, and in it two teachers' signals on the same rollouts."""
    folder = tmp_path_factory.mktemp("page")
    store = Store.open(folder / "store", create=True, sync=no_sync)
    publish_rollouts(store, made.student, [random_rows(30)])
    build_signal(store, made.teacher, ref="math/signal")
    build_signal(store, made.student, ref="math/other", scorer=Arithmetic(shift=0.5))
    return folder


def test_every_block_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOPD_STORE", str(folder / "store"))
    reader, seen = Reader(folder), set()
    names = {"a": "math/signal", "b": "math/other"}
    root = folder / "store"
    session = connect({key: open_shard_set(ref, root=root) for key, ref in names.items()})
    for block in blocks(PAGE):
        seen.add(block.language)
        if block.language == "sql":
            for statement in parsed(block.body):
                found: pa.Table = ask(session, statement.query).to_arrow_table()
                assert found.num_rows > 0, statement.query
        else:
            reader.read(block)
    assert seen == {"console", "sql", "python"}


def test_the_page_says_what_every_view_and_macro_gives(folder: Path) -> None:
    text = PAGE.read_text()
    for macro in MACROS:
        _, _, section = text.partition(f"### `{macro.call}`\n")
        section = section.partition("\n#")[0]
        for column, meaning in macro.columns.items():
            assert f"| `{column}` | {meaning} |" in section
    session = connect({"a": open_shard_set("math/signal", root=folder / "store")})
    for column in ask(session, "from tokens").columns:
        assert f"`{column}`" in text.partition("## Macros")[0]
