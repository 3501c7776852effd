"""kill -9 of whoever writes: what was called stored is there, once, and nothing is broken."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import arithmetic, rows_in
from tests.serving.caching_server import REF, Clients, caching_server, sequences
from tests.serving.live_teacher import LiveTeacher, running
from tests.serving.test_growth import some_records

WORKERS = Path(__file__).with_name("kill_workers.py")


def report_of(*words: object) -> Any:
    command = [sys.executable, str(WORKERS), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_killed_writers(folder: Path, *, kills: int) -> None:
    report = report_of("append", folder, 1, kills)
    assert report["wrong"] == []
    assert report["told"] > kills


def test_what_a_killed_writer_told_of_is_in_the_journal(tmp_path: Path) -> None:
    check_killed_writers(tmp_path, kills=40)


@pytest.mark.soak
def test_what_hundreds_of_killed_writers_told_of_is_in_the_journal(tmp_path: Path) -> None:
    check_killed_writers(tmp_path, kills=1500)


@pytest.fixture(scope="module")
def journalled(tmp_path_factory: pytest.TempPathFactory, teacher: Fingerprint) -> Path:
    """A store whose ref has 20 rows, and a journal with five of them and 20 more."""
    root = tmp_path_factory.mktemp("journalled") / "store"
    growth = Growth(Store.open(root, create=True), REF, shard_tokens=300)
    live = Teacher(fingerprint=teacher)
    identity = live.identity({})
    growth.prepare(identity, live.tokenizer_blob)
    records = some_records(40)
    growth.journal.append(records[:20], identity=identity.digest)
    growth.publish()
    growth.journal.append(records[15:30], identity=identity.digest)
    growth.journal.roll()
    growth.journal.append(records[30:], identity=identity.digest)
    growth.journal.roll()
    return root


def check_killed_publications(root: Path, *, first: int, step: int) -> None:
    report = report_of("grow", root, first, step)
    assert report["wrong"] == []
    assert report["ids"] == [report["expected"]]
    assert report["rows"] == 40
    assert report["kills"] >= 60 // step
    assert report["moved"] > 0


def test_killed_at_steps_all_over_a_publication_the_next_one_ends_it(journalled: Path) -> None:
    check_killed_publications(journalled, first=4, step=23)


@pytest.mark.soak
def test_killed_at_every_step_of_a_publication_the_next_one_ends_it(journalled: Path) -> None:
    check_killed_publications(journalled, first=1, step=1)


def kill_servers(tmp_path: Path, teacher: Path, *, kills: int, clients: int) -> dict[str, int]:
    """Caching servers killed under load, one after the other; then what is in the store.

    Law: what any of them called stored is a row with the teacher's numbers, exactly once, and was
    not asked for by a later one.
    """
    root = tmp_path / "store"
    chance = random.Random(5)  # noqa: S311 - no secret
    promised: set[tuple[int, ...]] = set()
    with running(LiveTeacher()) as live:
        for life in range(kills + 1):
            pool = sequences(150 * (life + 1), seed=3)
            live.scored.clear()
            with caching_server(root, teacher, live, "--publish-every", "1500") as (url, process):
                crowd = Clients(url, pool, count=clients, seed=life)
                assert crowd.first.wait(60)
                time.sleep(chance.uniform(0.0, 0.6))
                if life < kills:
                    process.kill()
                crowd.stop()
            assert crowd.wrong == []
            assert not promised & set(live.scored)
            promised |= crowd.promised
            assert Store.open(root).fsck() == []
        expect_rows(Store.open(root), promised)
    return {"promised": len(promised), "rows": load(Store.open(root), REF).document.rows}


def expect_rows(store: Store, promised: set[tuple[int, ...]]) -> None:
    rows = rows_in(store, REF).to_pylist()
    found = [tuple(row["prompt_ids"] + row["response_ids"]) for row in rows]
    assert len(found) == len(set(found))
    assert promised <= set(found)
    for ids, row in zip(found, rows, strict=True):
        assert row["teacher_logprobs"] == arithmetic(list(ids), 1).tolist()
    assert verify_artifact(store, REF, Depth()).problems == []
    assert list(store.builds.glob("*/segment-*")) == []


def test_what_killed_servers_called_stored_is_in_the_store(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    found = kill_servers(tmp_path, models["teacher"], kills=2, clients=6)
    assert found["rows"] >= found["promised"] > 50


@pytest.mark.soak
def test_what_dozens_of_killed_servers_called_stored_is_in_the_store(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    found = kill_servers(tmp_path, models["teacher"], kills=30, clients=20)
    assert found["rows"] >= found["promised"] > 500
