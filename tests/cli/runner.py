"""The commands in this process: exit code, stdout, stderr."""

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from lopd_cli.store import main
from lopd_store.store import Store


@dataclass(frozen=True)
class Said:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*words: object, **environment: str) -> Said:
    """Run `lopd-store WORDS`. An exception that the commands do not handle is raised here."""
    result = CliRunner().invoke(main, [str(word) for word in words], env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def verify(store: Store, target: object = "signal", *more: object) -> Said:
    """What `verify TARGET --json` says."""
    return run("verify", target, "--json", "--store", store.root, *more)


def kinds(said: Said) -> set[str]:
    """The kinds of problem; each says where, what was expected and what was found."""
    problems = said.json["problems"]
    assert said.json["ok"] == (not problems)
    for problem in problems:
        assert problem["where"]
        assert problem["expected"]
        assert problem["found"] is not None
    return {problem["kind"] for problem in problems}
