"""`export` as a person runs it: a file, a line or JSON about it, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from lopd_cli.errors import Commands
from lopd_cli.exporting import export
from lopd_store.digest import Digest
from tests.building.chain import build_signal, set_aside
from tests.train.signals_made import Made, make_signals
from tests.verify.tamper import shard_paths

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Made) -> Run:
    group = Commands("lopd-store", commands={"export": export})

    def call(*words: object) -> Result:
        given = [*map(str, words), "--store", str(made.store.root)]
        return CliRunner().invoke(group, ["export", *given])

    return call


@pytest.mark.parametrize("layout", ["slime", "trl", "verl"])
def test_json_says_what_was_written(layout: str, run: Run, made: Made, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    result = run("signal", "--format", layout, "-o", path, "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said | {"source": None} == {
        "path": str(path),
        "format": layout,
        "rows": 12,
        "tokens": said["tokens"],
        "left_out": 0,
        "bytes": path.stat().st_size,
        "sha256": Digest.of_file(path).hex,
        "source": None,
    }
    assert said["source"]["artifact"] == str(made.signal)
    assert pq.read_metadata(path).num_rows == 12


def test_without_json_it_is_a_line(run: Run, tmp_path: Path) -> None:
    result = run("signal", "--format", "trl", "-o", tmp_path / "out")
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    assert "12 rows" in line
    assert Digest.of_file(tmp_path / "out").short in line


def test_a_file_is_replaced_by_force_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refused = run("signal", "--format", "trl", "-o", tmp_path / "out")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "out").read_text() == "mine"
    assert run("signal", "--format", "trl", "-o", tmp_path / "out", "--force").exit_code == 0
    assert pq.read_metadata(tmp_path / "out").num_rows == 12


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nothing", "--format", "trl"), 4),
        (("signal", "--format", "axolotl"), 2),
        (("rollouts", "--format", "verl"), 2),
    ],
    ids=["no-such-ref", "no-such-format", "nobody-scored"],
)
def test_what_cannot_be_exported_leaves_no_file(
    words: tuple[str, ...], code: int, run: Run, tmp_path: Path
) -> None:
    result = run(*words, "-o", tmp_path / "out")
    assert result.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_shard_leaves_no_file(run: Run, made: Made, tmp_path: Path) -> None:
    """The last shard of two: what was written before it is not left behind."""
    build_signal(made.store, made.teacher, ref="damaged", shard_tokens=100)
    path = shard_paths(made.store, "damaged")[-1]
    with set_aside(path):
        path.write_bytes(path.with_name(path.name + ".aside").read_bytes()[::-1])
        result = run("damaged", "--format", "slime", "-o", tmp_path / "out")
        path.unlink()
    assert result.exit_code == 3
    assert "digest-mismatch" in result.stderr
    assert list(tmp_path.iterdir()) == []
