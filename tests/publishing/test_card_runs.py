"""Whatever a card says to type works for this artifact: all of it is typed here."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from lopd_store.identity.model import Fingerprint
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.store import Store
from tests.building.lineage import Lineage
from tests.hub.clients import Client
from tests.hub_server import TOKEN, Hub, running
from tests.importing.files import line_rows, release_rows, write_lines, write_release
from tests.publishing.card_facts import blocks_in, commands_in

_RUN: Final = """
import json, os, sys
from pathlib import Path
from click.testing import CliRunner
from lopd_cli import store, training
programs = {"lopd-store": store.main, "lopd-train": training.commands}
for folder, commands, python in json.loads(sys.argv[2]):
    here = Path(sys.argv[1], folder)
    here.mkdir()
    os.chdir(here)
    for program, *words in commands:
        said = CliRunner().invoke(programs[program], words, env={"LOPD_STORE": "store"})
        print("said", json.dumps([folder, program, words, said.exit_code, said.output]))
    for names, code in ({}, python[:1]), ({}, python[1:]):
        exec("\\n".join(code), names)
        print("said", json.dumps([folder, "rows", [], len(names["rows"]), ""]))
"""
REFS: Final = ("signal", "rollouts", "sft", "file", "rolled", "release")
_QUICK: Final = ("--steps", "1", "--batch", "4", "--micro-batch-tokens", "64")


@pytest.mark.soak
def test_all_that_cards_say_to_type_works(
    lineage: Lineage, teacher: Fingerprint, tmp_path: Path
) -> None:
    _take_in(lineage.store, teacher, tmp_path)
    with running(Hub()) as hub:
        person = Client(tmp_path, hub.environment(tmp_path / "cache", token=TOKEN))
        for ref in REFS:
            name = f"org/data/{ref}@{ref}-1"
            said = person.lopd_store("push", ref, name, LOPD_STORE=str(lineage.store.root))
            assert said.code == 0, said.err
        head = hub.repository("org/data")
        card = head.blobs[head.commits[head.branches["main"]].files["README.md"].etag].decode()
        sections = dict(_sections(card))
        assert tuple(sections) == REFS
        work = [
            (ref, list(_typed(text, teacher.folder, lineage.student)), _python(text))
            for ref, text in sections.items()
        ]
        (tmp_path / "runs").mkdir()
        lines = person.python(
            _RUN, tmp_path / "runs", json.dumps(work), LOPD_STORE="store"
        ).out.splitlines()
    ran = [json.loads(line[5:]) for line in lines if line.startswith("said ")]
    assert len(ran) == sum(len(commands) + 2 for _, commands, _ in work) > 40
    for folder, program, words, code, output in ran:
        asked = (12 if folder in REFS[:2] else 5,) if program == "rows" else _right(words)
        assert code in asked, (folder, program, words, output)


def _take_in(store: Store, teacher: Fingerprint, folder: Path) -> None:
    """Imports: nothing known; rollouts of a known tokenizer; ids made from text."""
    claims = Claims(tokenizer=NamedTokenizer.open(str(teacher.folder)))
    lines = line_rows(5)
    path = write_lines(folder / "file.jsonl", lines)
    import_file(store, path, format="jsonl", ref="file", claims=Claims())
    rolled = [{name: row[name] for name in ("prompt_ids", "response_ids")} for row in lines]
    path = write_lines(folder / "rolled.jsonl", rolled)
    import_file(store, path, format="jsonl", ref="rolled", claims=claims, kind="rollouts")
    path = write_release(folder / "release.parquet", release_rows(5))
    said = Claims(teacher=teacher)
    import_file(store, path, format="lightning-opd", ref="release", claims=said)


def _sections(card: str) -> Iterator[tuple[str, str]]:
    part = r"<!-- lopd:begin (\w+)/train -->(.*?)<!-- lopd:end \1"
    yield from re.findall(part, card, re.DOTALL)


def _typed(section: str, teacher: object, student: Path) -> Iterator[Sequence[str]]:
    """The commands with models that are there, on an engine that runs here."""
    there = {
        "TEACHER": str(teacher),
        "SFT_TEACHER": str(teacher),
        "path/to/student": str(student),
        "path/to/base": str(student),
    }
    inline = re.findall(r"`(lopd-store verify [^`]*--student [^`]*)`", section)
    for program, *words in (*commands_in(section), *(one.split() for one in inline)):
        if program == "duckdb":  # see test_card_usage
            continue
        more: tuple[str, ...] = _QUICK if program == "lopd-train" else ()
        if words[0] == "build" or "--rescore" in words:
            more = ("--engine", "transformers")
        yield [program, *(there.get(word, word) for word in words), *more]


def _python(section: str) -> list[str]:
    """The two ways to the rows, each as code of its own."""
    (code,) = blocks_in(section, "python")
    head, _, tail = code.partition("# the same rows")
    plain = "\n".join(line for line in head.splitlines() if "lopd_store" not in line)
    return [plain, f"from lopd_store import open_signal\n# the same rows{tail}"]


def _right(words: list[Any]) -> tuple[int, ...]:
    """The exit codes that are right: numbers of another engine are not the teacher's own."""
    return (0, 6) if "--rescore" in words else (0,)
