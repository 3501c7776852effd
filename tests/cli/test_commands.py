"""Each command: what it prints, its JSON, its exit code. Engines are arithmetic here."""

import json
import os
import shutil
import signal as signals
from pathlib import Path
from typing import Any

import click
import pytest

from lopd_cli.store import main
from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions
from lopd_store.documents.identity import Identity
from lopd_store.errors import EngineError
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from tests.building.chain import (
    Arithmetic,
    identity_of,
    publish,
    random_rows,
    rows_of,
)
from tests.cli.runner import run

COMMANDS = sorted(main.commands.items())


def test_the_commands_of_this_release_are_all_there() -> None:
    expected = (
        "build diff export fingerprint fsck gc generate import keygen log ls merge pull push rm"
        " serve show sign sql stamp tag verify"
    )
    assert [name for name, _ in COMMANDS] == expected.split()


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_each_command_and_each_option_has_help(name: str, command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    said = run(name, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: ")


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_flags_use_dashes_and_data_comes_as_json_too(name: str, command: click.Command) -> None:
    options = [word for p in command.params for word in p.opts if isinstance(p, click.Option)]
    assert all("_" not in word for word in options)
    assert ("--json" in options) == (name not in {"rm", "stamp", "tag"})


@pytest.fixture
def arithmetic(monkeypatch: pytest.MonkeyPatch) -> Arithmetic:
    """Whatever engine is asked for, it is this one."""
    scorer = Arithmetic()
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: scorer)
    return scorer


def build(root: Path, teacher: Path, source: object = "rollouts", *more: object) -> Any:
    words = ("--teacher", teacher, "-o", "signal", "--chunk-tokens", 300, "--store", root)
    return run("build", source, *words, *more)


def test_build_says_the_ref_and_the_id(
    root: Path, models: dict[str, Path], arithmetic: Arithmetic
) -> None:
    said = build(root, models["teacher"])
    assert said.code == 0
    assert said.out == f"signal {Store.open(root).refs.resolve('signal')}\n"
    again = build(root, models["teacher"], "rollouts", "--json").json
    assert again["id"] == said.out.split()[1]
    assert set(again) == {
        "id", "ref", "rows", "tokens", "resumed_tokens", "pending_chunks", "duplicates", "skipped"
    }  # fmt: skip
    assert sum(arithmetic.calls[:-32]) == 60


def test_build_says_what_it_resumes(
    root: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(Arithmetic):
        def score(self, sequences: Any) -> Any:
            if len(self.calls) == 2:
                raise EngineError("expected an answer, found none")
            return super().score(sequences)

    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Breaks())
    said = build(root, models["teacher"])
    assert (said.code, said.err.splitlines()[-1]) == (7, "error: expected an answer, found none")
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Arithmetic())
    said = build(root, models["teacher"])
    assert said.code == 0
    assert "resuming: " in said.err


def test_ctrl_c_says_that_nothing_is_lost(
    root: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Arithmetic):
        def score(self, sequences: Any) -> Any:
            raise KeyboardInterrupt(len(sequences))

    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Stopped())
    said = build(root, models["teacher"])
    assert said.code == 130
    assert "the same command again goes on" in said.err


def test_a_schedulers_sigterm_stops_as_ctrl_c_does(
    root: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Arithmetic):
        def score(self, sequences: Any) -> Any:
            os.kill(os.getpid(), signals.SIGTERM)
            return super().score(sequences)

    before = signals.getsignal(signals.SIGTERM)
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Stopped())
    said = build(root, models["teacher"])
    assert said.code == 143
    assert "stopped: what was finished is kept; the same command again goes on" in said.err
    assert signals.getsignal(signals.SIGTERM) == before


@pytest.mark.usefixtures("arithmetic")
def test_parts_say_what_is_left(root: Path, models: dict[str, Path]) -> None:
    said = build(root, models["teacher"], "rollouts", "--shard", "1/2")
    assert said.code == 0
    assert "this share is done; " in said.out
    assert build(root, models["teacher"], "rollouts", "--shard", "2/2").out.startswith("signal sha")


@pytest.mark.usefixtures("arithmetic")
def test_a_dry_run_says_tokens_bytes_and_time_and_writes_nothing(
    root: Path, models: dict[str, Path]
) -> None:
    before = lasting(root)
    found = build(root, models["teacher"], "rollouts", "--dry-run", "--json").json
    assert found["rows"] == 60
    assert found["bytes"] > 0
    assert set(found) == {
        "rows", "bad_rows", "tokens", "chunks", "bytes", "seconds", "tokens_per_second"
    }  # fmt: skip
    assert found["bad_rows"] == 0
    assert build(root, models["teacher"], "rollouts", "--dry-run").out.startswith(
        "rows    60, 0 of"
    )
    assert lasting(root) == before


def lasting(root: Path) -> list[Path]:
    """What a store would miss: not what is only remembered."""
    remembered = {"fingerprints", "verified"}
    return sorted(path for path in root.rglob("*") if not remembered & set(path.parts))


@pytest.mark.usefixtures("arithmetic")
def test_skipped_rows_are_said_and_with_fail_named(tmp_path: Path, models: dict[str, Path]) -> None:
    path = tmp_path / "rows.jsonl"
    rows: list[Any] = [{"prompt_ids": [5], "response_ids": [7]}] * 3
    rows[1] = {"prompt_ids": [5], "response_ids": []}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = build(tmp_path / "s", models["teacher"], path, "--on-error", "fail")
    assert said.code == 5
    assert "row 1: empty-response: expected a usable row, found" in said.err
    said = build(tmp_path / "s", models["teacher"], path)
    assert said.code == 0
    assert "skipped 1 (1 empty-response): lopd-store show signal --skipped" in said.err
    where = ("--store", tmp_path / "s")
    (left_out,) = run("show", "signal", "--skipped", "--json", *where).json
    assert (left_out["row"], left_out["reason"]) == (1, "empty-response")
    heading, listed = run("show", "signal", "--skipped", *where).out.splitlines()
    assert heading.split() == ["row", "reason", "detail"]
    assert listed.split()[:2] == ["1", "empty-response"]
    assert "rows that repeat an earlier sample, kept: 1" in said.err
    shown = run("show", "signal", "--json", "--store", tmp_path / "s").json
    assert shown["skipped"] == {"empty-response": 1}
    assert shown["duplicates"] == 1
    assert shown["imported"]["retokenised"] is False


@pytest.mark.usefixtures("arithmetic")
def test_text_that_is_tokenised_again_is_said_loudly_and_recorded(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    path = tmp_path / "rows.jsonl"
    message = {"role": "user", "content": "the thing"}
    path.write_text(json.dumps({"messages": [message], "response": "in the", "answer": 5}) + "\n")
    said = build(tmp_path / "s", models["teacher"], path)
    assert said.code == 0
    assert "WARNING" in said.err
    assert "may not be those that were sampled" in said.err
    shown = run("show", "signal", "--json", "--store", tmp_path / "s").json
    assert shown["imported"]["retokenised"] is True
    assert {"name": "answer", "type": "int64"} in shown["columns"]
    assert run("verify", "signal", "--store", tmp_path / "s").code == 0


def test_a_teacher_with_another_tokenizer_exits_6(
    root: Path, models: dict[str, Path], tmp_path: Path, arithmetic: Arithmetic
) -> None:
    folder = Path(shutil.copytree(models["teacher"], tmp_path / "stranger"))
    path = folder / "tokenizer.json"
    text = path.read_text().replace('"Ġthe": 265', '"Ġthe": 266').replace('"12": 266', '"12": 265')
    path.write_text(text)
    said = build(root, folder)
    assert said.code == 6
    assert "expected vocabulary" in said.err
    assert "found vocabulary" in said.err
    assert arithmetic.calls == []


def test_a_teacher_with_padded_vocabulary_rows_is_taken(
    root: Path, models: dict[str, Path], arithmetic: Arithmetic
) -> None:
    assert build(root, models["padded"]).code == 0
    assert arithmetic.calls


def test_rows_of_no_use_at_all_exit_5_with_reasons(
    tmp_path: Path, models: dict[str, Path], arithmetic: Arithmetic
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt_ids": [], "response_ids": [7]}\n')
    said = build(tmp_path / "s", models["teacher"], path)
    assert said.code == 5
    assert "found none; skipped: 1 empty-prompt" in said.err
    assert arithmetic.calls == []


BAD_WORDS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no-such-rollouts": (("build", "nothing", "--teacher", "TEACHER", "-o", "x"), 4, "no ref"),
    "no-such-file": (("build", "gone.jsonl", "--teacher", "TEACHER", "-o", "x"), 4, "no such file"),
    "no-such-teacher": (("build", "rollouts", "--teacher", "/gone", "-o", "x"), 4, "/gone"),
    "bad-ref": (("build", "rollouts", "--teacher", "TEACHER", "-o", "../x"), 2, "expected"),
    "bad-share": (
        ("build", "rollouts", "--teacher", "TEACHER", "-o", "x", "--shard", "3/2"),
        2,
        "expected a share i/n with 1",
    ),
    "bad-precision": (
        ("build", "rollouts", "--teacher", "TEACHER", "-o", "x", "--max-error", "0.1"),
        2,
        "2^-12",
    ),
    "bad-engine-args": (
        ("build", "rollouts", "--teacher", "TEACHER", "-o", "x", "--engine-args", "[]"),
        2,
        "expected a JSON object",
    ),
    "unknown-engine-args": (
        (
            *("build", "rollouts", "--teacher", "TEACHER", "-o", "x"),
            *("--engine", "transformers", "--engine-args", '{"nonsense": 1}'),
        ),
        2,
        "nonsense",
    ),
    "bad-temperature": (
        (
            *("generate", "--model", "TEACHER", "--prompts", "PROMPTS", "--kind", "sft"),
            *("-o", "x", "--temperature", "hot"),
        ),
        2,
        "temperature",
    ),
    "bad-top-p": (
        (
            *("generate", "--model", "TEACHER", "--prompts", "PROMPTS", "--kind", "sft"),
            *("-o", "x", "--top-p", "2"),
        ),
        2,
        "top",
    ),
    "no-prompts": (
        ("generate", "--model", "TEACHER", "--prompts", "gone.jsonl", "--kind", "sft", "-o", "x"),
        4,
        "no such file",
    ),
    "unknown-kind": (
        ("generate", "--model", "TEACHER", "--prompts", "PROMPTS", "--kind", "signal", "-o", "x"),
        2,
        "signal",
    ),
    "show-nothing": (("show", "nothing"), 4, "nothing"),
    "log-of-nothing": (("log", "nothing"), 4, "nothing"),
    "diff-nothing": (("diff", "rollouts", "nothing"), 4, "nothing"),
    "rm-nothing": (("rm", "nothing"), 4, "nothing"),
    "tag-nothing": (("tag", "nothing", "x"), 4, "nothing"),
    "rescore-alone": (("verify", "rollouts", "--rescore", "3"), 2, "--teacher"),
    "unknown-command": (("nonsense",), 2, "nonsense"),
}


@pytest.mark.parametrize(("words", "code", "says"), BAD_WORDS.values(), ids=BAD_WORDS.keys())
def test_a_request_that_makes_no_sense_is_refused_with_its_code(
    root: Path,
    models: dict[str, Path],
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"prompt_ids": [5]}\n')
    named = {"TEACHER": str(models["teacher"]), "PROMPTS": str(prompts)}
    said = run(*(named.get(word, word) for word in words), LOPD_STORE=str(root))
    assert said.code == code
    assert says in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("words", [("ls",), ("show", "x"), ("verify", "x"), ("fsck",), ("gc",)])
def test_a_folder_that_is_no_store_is_not_found(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = run(*words, "--store", tmp_path)
    assert said.code == 4
    assert "no store at" in said.err


def test_fingerprint_says_who_a_model_is(models: dict[str, Path], teacher: Fingerprint) -> None:
    found = run("fingerprint", models["teacher"], "--json", "--store", "/gone").json
    assert found["model"]["weights_digest"] == str(teacher.model.weights_digest)
    assert str(teacher.model.weights_digest) in run("fingerprint", models["teacher"]).out


def test_a_stamp_is_written_and_carried_into_rollouts_identity(
    tmp_path: Path, models: dict[str, Path], teacher: Fingerprint
) -> None:
    store = Store.open(tmp_path / "s", create=True)
    assert teacher.tokenizer_blob is not None
    identity: Identity = identity_of("sft", teacher)
    publish(store, "sft", identity, [random_rows(5)], tokenizer_blob=teacher.tokenizer_blob)
    student = Path(shutil.copytree(models["student"], tmp_path / "student"))
    said = run("stamp", student, "--sft", "sft", "--base", models["student"], "--store", store.root)
    assert said.code == 0
    stamp = json.loads((student / "lopd.json").read_text())
    assert (stamp["format"], stamp["how"]) == ("lopd.stamp.v1", "asserted")
    assert run("stamp", student, "--sft", "gone", "--store", store.root).code == 4


def test_a_damaged_shard_of_the_input_stops_a_build_before_it_is_read(
    store: Store, models: dict[str, Path], arithmetic: Arithmetic
) -> None:
    path = store.blobs.path(load(store, "rollouts").shards[0].digest)
    data = bytearray(path.read_bytes())
    data[500] ^= 4
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    said = build(store.root, models["teacher"])
    assert said.code == 3
    assert "digest-mismatch: expected sha256:" in said.err
    assert arithmetic.calls == []


def test_rows_longer_than_the_model_are_skipped_by_name(
    tmp_path: Path, student: Fingerprint, models: dict[str, Path], arithmetic: Arithmetic
) -> None:
    store = Store.open(tmp_path / "long", create=True)
    assert student.tokenizer_blob is not None
    rows = rows_of([[5], [5] * 500], [[7], [7] * 13], rollout_logprobs=[[-1.0], [-1.0] * 13])
    identity = identity_of("rollouts", student)
    publish(store, "rollouts", identity, [rows], tokenizer_blob=student.tokenizer_blob)
    assert build(store.root, models["teacher"], "rollouts", "--json").json["skipped"] == {
        "too-long": 1
    }
    assert arithmetic.calls == [1, 1]
