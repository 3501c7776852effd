"""Real processes with the transformers engine: killed, stopped, side by side, twice at once."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import publish_rollouts, random_rows
from tests.cli.runner import run

ROWS = 500
OPTIONS = ("--engine", "transformers", "--chunk-tokens", "400", "--json")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, student: Fingerprint) -> Path:
    """A store with enough rollouts for a process to be caught at work."""
    root = tmp_path_factory.mktemp("source") / "store"
    store = Store.open(root, create=True, sync=no_sync)
    publish_rollouts(store, student, [random_rows(ROWS, seed=5)])
    return root


@pytest.fixture(scope="module")
def expected(source: Path, models: dict[str, Path]) -> str:
    """The id that an uninterrupted build in a store of its own comes to."""
    words = ("rollouts", "--teacher", models["teacher"], "-o", "signal", "--store", source)
    said = run("build", *words, *OPTIONS)
    assert said.code == 0
    return str(said.json["id"])


@pytest.fixture
def fresh(tmp_path: Path, student: Fingerprint) -> Path:
    root = tmp_path / "fresh"
    publish_rollouts(Store.open(root, create=True), student, [random_rows(ROWS, seed=5)])
    return root


def build(root: Path, teacher: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from lopd_cli.store import main; main()", "build", "rollouts"]
    command += ["--teacher", str(teacher), "-o", "signal", "--store", str(root), *OPTIONS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_chunks(process: "subprocess.Popen[str]", root: Path, count: int) -> None:
    while len(list(root.glob(".lopd/builds/*/chunk-*.arrow"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_killed_then_stopped_then_run_again_a_build_comes_to_the_same_artifact(
    fresh: Path, models: dict[str, Path], expected: str
) -> None:
    killed = build(fresh, models["teacher"])
    wait_for_chunks(killed, fresh, 2)
    killed.send_signal(signal.SIGKILL)
    assert finished(killed)[0] == -signal.SIGKILL
    for number, exit_code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        kept = len(list(fresh.glob(".lopd/builds/*/chunk-*.arrow")))
        stopped = build(fresh, models["teacher"])
        wait_for_chunks(stopped, fresh, kept + 2)
        stopped.send_signal(number)
        code, out, err = finished(stopped)
        assert (code, out) == (exit_code, "")
        assert "stopped: what was finished is kept" in err
        assert "Traceback" not in err
    assert list(Store.open(fresh).refs.list()) == ["rollouts"]
    assert Store.open(fresh).fsck() == []
    code, out, err = finished(build(fresh, models["teacher"]))
    assert code == 0
    assert json.loads(out)["id"] == expected
    assert json.loads(out)["resumed_tokens"] > 0
    assert run("verify", "signal", "--store", fresh).code == 0


def test_two_engines_side_by_side_come_to_the_same_artifact(
    fresh: Path, models: dict[str, Path], expected: str
) -> None:
    code, out, err = finished(build(fresh, models["teacher"], "--data-parallel", "2"))
    assert code == 0, err
    assert json.loads(out)["id"] == expected


def test_parts_in_two_processes_at_once_come_to_the_same_artifact(
    fresh: Path, models: dict[str, Path], expected: str
) -> None:
    parts = [build(fresh, models["teacher"], "--shard", part) for part in ("1/2", "2/2")]
    found = [finished(part) for part in parts]
    assert [code for code, _, _ in found] == [0, 0]
    ids = [json.loads(out)["id"] for _, out, _ in found]
    assert expected in ids
    assert set(ids) <= {expected, None}
    assert Store.open(fresh).refs.resolve("signal").text == expected


@pytest.mark.usefixtures("expected")
def test_numbers_that_a_publisher_altered_exit_6_when_scored_again(
    source: Path, models: dict[str, Path]
) -> None:
    where = ("--store", source, "--engine", "transformers", "--rescore", 8)
    assert run("verify", "signal", "--teacher", models["teacher"], *where).code == 0
    said = run("verify", "signal", "--teacher", models["student"], *where)
    assert said.code == 6
    assert "other-weights: expected weights" in said.out
