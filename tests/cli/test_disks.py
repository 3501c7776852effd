"""Read-only and full disks through the commands; skipped, saying so, where mounts are refused."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lopd_store.building.options import EngineOptions
from tests.building.chain import Arithmetic
from tests.cli.runner import run


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not permit `mount {' '.join(words)}`: {done.stderr}")


@pytest.fixture
def disk(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small disk with a store that has a signal; any engine is the arithmetic one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    shutil.copytree(built, folder / "store")
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Arithmetic())
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_store_is_read_and_refuses_the_rest(
    disk: Path, models: dict[str, Path]
) -> None:
    mount("-o", "remount,ro", str(disk))
    where = ("--store", disk / "store")
    for name in ("ls", "fsck"):
        assert run(name, *where).code == 0
    for name in ("show", "log", "verify"):
        assert run(name, "signal", *where).code == 0
    assert run("verify", "signal", "--teacher", models["teacher"], *where).code == 0
    assert run("gc", "--dry-run", *where).code == 0
    for words in (("tag", "signal", "x"), ("rm", "signal"), ("gc",)):
        said = run(*words, *where)
        assert said.code == 1
        assert "can be read but not written" in said.err
    said = run("build", "rollouts", "--teacher", models["teacher"], "-o", "x", *where)
    assert said.code == 1
    assert "can be read but not written" in said.err


def test_a_full_disk_is_said_and_once_there_is_space_the_build_goes_on(
    disk: Path, models: dict[str, Path]
) -> None:
    where = ("--store", disk / "store")
    words = ("build", "rollouts", "--teacher", models["teacher"], "-o", "x", "--chunk-tokens", 70)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > 60_000:
            file.write(bytes(4096))
    said = run(*words, *where)
    assert said.code == 1
    assert "No space left on device: free some space" in said.err
    assert run("fsck", *where).code == 0
    ballast.unlink()
    said = run(*words, *where, "--json")
    assert said.code == 0
    assert said.json["resumed_tokens"] > 0
    assert run("verify", "x", *where).code == 0
