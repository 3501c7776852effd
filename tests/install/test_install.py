"""`pip install .` into an empty environment: the store and its commands, the schemas, no torch."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store

ROOT = Path(__file__).parents[2]
UNREACHABLE = ("No matching distribution", "Connection", "ConnectTimeout", "ProxyError", "resolve")


def pip(python: Path | str, *words: object) -> None:
    """Run pip; skip, saying why, only where it reaches no index."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip(f"pip reaches no index here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (found,) = folder.glob("lopd-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment in which lopd was installed as anybody would."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip(folder / "bin" / "python", "install", "--quiet", wheel)
    return folder / "bin"


def run(installed: Path, *words: object) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(installed / str(words[0])), *map(str, words[1:])]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=installed, env=environment
    ).stdout


def test_the_wheel_holds_the_packages_and_the_schemas_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"lopd_store", "lopd_train", "lopd_cli"}
    assert "lopd_store/py.typed" in names
    for path in (ROOT / "schemas" / "v1").rglob("*.json"):
        assert f"lopd_store/_schemas/{path.relative_to(ROOT / 'schemas')}" in names


def test_the_commands_run_without_torch(installed: Path) -> None:
    assert run(installed, "lopd-store", "--help").startswith("Usage: ")
    assert "0.1.0" in run(installed, "lopd-store", "--version")
    code = "import importlib.util as u; print([m for m in ('torch', 'vllm') if u.find_spec(m)])"
    assert run(installed, "python", "-c", code) == "[]\n"


def test_the_project_claims_no_common_name(installed: Path) -> None:
    names = ("lopd_store", "lopd_train", "lopd_cli", "schemas", "cli", "tests", "examples")
    code = f"import importlib.util as u; print([m for m in {names} if u.find_spec(m)])"
    assert run(installed, "python", "-c", code) == "['lopd_store', 'lopd_train', 'lopd_cli']\n"


def test_an_artifact_is_verified_and_shown_without_torch(installed: Path, signal: Store) -> None:
    """Reads the schemas inside the wheel, the tokenizer, every shard."""
    said = run(installed, "lopd-store", "verify", "signal", "--store", signal.root)
    assert said.endswith("ok (depth 1, integrity)\n")
    artifact = str(load(signal, "signal").id)
    assert artifact in run(installed, "lopd-store", "show", "signal", "--store", signal.root)


def test_signing_says_what_to_install(installed: Path, tmp_path: Path, wheel: Path) -> None:
    command = [str(installed / "lopd-store"), "keygen", str(tmp_path / "key")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "error: expected the package cryptography: pip install 'lopd[sign]'\n"
    assert (done.returncode, done.stderr) == (2, said)
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = packed.read(name).decode()
    assert "Provides-Extra: sign\n" in metadata
    assert "Requires-Dist: cryptography>=42; extra == 'sign'\n" in metadata


def test_an_engine_that_is_not_installed_is_named_with_what_to_install(
    installed: Path, signal: Store, models: dict[str, Path]
) -> None:
    command = [str(installed / "lopd-store"), "build", "rollouts", "-o", "x", "--store"]
    command += [str(signal.root), "--teacher", str(models["teacher"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=installed)
    assert done.returncode == 7
    assert "pip install 'lopd[vllm]'" in done.stderr


def test_the_consistency_check_runs_without_torch(
    installed: Path, signal: Store, student: Fingerprint
) -> None:
    words = ("verify", "signal", "--student", student.folder, "--store", signal.root)
    done = subprocess.run(
        [installed / "lopd-store", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert "no-stamp" in done.stdout


def test_the_trainer_says_what_to_install(installed: Path) -> None:
    done = subprocess.run(
        [installed / "lopd-train", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: expected the package torch: pip install 'lopd[train]'\n"
