"""An unknown or asserted teacher is never a known one: at the gate, in verify, in every listing."""

import pytest

from lopd_store.artifacts import load
from lopd_store.build import build
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.inputs.rollouts import rollouts_from_store
from lopd_store.stamping import read_stamp
from lopd_store.verify.consistency import Chain, check_chain
from lopd_store.verify.target import Depth, verify_artifact
from lopd_train.data import Material
from lopd_train.opd import gate
from tests.building.chain import ArithmeticEngine, rows_in
from tests.importing.cases import COLUMNS, Case


def kinds(chain: Chain) -> list[str]:
    return [mismatch.kind for mismatch in chain.mismatches]


def test_a_known_teacher_passes_and_the_same_rows_from_a_file_do_not(case: Case) -> None:
    known = load(case.lineage.store, "signal").identities
    stamp = read_stamp(case.lineage.student)
    assert check_chain(known, case.lineage.fingerprint(), stamp).ok
    chain = case.imported()
    assert kinds(chain) == ["unknown-teacher", "unknown-tokenizer", "unknown-policy"]
    assert chain.teacher is None
    with pytest.raises(ConsistencyError) as caught:
        chain.refuse()
    assert caught.value.exit_code == 6
    said = str(caught.value)
    for words in (
        "nothing says which model gave these log-probs",
        "next: score them again: lopd-store build REF --teacher SFT_TEACHER -o NEW",
        "verify REF --teacher T --rescore 32",
        "--allow-inconsistent-teacher",
        str(case.lineage.fingerprint().model.weights_digest),
    ):
        assert words in said


def test_the_right_teacher_asserted_is_still_only_asserted(case: Case) -> None:
    student = case.lineage.fingerprint()
    chain = case.imported(teacher=case.teacher, policy=student)
    assert kinds(chain) == ["asserted-teacher", "asserted-policy"]
    assert chain.teacher is None
    said = "\n".join(chain.lines())
    assert "asserted teacher" in said
    assert "only asserted by whoever imported them" in said
    assert str(case.teacher.model.weights_digest) in said


def test_the_wrong_teacher_asserted_is_told_as_such(case: Case, other: Fingerprint) -> None:
    chain = case.imported(teacher=other, policy=other)
    assert kinds(chain) == [
        "asserted-teacher",
        "other-teacher",
        "asserted-policy",
        "other-policy",
    ]
    (wrong,) = (each for each in chain.mismatches if each.kind == "other-teacher")
    assert wrong.found.label == "asserted teacher"


def test_one_imported_part_spoils_an_honest_artifact(case: Case) -> None:
    case.keep(teacher=case.teacher)
    identities = [
        *load(case.lineage.store, "signal").identities,
        *load(case.lineage.store, "file").identities,
    ]
    chain = check_chain(identities, case.lineage.fingerprint(), read_stamp(case.lineage.student))
    assert kinds(chain) == ["asserted-teacher", "unknown-policy"]
    assert "1 of 2 identities" in chain.mismatches[0].where
    assert chain.teacher is None


def test_scored_again_the_rows_have_a_known_teacher_and_an_asserted_policy(case: Case) -> None:
    store, student = case.lineage.store, case.lineage.fingerprint()
    case.keep(teacher=case.teacher, policy=student, dtype="float32")
    build(
        store,
        rollouts_from_store(store, "file"),
        case.teacher,
        ref="new",
        engine=ArithmeticEngine(),
    )
    (identity,) = load(store, "new").identities
    assert identity.teacher == case.teacher.model
    assert identity.claimed("teacher") is None
    assert identity.imported is not None
    assert identity.imported.asserted.scoring == {}
    assert identity.imported.not_known == ("eos", "sampling")
    assert [link.kind for link in load(store, "new").document.lineage] == ["signal"]
    chain = check_chain([identity], student, read_stamp(case.lineage.student))
    assert kinds(chain) == ["asserted-policy"]
    again, first = (rows_in(store, ref).to_pylist() for ref in ("new", "signal"))
    for name in COLUMNS:
        assert [row[name] for row in again] == [row[name] for row in first]
    assert verify_artifact(store, "new", Depth(teacher=case.teacher)).ok


def test_a_teacher_that_scores_again_lends_its_tokenizer_to_rows_that_have_none(
    case: Case,
) -> None:
    store = case.lineage.store
    case.keep()
    source = rollouts_from_store(store, "file")
    assert source.tokenizer_blob is None
    build(store, source, case.teacher, ref="new", engine=ArithmeticEngine())
    (identity,) = load(store, "new").identities
    assert identity.tokenizer == case.teacher.tokenizer
    assert identity.imported is not None
    assert identity.imported.tokenizer == "asserted"
    assert verify_artifact(store, "new", Depth()).ok


def test_a_signal_whose_teacher_is_known_is_no_source_of_rollouts(case: Case) -> None:
    with pytest.raises(UsageError, match="rollouts or sft, found signal"):
        rollouts_from_store(case.lineage.store, "signal")


@pytest.fixture
def material(case: Case) -> Material:
    case.keep(teacher=case.teacher)
    return Material.open(
        "file", str(case.lineage.student), root=case.lineage.store.root, kind="signal"
    )


def test_the_trainer_refuses_an_import_unless_it_is_told_to_go_on(material: Material) -> None:
    with pytest.raises(ConsistencyError, match="only asserted") as caught:
        gate(material, allowed=False)
    assert caught.value.exit_code == 6
    chain = gate(material, allowed=True)
    assert [problem.kind for problem in chain.problems] == ["asserted-teacher", "unknown-policy"]
