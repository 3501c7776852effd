"""Numbers speak for an imported signal's teacher, and no assertion does; every look says so."""

from pathlib import Path

from lopd_store import inspect
from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.signal_difference import compare_signals
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact, verify_target
from tests.building.chain import ArithmeticEngine
from tests.importing.cases import Case


def test_verify_believes_numbers_and_no_assertion(case: Case) -> None:
    case.keep()
    assert case.gives() == {"bytes": [], "teacher": ["unknown-teacher"], "numbers": []}
    case.keep(teacher=case.teacher)
    assert case.gives() == {"bytes": [], "teacher": ["asserted-teacher"], "numbers": []}


def test_an_assertion_about_another_model_than_the_one_at_hand_is_refused(
    case: Case, other: Fingerprint
) -> None:
    case.keep(teacher=other)
    found = case.gives()
    assert found["teacher"] == ["asserted-teacher", "other-weights"]
    assert found["numbers"] == ["other-weights"]


def test_numbers_that_are_not_this_teachers_are_found_out(case: Case) -> None:
    case.keep(teacher=case.teacher, dtype="float32")
    engine = ArithmeticEngine()
    engine.opened.shift = 0.01
    depth = Depth(teacher=case.teacher, rescore=4, engine=engine)
    report = verify_artifact(case.lineage.store, "file", depth)
    assert {problem.kind for problem in report.problems} == {"rescore-disagrees"}
    assert report.exit_code == 6


def test_every_look_at_an_import_says_what_is_not_proved(case: Case) -> None:
    store = case.lineage.store
    case.keep()
    report = verify_artifact(store, "file", Depth())
    assert report.ok
    assert any("unknown" in note for note in report.notes)
    found = inspect.show(store, "file")
    assert (found["teacher"], found["tokenizer"], found["policy"]) == (None, None, None)
    assert "teacher" in found["imported"]["unknown"]
    (entry,) = (each for each in inspect.ls(store) if each["ref"] == "file")
    assert (entry["teacher"], entry["policy"]) == ("unknown", "unknown")
    case.keep(teacher=case.teacher)
    (entry,) = (each for each in inspect.ls(store) if each["ref"] == "file")
    assert entry["teacher"] == f"{case.teacher.model.weights_digest.short}?"


def test_a_lone_shard_of_an_import_is_verified_to_every_depth(case: Case, tmp_path: Path) -> None:
    case.keep()
    (layer,) = load(case.lineage.store, "file").shards
    path = tmp_path / "lone.parquet"
    path.write_bytes(case.lineage.store.blobs.path(layer.digest).read_bytes())
    student = case.lineage.fingerprint()
    depth = Depth(teacher=case.teacher, rescore=3, student=student, engine=ArithmeticEngine())
    for target in (path, tmp_path):
        report = verify_target(str(target), root=tmp_path / "nowhere", depth=depth)
        assert report.depth == 4
        assert report.exit_code == 6
        assert [problem.kind for problem in report.problems] == [
            "unknown-teacher",
            "unknown-tokenizer",
            "unknown-policy",
        ]


def test_two_teachers_of_whom_one_is_unknown_are_not_called_the_same(case: Case) -> None:
    store = case.lineage.store
    case.keep()
    found = compare_signals(store, "signal", "file")
    assert found.same_teacher is None
    assert found.differing == 0
    assert found.teacher_b == ("unknown",)
    assert compare_signals(store, "file", "file").same_teacher is None
    assert compare_signals(store, "signal", "signal").same_teacher is True
    case.keep(teacher=case.teacher)
    asserted = compare_signals(store, "signal", "file")
    assert asserted.same_teacher is None
    assert asserted.teacher_b[0].startswith("asserted, not proved: ")
    assert inspect.diff(store, "signal", "file")["rows"]["common"] > 0


def test_a_store_is_whole_with_artifacts_that_have_no_tokenizer(case: Case) -> None:
    case.keep()
    store: Store = case.lineage.store
    assert load(store, "file").manifest.tokenizers == ()
    assert store.fsck() == []
    report = verify_target(str(store.root), root=store.root, depth=Depth())
    assert report.ok, report.problems
