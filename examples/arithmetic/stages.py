"""A list of commands, each skipped when its result exists and was made from the same inputs."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest, tagged

SOURCES: Final = Path(__file__).parent
# Threads that wait without spinning: the same speed on a quiet machine, ten times on a busy one.
ENVIRONMENT: Final = {"OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the demo.

    Attributes:
        name: a word for its record; unique.
        title: what happens, for people.
        command: what runs.
        inputs: name → digest of everything the result depends on, the command apart.
        result: the digest of what the command leaves behind, or None when it is not there;
            None for a step that only prints, which always runs.
        report: a text file that the command writes; shown when the step is skipped too.
        folder: what the command goes on with; removed when it was made from something else.
    """

    name: str
    title: str
    command: Sequence[str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    result: Callable[[], str | None] | None = None
    report: Path | None = None
    folder: Path | None = None


class Runner:
    """Runs stages in order; remembers in `records` what each was made from."""

    def __init__(self, records: Path) -> None:
        self._records = records
        self._started = time.monotonic()
        self._names: list[str] = []

    def run(self, stage: Stage) -> str:
        """Run `stage` unless it is done; its result's digest, or "" when it has none.

        Raises:
            ValueError: a second stage of the same name: the two would share a record.
        """
        if stage.name in self._names:
            raise ValueError(f"expected a new stage name, found {stage.name!r} again")
        self._names.append(stage.name)
        record = self._records / f"{stage.name}.json"
        wanted = _key(stage)
        found = stage.result() if stage.result else None
        before = _read(record)
        if found is not None and before == {"inputs": wanted, "result": found}:
            self._heading(stage, "found, nothing to do")
            if stage.report:
                print(stage.report.read_text(), end="")
            return found
        self._heading(stage, "$ " + shlex.join([Path(stage.command[0]).name, *stage.command[1:]]))
        if stage.folder and before is not None and before["inputs"] != wanted:
            shutil.rmtree(stage.folder, ignore_errors=True)
        environment = os.environ | ENVIRONMENT
        if code := subprocess.run(stage.command, env=environment, check=False).returncode:
            raise SystemExit(f"{stage.title}: the command above ended with exit code {code}")
        if stage.result is None:
            return ""
        if (made := stage.result()) is None:
            raise SystemExit(f"{stage.title}: the command ended well but left nothing behind")
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"inputs": wanted, "result": made}))
        return made

    def _heading(self, stage: Stage, note: str) -> None:
        elapsed = time.monotonic() - self._started
        print(
            f"\n[{elapsed:5.0f} s] {len(self._names)}. {stage.title}\n          {note}", flush=True
        )


def model_digest(folder: Path) -> str | None:
    """`folder_digest` of a model that `lopd-train` wrote; None until its stamp, written last."""
    return folder_digest(folder) if (folder / "lopd.json").is_file() else None


def folder_digest(folder: Path) -> str | None:
    """A digest over the names and bytes of the files in `folder`; None when it is not there."""
    if not folder.is_dir():
        return None
    parts: list[bytes] = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        parts += [file.name.encode(), str(Digest.of_file(file)).encode()]
    return str(tagged("lopd.example.folder.v1", *parts))


def file_digest(file: Path) -> str | None:
    """The digest of a file's bytes; None when it is not there."""
    return str(Digest.of_file(file)) if file.is_file() else None


def sources_digest(*modules: str) -> str:
    """A digest over the named modules of this example: edit one and its stages run again."""
    parts = [(SOURCES / f"{module}.py").read_bytes() for module in modules]
    return str(tagged("lopd.example.sources.v1", *parts))


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this example."""
    return [sys.executable, "-m", f"examples.arithmetic.{name}", *map(str, arguments)]


def _key(stage: Stage) -> str:
    text = json.dumps([list(stage.command), dict(stage.inputs)], sort_keys=True)
    return str(Digest.of(text.encode()))


def _read(record: Path) -> dict[str, str] | None:
    found: dict[str, str] | None = json.loads(record.read_text()) if record.exists() else None
    return found
