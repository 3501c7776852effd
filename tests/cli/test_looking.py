"""The commands that look at a store and keep it in order: ls, show, log, diff, tag, rm, gc."""

import json
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions
from lopd_store.documents.model import BaseModel
from lopd_store.documents.opd_run import OpdRun, SignalUsed
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import Problem
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from tests.building.chain import Arithmetic, identity_of, publish, publish_rollouts, random_rows
from tests.cli.runner import run


def test_ls_show_log_and_diff_print_what_is_there(signal: Store) -> None:
    where = ("--store", signal.root)
    listed = run("ls", *where).out.splitlines()
    assert [line.split()[0] for line in listed] == ["ref", "rollouts", "signal"]
    shown = run("show", "signal", "--json", *where).json
    assert {
        *("id", "kind", "rows", "tokens", "content_digest", "teacher", "tokenizer", "lineage"),
        "shards",
    } <= set(shown)
    assert shown["teacher"]["weights_digest"].startswith("sha256:")
    assert [shard["rows"] for shard in shown["shards"]] != []
    assert sum(shard["tokens"] for shard in shown["shards"]) == shown["tokens"]
    assert shown["lineage"] == [
        {"kind": "rollouts", "digest": str(signal.refs.resolve("rollouts"))}
    ]
    (entry,) = run("log", "signal", "--json", *where).json
    assert shown["id"] in json.dumps(entry)
    heading, moved = run("log", "signal", *where).out.splitlines()
    assert heading.split() == ["time", "from", "to"]
    assert moved.split()[1:] == ["-", shown["id"][7:19]]
    same = run("diff", "signal", "signal", "--json", *where).json
    assert (same["same"], same["rows"]["common"]) == (True, 60)
    different = run("diff", "rollouts", "signal", *where)
    assert "60 common, 0 only in A, 0 only in B" in different.out


def test_show_is_a_page_for_people(signal: Store, teacher: Fingerprint) -> None:
    shown = run("show", "signal", "--store", signal.root).out.splitlines()
    facts = {line[:16].strip(): line[16:].strip() for line in shown}
    assert facts["id"] == str(signal.refs.resolve("signal"))
    assert facts["kind"] == "signal"
    assert facts["rows"] == "60"
    assert facts["teacher"] == f"weights {teacher.model.weights_digest.short}"
    assert facts["sft teacher"] == "unknown: the policy carries no stamp"
    assert facts["lineage"] == f"rollouts {signal.refs.resolve('rollouts').short}"
    assert "bound" in facts["teacher noise"]
    assert len(shown) < 30
    assert not any("{" in line for line in shown)
    assert run("show", "rollouts", "--skipped", "--store", signal.root, "--json").json == []


@pytest.mark.parametrize("wrote", ["teacher", "student"])
def test_show_says_whether_the_scoring_teacher_wrote_the_sft_data(
    tmp_path: Path,
    models: dict[str, Path],
    student: Fingerprint,
    wrote: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Arithmetic())
    store = Store.open(tmp_path / "s", create=True)
    author = fingerprint(str(models[wrote]))
    assert author.tokenizer_blob is not None
    sft = identity_of("sft", author)
    publish(store, "sft", sft, [random_rows(5)], tokenizer_blob=author.tokenizer_blob)
    artifact = load(store, "sft")
    stamp = Stamp.of(
        how="asserted",
        weights_digest=student.model.weights_digest,
        config_digest=student.model.config_digest,
        base=None,
        manifest=artifact.manifest,
        artifact=artifact.document,
        identities=artifact.identities,
    )
    stamped = identity_of("rollouts", student, policy_stamp=stamp)
    publish(store, "rollouts", stamped, [random_rows(5)], tokenizer_blob=author.tokenizer_blob)
    where = ("--teacher", models["teacher"], "--store", store.root)
    assert run("build", "rollouts", "-o", "signal", *where).code == 0
    said = {
        ref: run("show", ref, "--json", "--store", store.root).json["sft_teacher"]
        for ref in ("sft", "rollouts", "signal")
    }
    named = author.model.weights_digest.short
    assert said["sft"] is None
    assert said["rollouts"] == f"{named} (stamp asserted)"
    assert (
        said["signal"]
        == {
            "teacher": "same as the scoring teacher (stamp asserted)",
            "student": f"ANOTHER: {named} (stamp asserted)",
        }[wrote]
    )
    assert said["signal"] in run("show", "signal", "--store", store.root).out
    err = run("build", "sft", "-o", "other", *where).err
    assert "sft is a teacher's own data (kind sft)" in err
    assert f"loading {models['teacher']}" in err


def test_show_says_what_the_policy_was_trained_on_since(
    tmp_path: Path, student: Fingerprint
) -> None:
    store = Store.open(tmp_path / "s", create=True)
    run_of = OpdRun(
        signal=SignalUsed(identities=(student.model.config_digest,)),
        start=BaseModel.of(student.model),
        inconsistent=(Problem("no-stamp", "student", "a stamp", "none"),),
    )
    stamp = Stamp.after_opd(None, model=student.model, run=run_of)
    assert student.tokenizer_blob is not None
    stamped = identity_of("rollouts", student, policy_stamp=stamp)
    publish(store, "rollouts", stamped, [random_rows(5)], tokenizer_blob=student.tokenizer_blob)
    assert run("show", "rollouts", "--json", "--store", store.root).json["sft_teacher"] == (
        "unknown: the policy's stamp names no SFT data"
        " (stamp made; OPD runs since: 1, inconsistent: 1)"
    )


def test_artifacts_without_a_common_sample_have_no_numbers_to_compare(
    store: Store, student: Fingerprint
) -> None:
    publish_rollouts(store, student, [random_rows(5, seed=9)], ref="others")
    said = run("diff", "rollouts", "others", "--store", store.root)
    assert said.code == 0
    assert said.out.splitlines()[-1] == "no sample in common: no numbers to compare"


def test_a_ref_says_what_it_named_and_keeps_its_kind_unless_forced(
    signal: Store, student: Fingerprint
) -> None:
    where = ("--store", signal.root)
    rollouts, scored = (signal.refs.resolve(name) for name in ("rollouts", "signal"))
    publish_rollouts(signal, student, [random_rows(5, seed=9)], ref="others")
    said = run("tag", "others", "rollouts", *where)
    assert said.out == f"rollouts {signal.refs.resolve('others')} (was {rollouts.short})\n"
    said = run("tag", "rollouts", "signal", *where)
    assert said.code == 2
    assert f"signal: expected another signal, as it names now ({scored.short})" in said.err
    assert signal.refs.resolve("signal") == scored
    assert run("tag", "rollouts", "signal", "--force", *where).code == 0
    assert signal.refs.resolve("signal") == signal.refs.resolve("others")


def test_tag_rm_and_gc_keep_a_store_in_order(signal: Store) -> None:
    where = ("--store", signal.root)
    artifact = str(signal.refs.resolve("signal"))
    assert run("tag", artifact[7:19], "math/v1", *where).out == f"math/v1 {artifact}\n"
    assert run("rm", "signal", *where).code == 0
    assert run("gc", "--grace", 0, "--json", *where).json["removed"] == []
    assert run("rm", "math/v1", *where).code == 0
    assert "would remove" in run("gc", "--grace", 0, "--dry-run", *where).out
    assert signal.blobs.has(signal.refs.resolve(artifact))
    removed = run("gc", "--grace", 0, "--json", *where).json["removed"]
    assert artifact in removed
    assert run("fsck", *where).code == 0


def test_ls_names_an_artifact_that_cannot_be_read_and_lists_the_others(signal: Store) -> None:
    signal.blobs.path(signal.refs.resolve("signal")).unlink()
    said = run("ls", "--store", signal.root)
    assert said.code == 0
    assert "signal: no ref or artifact" in said.err
    assert "rollouts" in said.out


@pytest.mark.parametrize(
    "words",
    [
        *(("show", "signl"), ("show", "signl", "--skipped"), ("log", "signl"), ("rm", "signl")),
        *(("diff", "rollouts", "signl"), ("tag", "signl", "x")),
        ("build", "signl", "--teacher", "TEACHER", "-o", "x"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_a_misspelt_ref_is_answered_with_the_one_that_is_there(
    signal: Store, models: dict[str, Path], words: tuple[str, ...]
) -> None:
    given = (str(models["teacher"]) if word == "TEACHER" else word for word in words)
    said = run(*given, "--store", signal.root)
    assert said.code == 4
    assert said.err.endswith("; did you mean signal?\n")
