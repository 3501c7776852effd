"""`lopd-store import`: what it prints, where, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from tests.cli.runner import Said, run
from tests.importing.files import line_rows, release_rows, write_lines, write_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "f.parquet", release_rows(12, shortest=0, seed=5))


def take(store: Store, path: Path, layout: str, *more: object) -> Said:
    return run("import", path, "--format", layout, "-o", "signal", "--store", store.root, *more)


def test_all_that_is_unknown_is_said_loudly(
    empty: Store, release: Path, teacher: Fingerprint
) -> None:
    said = take(empty, release, "lightning-opd", "--tokenizer", teacher.folder)
    assert said.code == 0
    ref, artifact = said.out.split()
    assert (ref, artifact) == ("signal", str(empty.refs.list()["signal"].digest))
    for line in (
        "WARNING: what the file does not prove is recorded as asserted or unknown:",
        "  teacher    UNKNOWN",
        "  scoring    UNKNOWN",
        "  policy     UNKNOWN",
        "  sampling   UNKNOWN",
        "  tokenizer  asserted, not proved: ",
        "  ids        RETOKENISED",
        "lopd-store build signal --teacher SFT_TEACHER -o NEW",
        "lopd-store verify signal --teacher T --rescore 32",
        "skipped 1 (1 empty-response): lopd-store show signal --skipped",
        "responses are known to have stopped",
    ):
        assert line in said.err
    shown = run("show", "signal", "--store", empty.root)
    assert shown.code == 0
    facts = dict(line.split(None, 1) for line in shown.out.splitlines() if len(line.split()) > 1)
    assert facts["teacher"] == facts["policy"] == "UNKNOWN"
    assert facts["unknown"] == "eos, policy, sampling, scoring, teacher"
    assert facts["tokenizer"].startswith("asserted, not proved: ")
    assert "read as lightning-opd, retokenised" in facts["imported"]


def test_what_is_asserted_is_said_to_be_that(
    empty: Store, release: Path, teacher: Fingerprint
) -> None:
    said = take(
        empty, release, "lightning-opd", "--teacher", teacher.folder, "--policy", teacher.folder,
        "--engine-name", "sglang", "--dtype", "bfloat16",
    )  # fmt: skip
    assert said.code == 0
    named = f"asserted, not proved: weights {teacher.model.weights_digest.short}"
    assert f"  teacher    {named}" in said.err
    assert f"  policy     {named}" in said.err
    assert "  scoring    asserted, not proved: dtype bfloat16, engine sglang" in said.err
    shown = run("show", "signal", "--store", empty.root).out
    assert named in shown
    assert "asserted, not proved: dtype bfloat16, engine sglang" in shown
    listed = run("ls", "--store", empty.root).out
    assert f"{teacher.model.weights_digest.short}?" in listed
    checked = run("verify", "signal", "--teacher", teacher.folder, "--store", empty.root, "--json")
    assert checked.code == 6
    assert [one["kind"] for one in checked.json["problems"]] == ["asserted-teacher"]


def test_json_on_stdout_has_the_record_and_the_words_go_elsewhere(
    empty: Store, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "rows.jsonl", line_rows(4))
    said = take(empty, path, "jsonl", "--json")
    found: dict[str, Any] = json.loads(said.out)
    assert (found["ref"], found["kind"], found["rows"]) == ("signal", "signal", 4)
    assert found["imported"]["tokenizer"] == "unknown"
    assert "teacher" in found["imported"]["unknown"]
    assert found["finish_reasons"] == {"unknown": 4}
    assert "  tokenizer  UNKNOWN" in said.err
    shown = run("show", "signal", "--store", empty.root, "--json").json
    assert (shown["teacher"], shown["tokenizer"], shown["id"]) == (None, None, found["id"])
    assert "tokenizer  UNKNOWN" in " ".join(
        run("show", "signal", "--store", empty.root).out.split("\n")
    ).replace("tokenizer      UNKNOWN", "tokenizer  UNKNOWN")


def test_rollouts_are_told_what_comes_next(empty: Store, tmp_path: Path) -> None:
    rows = line_rows(2)
    for row in rows:
        del row["teacher_logprobs"]
    said = take(empty, write_lines(tmp_path / "r.jsonl", rows), "jsonl", "--kind", "rollouts")
    assert said.code == 0
    assert "next: lopd-store build signal --teacher SFT_TEACHER -o NEW" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["none.parquet", "--format", "lightning-opd"], 4),
        (["rows.jsonl", "--format", "lightning-opd"], 5),
        (["f.parquet", "--format", "lightning-opd"], 2),
        (["f.parquet", "--format", "verl"], 2),
        (["rows.jsonl", "--format", "jsonl", "--tokenizer", "none"], 2),
        (["rows.jsonl", "--format", "jsonl", "--on-error", "fail"], 5),
    ],
    ids=["no file", "other format", "no tokenizer", "no reader", "no model", "a bad row"],
)
def test_what_goes_wrong_ends_with_its_code(
    words: list[str], code: int, empty: Store, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(release.parent / "rows.jsonl", [*line_rows(1), "no"])
    monkeypatch.chdir(release.parent)
    said = run("import", *words, "-o", "x", "--store", empty.root)
    assert said.code == code
    assert said.out == ""
    assert empty.refs.list() == {}


def test_a_strangers_text_does_not_move_the_cursor(empty: Store, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", line_rows(1))
    said = take(empty, path, "jsonl", "--engine-name", "a\x1b[2Jb")
    shown = run("show", "signal", "--store", empty.root)
    assert (said.code, shown.code) == (0, 0)
    assert "\x1b" not in said.err + said.out + shown.out
    assert "engine a\\u001b[2Jb" in said.err
