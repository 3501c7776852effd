"""Tiny models, an honest chain, and an empty store to import into."""

import json
from pathlib import Path

import pytest

from lopd_store.identity.model import Fingerprint
from lopd_store.importing import NamedTokenizer
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import rows_in
from tests.building.fixtures import lineage, models, origin_lineage, other, student, teacher
from tests.building.lineage import Lineage
from tests.importing.cases import COLUMNS, Case
from tests.importing.files import write_lines

__all__ = ["lineage", "models", "origin_lineage", "other", "student", "teacher"]


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty", create=True, sync=no_sync)


@pytest.fixture(scope="session")
def tokenizer(models: dict[str, Path]) -> NamedTokenizer:
    return NamedTokenizer.open(str(models["teacher"]))


@pytest.fixture
def case(lineage: Lineage, teacher: Fingerprint, tmp_path: Path) -> Case:
    rows = rows_in(lineage.store, "signal").to_pylist()
    lines = [json.dumps({name: row[name] for name in COLUMNS}) for row in rows]
    path = write_lines(tmp_path / "rows.jsonl", lines)
    return Case(lineage=lineage, path=path, teacher=teacher)
