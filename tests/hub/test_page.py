"""docs/hub.md runs as it stands, by somebody who is logged in to a Hub of the test's own."""

from pathlib import Path

import pytest

from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, publish_rollouts, random_rows
from tests.documents_run import Reader, blocks
from tests.hub_server import TOKEN, Hub
from tests.train.signals_made import Made, make_signals

PAGE = Path(__file__).parents[2] / "docs" / "hub.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("models"))


def test_every_block_of_the_page_runs(
    hub: Hub, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store", create=True, sync=no_sync)
    publish_rollouts(store, made.student, [random_rows(30)])
    build_signal(store, made.teacher, ref="math/signal")
    for name, value in hub.environment(tmp_path / "cache", token=TOKEN).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOPD_STORE", str(store.root))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    reader = Reader(tmp_path)
    for block in blocks(PAGE):
        reader.read(block)
    assert hub.repository("org/math-signal").tags.keys() == {"v1", "v2"}
