"""Fenced blocks of a Markdown page, run as a reader would type them."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<head>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"export (\w+)=(\S+)")


@dataclass(frozen=True)
class Block:
    language: str
    attributes: dict[str, str]
    body: str


def blocks(page: Path) -> Iterator[Block]:
    for match in _FENCE.finditer(page.read_text()):
        language, *rest = shlex.split(match["head"]) or [""]
        yield Block(language, dict(word.split("=", 1) for word in rest), match["body"])


def commands(block: Block) -> list[str]:
    joined = block.body.replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ ")]


class Reader:
    """Somebody at a terminal in `folder`, with our commands on the path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        bin_folder = str(Path(sys.executable).parent)
        self._environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}

    def read(self, block: Block) -> None:
        if block.language == "python":
            self._run([sys.executable, "-c", block.body], expected=0)
            return
        for command in commands(block):
            if export := _EXPORT.match(command):
                self._environment[export[1]] = export[2]
            else:
                expected = int(block.attributes.get("exit", "0"))
                self._run(["bash", "-c", command], expected=expected)

    def _run(self, command: list[str], *, expected: int) -> None:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != expected:
            raise AssertionError(
                f"{command[-1]}\nexpected exit {expected}, found {done.returncode}\n"
                f"{done.stdout}\n{done.stderr}"
            )
