"""Fixtures that several folders' conftest.py take over: two tiny models and their rollouts."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, publish_rollouts, random_rows
from tests.building.lineage import Lineage, make_lineage

ROWS = 60


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`teacher` and `student` of one tokenizer; `padded` is a teacher with more vocabulary rows."""
    from tests.models import save_model

    root = tmp_path_factory.mktemp("models")
    return {
        "teacher": save_model(root / "teacher", seed=1),
        "student": save_model(root / "student", seed=2),
        "padded": save_model(root / "padded", seed=3, vocab_size=384),
    }


@pytest.fixture(scope="session")
def teacher(models: dict[str, Path]) -> Fingerprint:
    return fingerprint(str(models["teacher"]))


@pytest.fixture(scope="session")
def student(models: dict[str, Path]) -> Fingerprint:
    return fingerprint(str(models["student"]))


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory, student: Fingerprint) -> Path:
    """A store with 60 rollouts; copied for each test."""
    root = tmp_path_factory.mktemp("origin") / "store"
    publish_rollouts(Store.open(root, create=True, sync=no_sync), student, [random_rows(ROWS)])
    return root


@pytest.fixture(scope="session")
def built(origin: Path, teacher: Fingerprint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a signal of several shards made from the rollouts; copied for each test."""
    root = Path(shutil.copytree(origin, tmp_path_factory.mktemp("built") / "store"))
    build_signal(Store.open(root, sync=no_sync), teacher)
    return root


@pytest.fixture
def signal(built: Path, tmp_path: Path) -> Store:
    return Store.open(Path(shutil.copytree(built, tmp_path / "signal-store")), sync=no_sync)


@pytest.fixture
def root(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "store"))


@pytest.fixture
def store(root: Path) -> Store:
    return Store.open(root, sync=no_sync)


@pytest.fixture(scope="session")
def origin_lineage(
    tmp_path_factory: pytest.TempPathFactory, teacher: Fingerprint, models: dict[str, Path]
) -> Lineage:
    folder = tmp_path_factory.mktemp("lineage")
    return make_lineage(folder, wrote=teacher, student=models["student"])


@pytest.fixture
def lineage(origin_lineage: Lineage, tmp_path: Path) -> Lineage:
    """An honest chain."""
    folder = Path(shutil.copytree(origin_lineage.store.root.parent, tmp_path / "lineage"))
    store = Store.open(folder / "store")
    return replace(origin_lineage, store=store, student=folder / "student")


@pytest.fixture
def other(models: dict[str, Path]) -> Fingerprint:
    """Another teacher, of the same tokenizer."""
    return fingerprint(str(models["padded"]))


__all__ = [
    "built",
    "lineage",
    "models",
    "origin",
    "origin_lineage",
    "other",
    "root",
    "signal",
    "store",
    "student",
    "teacher",
]
