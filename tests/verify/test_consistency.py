"""Depth 4: each link of the chain from teacher to signal can be broken, and is then named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lopd_store import canonical
from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents.identity import Adapter, Identity
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import ConsistencyError, FormatError, Problem, UsageError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.stamping import read_stamp, write_opd_stamp
from lopd_store.verify.consistency import Chain, check_chain
from lopd_store.verify.target import (
    Depth,
    verify_artifact,
    verify_file,
    verify_store,
    verify_target,
)
from tests.building.chain import identity_of, publish, random_rows
from tests.building.lineage import COMMITS, Lineage, edited, from_hub, make_lineage, stamp_by
from tests.verify.tamper import stray

ONES = Digest.from_hex("1" * 64)
ADAPTER = Adapter(digest=ONES, rank=8, alpha="16", targets=("q_proj",))


def kinds(chain: Chain) -> list[str]:
    return [mismatch.kind for mismatch in chain.mismatches]


def check(lineage: Lineage, *identities: Identity, stamp: Stamp | None = None) -> Chain:
    """The student against identities, by default those of its signal."""
    stamp = stamp or read_stamp(lineage.student)
    return check_chain(identities or (lineage.identity,), lineage.fingerprint(), stamp)


def test_an_honest_chain_holds(lineage: Lineage, teacher: Fingerprint) -> None:
    chain = check(lineage)
    assert (chain.problems, chain.notes) == ((), ())
    assert chain.teacher == teacher.model
    assert chain.stamp == lineage.stamp
    chain.refuse()
    there = lineage.student / "lopd.json"
    there.symlink_to(there.rename(lineage.student.parent / "blob"))  # as the Hub's cache has it
    report = verify_artifact(lineage.store, "signal", Depth(student=lineage.fingerprint()))
    assert (report.exit_code, report.depth, report.notes) == (0, 4, [])


def test_a_signal_by_another_teacher_is_refused_with_both_sides(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    lineage = make_lineage(tmp_path, wrote=teacher, scored=other, student=models["student"])
    chain = check(lineage)
    assert kinds(chain) == ["other-teacher"]
    with pytest.raises(ConsistencyError) as caught:
        chain.refuse()
    assert caught.value.exit_code == 6
    assert caught.value.problems == chain.problems
    said = str(caught.value)
    for model in (teacher.model, other.model):
        assert f"weights {model.weights_digest}" in said
        assert f"config {model.config_digest}" in said
    assert "next: score the rollouts with the SFT teacher: lopd-store build" in said
    assert "--allow-inconsistent-teacher" in said


def test_another_revision_of_the_teachers_repository_is_told_from_another_model(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    wrote, scored = (
        from_hub(model, commit) for model, commit in zip((teacher, other), COMMITS, strict=True)
    )
    lineage = make_lineage(tmp_path, wrote=wrote, scored=scored, student=models["student"])
    chain = check(lineage)
    assert kinds(chain) == ["other-teacher-revision"]
    said = "\n".join(chain.lines())
    assert "another revision of the SFT teacher" in said
    assert f"SFT teacher        org/teacher@{COMMITS[0]}" in said
    assert f"scoring teacher    org/teacher@{COMMITS[1]}" in said
    assert f"--teacher org/teacher@{COMMITS[0]} " in said


def test_another_repository_is_another_teacher_and_equal_weights_are_the_same(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    wrote = from_hub(teacher, COMMITS[0])
    lineage = make_lineage(tmp_path, wrote=wrote, student=models["student"])
    for scored, expected in (
        (from_hub(other, COMMITS[1], repo="org/other"), ["other-teacher"]),
        (other, ["other-teacher"]),
        (from_hub(teacher, COMMITS[1]), []),
        (from_hub(teacher, COMMITS[1], repo="me/copy"), []),
        (teacher, []),
    ):
        identity = with_teacher(lineage.identity, scored)
        assert kinds(check(lineage, identity)) == expected


def with_teacher(identity: Identity, model: Fingerprint) -> Identity:
    return edited(
        identity, lambda document: document["models"].update(teacher=model.model.to_json())
    )


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"config_digest": ONES}, "other-teacher-config"),
        ({"adapter": ADAPTER}, "other-teacher-adapter"),
        ({"weights_digest": ONES}, "other-teacher"),
        ({"weights_digest": ONES, "asserted_same_as": "teacher"}, "other-teacher"),
    ],
    ids=["config", "adapter", "weights", "asserted"],
)  # fmt: skip
def test_whatever_makes_a_teacher_another_one_is_named(
    lineage: Lineage, teacher: Fingerprint, change: dict[str, Any], kind: str
) -> None:
    if "asserted_same_as" in change:
        change = {**change, "asserted_same_as": teacher.model.weights_digest}
    model = replace(teacher, model=replace(teacher.model, **change))
    chain = check(lineage, with_teacher(lineage.identity, model))
    assert kinds(chain) == [kind]
    asserted = [note for note in chain.notes if "asserted" in note]
    assert bool(asserted) == ("asserted_same_as" in change)


def test_a_student_with_another_tokenizer_is_refused(lineage: Lineage) -> None:
    other_ids(lineage.student)
    chain = check(lineage)
    assert kinds(chain) == ["other-sft-tokenizer", "other-tokenizer"]
    assert lineage.identity.tokenizer is not None
    assert lineage.identity.tokenizer.core_digest.text in "\n".join(chain.lines())


def other_ids(folder: Path) -> None:
    path = folder / "tokenizer.json"
    text = path.read_text().replace('"Ġthe": 265', '"Ġthe": 266').replace('"12": 266', '"12": 265')
    path.write_text(text)


def test_without_tokenizer_files_the_sft_datas_tokenizer_is_compared(lineage: Lineage) -> None:
    bare = replace(lineage.fingerprint(), tokenizer=None, tokenizer_blob=None)
    chain = check_chain([lineage.identity], bare, lineage.stamp)
    assert kinds(chain) == []
    assert "the student has no tokenizer files" in chain.notes[0]

    def edit(document: dict[str, Any]) -> None:
        document["tokenizer"] |= {"core_digest": str(ONES), "vocab_digest": str(ONES)}

    assert kinds(check_chain([edited(lineage.identity, edit)], bare, lineage.stamp)) == [
        "other-tokenizer"
    ]


def test_rollouts_of_another_student_are_refused(
    lineage: Lineage, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models["padded"], tmp_path / "another"))
    stamp = read_stamp(lineage.student)
    assert stamp is not None
    chain = check(replace(lineage, student=folder), stamp=stamp)
    assert kinds(chain) == ["stamp-of-other-weights", "other-policy"]
    own = stamp_by(lineage.store, fingerprint(str(models["teacher"])), folder, ref="sft2")
    chain = check(replace(lineage, student=folder))
    assert kinds(chain) == ["other-policy", "other-stamp"]
    said = "\n".join(chain.lines())
    assert str(own.weights_digest) in said
    assert str(lineage.stamp.weights_digest) in said
    assert f"--model {folder}" in said


def test_weights_that_moved_by_one_float_since_the_stamp_are_refused(lineage: Lineage) -> None:
    weights = load_file(lineage.student / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, lineage.student / "model.safetensors")
    assert kinds(check(lineage)) == ["stamp-of-other-weights", "other-policy"]


def test_another_revision_of_the_student_is_told_from_another_student(lineage: Lineage) -> None:
    student = from_hub(lineage.fingerprint(), COMMITS[0], repo="org/student")
    older = replace(student.model, weights_digest=ONES)
    older = from_hub(replace(student, model=older), COMMITS[1], repo="org/student").model
    identity = edited(lineage.identity, lambda d: d["models"].update(policy=older.to_json()))
    chain = check_chain([identity], student, lineage.stamp)
    assert kinds(chain) == ["other-policy-revision"]


def test_a_student_without_a_stamp_is_refused_and_told_what_the_rollouts_carry(
    lineage: Lineage,
) -> None:
    (lineage.student / "lopd.json").unlink()
    chain = check(lineage)
    assert kinds(chain) == ["no-stamp"]
    assert str(lineage.stamp.sft_manifest_digest) in chain.problems[0].found
    assert f"lopd-store stamp {lineage.student} --sft REF" in chain.advice[0]


def test_what_a_stamp_records_names_no_place_on_this_machine(
    lineage: Lineage, other: Fingerprint
) -> None:
    for stamp in (None, lineage.stamp):
        for problem in check_chain([lineage.identity], other, stamp).problems:
            assert str(other.folder) not in str(problem)


def test_rows_from_a_file_have_no_policy_and_retokenised_ones_are_told(lineage: Lineage) -> None:
    def imported(document: dict[str, Any]) -> None:
        del document["models"]["policy"], document["policy_stamp"], document["signals"][0]
        del document["sampling"], document["prompts"], document["scorings"]["sampling"]
        document["imported"] = {"digest": str(ONES), "retokenised": False, "tokenizer": "asserted"}

    def retokenised(document: dict[str, Any]) -> None:
        document["imported"]["retokenised"] = True

    identity = edited(lineage.identity, imported)
    assert kinds(check(lineage, identity)) == ["unknown-policy"]
    assert kinds(check(lineage, edited(identity, retokenised))) == [
        "unknown-policy",
        "retokenised-rollouts",
    ]


def test_rollouts_that_carry_another_stamp_are_refused(lineage: Lineage) -> None:
    path = lineage.student / "lopd.json"
    document = json.loads(path.read_text())
    document["base"] = {"weights_digest": str(ONES), "config_digest": str(ONES)}
    path.write_bytes(canonical.encode(document))
    chain = check(lineage)
    assert kinds(chain) == ["other-stamp"]
    assert "base differ" in chain.mismatches[0].says


def test_every_changed_byte_of_a_stamp_is_found(lineage: Lineage) -> None:
    path, student = lineage.student / "lopd.json", lineage.fingerprint()
    data = path.read_bytes()
    for place in range(0, len(data), 53):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        report = verify_like_a_lone_shard(lineage, student)
        assert report in (5, 6), place


def verify_like_a_lone_shard(lineage: Lineage, student: Fingerprint) -> int:
    """The exit code, without looking at the rows again."""
    try:
        stamp = read_stamp(student.folder)
        check_chain([lineage.identity], student, stamp).refuse()
    except (FormatError, ConsistencyError) as error:
        return error.exit_code
    return 0


def test_a_damaged_stamp_is_a_problem_of_the_report(lineage: Lineage) -> None:
    path = lineage.student / "lopd.json"
    path.write_bytes(path.read_bytes().replace(b"made", b"mode", 1))
    report = verify_artifact(lineage.store, "signal", Depth(student=lineage.fingerprint()))
    assert (report.exit_code, report.depth) == (5, 4)
    (problem,) = report.problems
    assert (problem.kind, problem.where) == ("wrong-value", "lopd.json /how")
    (lineage.student / "lopd.json").write_bytes(b"not JSON")
    report = verify_artifact(lineage.store, "signal", Depth(student=lineage.fingerprint()))
    assert (report.exit_code, report.problems[0].where) == (5, "lopd.json")


def test_a_stamp_by_several_teachers_names_no_one(
    lineage: Lineage, teacher: Fingerprint, other: Fingerprint
) -> None:
    stamp = stamp_of_several(lineage, teacher, other)
    chain = check(lineage, stamp=stamp)
    assert kinds(chain) == ["several-teachers", "other-stamp"]
    found = chain.problems[0].found
    assert str(teacher.model.weights_digest) in found
    assert str(other.model.weights_digest) in found


def stamp_of_several(lineage: Lineage, *teachers: Fingerprint) -> Stamp:
    """A stamp by SFT data without rows that several teachers made."""
    document = lineage.stamp.json
    sft = document["sft"]
    sft["identities"] = [identity_of("sft", teacher).json for teacher in teachers]
    encoded = [canonical.encode(identity) for identity in sft["identities"]]
    digests = [str(Digest.of(data)) for data in encoded]
    sft["artifact"] |= {"identities": digests, "rows": 0, "tokens": 0, "duplicates": 0}
    layers = sft["manifest"]["layers"]
    sft["manifest"]["layers"] = [
        *(
            layers[0] | {"digest": digest, "size": len(data)}
            for digest, data in zip(digests, encoded, strict=True)
        ),
        *(layer for layer in layers if "tokenizer" in layer["mediaType"]),
    ]
    data = canonical.encode(sft["artifact"])
    sft["manifest"]["config"] |= {"digest": str(Digest.of(data)), "size": len(data)}
    return Stamp.from_json(document)


def test_every_identity_of_an_artifact_has_to_pass(lineage: Lineage, other: Fingerprint) -> None:
    honest = lineage.identity
    bad = with_teacher(honest, other)
    chain = check(lineage, honest, bad)
    assert kinds(chain) == ["other-teacher"]
    assert chain.problems[0].where == f"rows, 1 of 2 identities ({bad.digest.short})"
    assert chain.teacher is None
    newer = edited(honest, lambda d: d["scorings"]["teacher"].update(versions={"x": "2"}))
    chain = check(lineage, honest, newer)
    assert chain.ok
    assert chain.teacher == honest.teacher
    both = check(lineage, bad, with_teacher(newer, other))
    assert [problem.where for problem in both.problems] == ["rows"]


def test_rows_of_which_nothing_is_known_are_refused(lineage: Lineage) -> None:
    assert kinds(check_chain([], lineage.fingerprint(), lineage.stamp)) == ["no-identity"]


def test_rollouts_can_be_checked_before_anybody_scores_them(lineage: Lineage) -> None:
    identity = load(lineage.store, "rollouts").identities[0]
    chain = check(lineage, identity)
    assert (kinds(chain), chain.teacher) == ([], None)
    assert "no teacher has scored these rows" in chain.notes[0]
    sft = load(lineage.store, "sft").identities[0]
    with pytest.raises(UsageError, match="found kind sft"):
        check(lineage, sft)


def test_rollouts_without_a_stamp_pass_when_exactly_these_weights_sampled_them(
    tmp_path: Path, teacher: Fingerprint, models: dict[str, Path]
) -> None:
    lineage = make_lineage(tmp_path, wrote=teacher, student=models["student"], stamped=False)
    chain = check(lineage)
    assert (kinds(chain), len(chain.notes)) == ([], 1)
    assert "carry no stamp" in chain.notes[0]


def test_an_asserted_stamp_passes_and_is_said_to_be_asserted(
    tmp_path: Path, teacher: Fingerprint, models: dict[str, Path]
) -> None:
    lineage = make_lineage(tmp_path, wrote=teacher, student=models["student"], how="asserted")
    chain = check(lineage)
    assert (kinds(chain), len(chain.notes)) == ([], 1)
    assert "asserted by a person" in chain.notes[0]


def test_the_teacher_in_other_numerics_is_the_same_teacher_and_a_note(lineage: Lineage) -> None:
    identity = edited(
        lineage.identity, lambda d: d["scorings"]["teacher"].update(quantization="fp8")
    )
    chain = check(lineage, identity)
    assert (kinds(chain), chain.notes) == (
        [],
        ("the teacher wrote the SFT data in float32 and scored in fp8",),
    )


def test_an_adapter_student_is_compared_by_base_and_adapter(lineage: Lineage) -> None:
    whole = lineage.fingerprint()
    tuned = replace(whole, model=replace(whole.model, adapter=ADAPTER))
    chain = check_chain([lineage.identity], tuned, lineage.stamp)
    assert kinds(chain) == ["stamp-under-adapter", "other-policy-adapter"]
    assert "whether merged weights are this student's cannot be told" in chain.notes[0]
    assert "merge the adapter into its base" in chain.advice[1]
    policy = edited(lineage.identity, lambda d: d["models"].update(policy=tuned.model.to_json()))
    assert kinds(check_chain([policy], tuned, lineage.stamp)) == ["stamp-under-adapter"]
    assert kinds(check_chain([lineage.identity], tuned, None)) == [
        "no-stamp",
        "other-policy-adapter",
    ]


def test_a_run_that_passed_hands_its_sft_lineage_on(lineage: Lineage, tmp_path: Path) -> None:
    trained = Path(shutil.copytree(lineage.student, tmp_path / "trained"))
    move(trained)
    start, student = read_stamp(lineage.student), lineage.fingerprint()
    signal = lineage.store.refs.resolve("signal")
    stamp = write_opd_stamp(
        trained,
        start=start,
        student=student,
        signal_id=signal,
        identities=[lineage.identity],
        inconsistent=(),
        cache=None,
    )
    assert read_stamp(trained) == stamp
    assert stamp.sft_teacher == lineage.stamp.sft_teacher
    assert stamp.how == "made"
    (run,) = stamp.opd
    assert run.signal.artifact == signal
    assert run.signal.identities == (lineage.identity.digest,)
    assert run.start.weights_digest == student.model.weights_digest
    assert run.inconsistent == ()
    after = fingerprint(str(trained))
    rolled = identity_of("rollouts", after, policy_stamp=stamp)
    chain = check_chain([rolled], after, stamp)
    assert chain.ok
    assert not [note for note in chain.notes if "inconsistent" in note]


def move(folder: Path) -> None:
    """What training does to weights."""
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_was_inconsistent_once_is_told_for_ever(lineage: Lineage, tmp_path: Path) -> None:
    problem = Problem("other-teacher", "signal", "the SFT teacher", "another")
    start, stamp = lineage.student, read_stamp(lineage.student)
    for number, inconsistent in enumerate(([problem], [])):
        folder = Path(shutil.copytree(start, tmp_path / str(number)))
        (folder / "lopd.json").unlink()
        move(folder)
        stamp = write_opd_stamp(
            folder,
            start=stamp,
            student=fingerprint(str(start)),
            signal_id=None,
            identities=[lineage.identity],
            inconsistent=inconsistent,
            cache=None,
        )
        start = folder
    assert stamp is not None
    assert [run.inconsistent for run in stamp.opd] == [(problem,), ()]
    student = fingerprint(str(start))
    chain = check_chain([identity_of("rollouts", student, policy_stamp=stamp)], student, stamp)
    assert chain.ok
    assert "trained before with an inconsistent teacher: other-teacher" in chain.notes[0]


@pytest.mark.parametrize("given", ["none", "of-other-weights"])
def test_a_student_of_unknown_sft_is_stamped_only_as_inconsistent(
    lineage: Lineage, tmp_path: Path, given: str
) -> None:
    trained = Path(shutil.copytree(lineage.student, tmp_path / "trained"))
    (trained / "lopd.json").unlink()
    student = lineage.fingerprint()
    if given == "of-other-weights":
        student = replace(student, model=replace(student.model, weights_digest=ONES))
    start = None if given == "none" else lineage.stamp
    words: dict[str, Any] = {
        "start": start,
        "student": student,
        "signal_id": None,
        "identities": [lineage.identity],
        "cache": None,
    }
    with pytest.raises(FormatError, match="'inconsistent'"):
        write_opd_stamp(trained, inconsistent=(), **words)
    assert not (trained / "lopd.json").exists()
    problems = check_chain([lineage.identity], student, start).problems
    stamp = write_opd_stamp(trained, inconsistent=problems, **words)
    assert (stamp.sft_teachers, stamp.sft_manifest_digest) == ((), None)
    assert stamp.opd[0].inconsistent == problems
    chain = check_chain([lineage.identity], fingerprint(str(trained)), stamp)
    assert "unknown-sft" in kinds(chain)


def test_a_lone_shard_is_checked_by_its_footer(
    lineage: Lineage, tmp_path: Path, other: Fingerprint
) -> None:
    path, student = stray(lineage.store, tmp_path), lineage.fingerprint()
    report = verify_file(path, Depth(student=student))
    assert (report.exit_code, report.depth) == (0, 4)
    report = verify_file(path, Depth(student=replace(student, model=other.model)))
    assert report.exit_code == 6
    assert report.chain is not None
    assert report.to_json()["advice"] == list(report.chain.advice)


def test_a_folder_of_shards_is_checked_shard_by_shard(
    lineage: Lineage, tmp_path: Path, other: Fingerprint
) -> None:
    dataset = tmp_path / "dataset"
    folder = dataset / "data"
    folder.mkdir(parents=True)
    stray(lineage.store, folder)
    blob = lineage.fingerprint().tokenizer_blob
    assert blob is not None
    depth = Depth(student=lineage.fingerprint())
    root = tmp_path / "no-store"
    assert verify_target(str(folder), root=root, depth=depth).exit_code == 0
    assert verify_target(str(dataset), root=root, depth=depth).depth == 4
    bad = with_teacher(lineage.identity, other)
    rows = random_rows(4, seed=5)
    scored = rows.append_column("teacher_logprobs", rows["rollout_logprobs"])
    publish(lineage.store, "bad", bad, [scored], tokenizer_blob=blob)
    (shard,) = load(lineage.store, "bad").open_shards()
    shutil.copy(shard.path, folder / "zzz.parquet")
    report = verify_target(str(folder), root=root, depth=depth)
    assert (report.exit_code, report.depth) == (6, 4)
    assert [p.where for p in report.problems] == [f"rows, 1 of 2 identities ({bad.digest.short})"]
    (folder / "zzz.parquet").write_bytes(b"PAR1PAR1")
    with pytest.raises(FormatError):
        verify_target(str(folder), root=root, depth=depth)


def test_all_depths_are_looked_at_together(
    lineage: Lineage, teacher: Fingerprint, other: Fingerprint
) -> None:
    student = lineage.fingerprint()
    report = verify_artifact(lineage.store, "signal", Depth(teacher=teacher, student=student))
    assert (report.exit_code, report.depth) == (0, 4)
    report = verify_artifact(lineage.store, "signal", Depth(teacher=other, student=other))
    assert report.exit_code == 6
    found = {problem.kind for problem in report.problems}
    assert {"other-weights", "no-stamp", "other-policy"} <= found


def test_a_whole_store_has_no_one_student(lineage: Lineage) -> None:
    depth = Depth(student=lineage.fingerprint())
    with pytest.raises(UsageError, match="to compare with a student"):
        verify_target(str(lineage.store.root), root=lineage.store.root, depth=depth)
    assert verify_store(lineage.store).exit_code == 0


def test_many_identities_that_all_differ_are_told_in_one_pass(lineage: Lineage) -> None:
    def strange(number: int) -> Identity:
        return edited(
            lineage.identity,
            lambda document: document["models"]["teacher"].update(
                weights_digest=f"sha256:{number:064x}"
            ),
        )

    found = check(lineage, *(strange(number) for number in range(300)))
    assert len(found.mismatches) == 300
    assert found.mismatches[7].where.startswith("rows, 1 of 300 identities (")
