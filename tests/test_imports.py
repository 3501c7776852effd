"""What importing costs: no engine package comes in with the store or the commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "vllm", "transformers", "ray")
ROOT = Path(__file__).parents[1]
# Each of these files is the one place that imports its engine; the last three are the trainer's.
ENGINES = {
    "lopd_store.engines.transformers",
    "lopd_store.engines.vllm",
    "lopd_store.engines.vllm_engine",
    "lopd_cli.journal",
    "lopd_cli.training",
    "lopd_cli.training_options",
}


def modules() -> list[str]:
    found = []
    for package, folder in (("lopd_store", ROOT), ("lopd_cli", ROOT / "cli")):
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def loaded_after(code: str) -> set[str]:
    """The heavy packages in `sys.modules` after `code` ran in a process of its own."""
    code += f"\nimport json, sys\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_module_but_the_engines_imports_an_engine_package() -> None:
    """One process that imports them one after another and says which one brought what."""
    names = [name for name in modules() if name not in ENGINES]
    assert len(names) > 60
    code = (
        "import importlib, sys\n"
        "brought = {}\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    new = [m for m in {HEAVY} if m in sys.modules and m not in brought]\n"
        "    brought |= {m: name for m in new}\n"
        "assert not brought, brought"
    )
    assert loaded_after(code) == set()


def test_the_engine_files_are_there() -> None:
    assert set(modules()) >= ENGINES


@pytest.mark.parametrize(
    "words", [["--help"], ["build", "--help"], ["ls", "--store", "STORE"]], ids=" ".join
)
def test_a_command_that_needs_no_engine_imports_none(words: list[str], tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from lopd_store.store import Store\n"
        "from lopd_cli.store import main\n"
        f"Store.open(Path({str(tmp_path / 'store')!r}), create=True)\n"
        f"words = [w.replace('STORE', {str(tmp_path / 'store')!r}) for w in {words}]\n"
        "main(words, standalone_mode=False)"
    )
    assert loaded_after(code) == set()
