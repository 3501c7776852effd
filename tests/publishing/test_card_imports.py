"""A card says of imported rows what is known of them, and offers what can be done with them."""

import re
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.build import build
from lopd_store.identity.model import Fingerprint
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.inputs.rollouts import rollouts_from_store
from lopd_store.merge import merge
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.refusal import reasons
from lopd_store.publishing.card.rendering import render
from lopd_store.publishing.card.statistics import measure
from lopd_store.remote.layout import Place
from lopd_store.stamping import read_stamp
from lopd_store.store import Store
from lopd_store.verify.consistency import check_chain
from tests.building.chain import ArithmeticEngine
from tests.building.lineage import Lineage
from tests.importing.files import line_rows, release_rows, write_lines, write_release
from tests.publishing.card_facts import commands_in


def facts_in(store: Store, ref: str) -> CardFacts:
    artifact = load(store, ref)
    return CardFacts(
        repo="org/name",
        place=Place(),
        version="v1",
        artifact=artifact,
        noises=(),
        statistics=measure(artifact.open_shards()),
        signed_by=(),
    )


def card(facts: CardFacts) -> str:
    return render(None, facts, license=None)


@pytest.fixture
def store(lineage: Lineage) -> Store:
    """An honest chain, and beside it `file`, `release`, `rolled` and `again`."""
    return lineage.store


@pytest.fixture
def file(store: Store, tmp_path: Path) -> CardFacts:
    """A signal of which nobody knows anything."""
    path = write_lines(tmp_path / "file.jsonl", line_rows(5))
    import_file(store, path, format="jsonl", ref="file", claims=Claims())
    return facts_in(store, "file")


@pytest.fixture
def release(store: Store, teacher: Fingerprint, tmp_path: Path) -> CardFacts:
    """A signal whose ids were made from text, by a teacher that somebody named."""
    path = write_release(tmp_path / "release.parquet", release_rows(5))
    claims = Claims(teacher=teacher, policy=teacher)
    import_file(store, path, format="lightning-opd", ref="release", claims=claims)
    return facts_in(store, "release")


def test_what_nobody_knows_is_not_said_as_if_it_were_known(file: CardFacts) -> None:
    said = card(file)
    for missing in (
        "end-of-sequence included",
        "the engine",
        "rollouts of a student",
        "no teacher server",
        "disagreements",
        "lopd-train opd --signal",
        "SignalTrainer",
        "lightning-opd",
        "tokenizer, too",
    ):
        assert missing not in said
    for expected in (
        "| teacher, scored | **UNKNOWN** |",
        "nobody says whether a sampled end-of-sequence was kept",
        "none: log-probs are the float32 numbers that the file gave",
        "never padded, says the file",
        "nobody says: `eos`, `policy`, `sampling`, `scoring`, `teacher`",
        "| signal | 5 | 43 | `v1` | `unknown` |",
        "verify org/name/default/train@v1 --teacher TEACHER --rescore 32",
    ):
        assert expected in said


def test_trainers_refuse_it_and_the_card_says_why_and_what_to_do(file: CardFacts) -> None:
    said = card(file)
    assert (
        "**The trainers of lopd refuse this signal:** nothing says which model gave the log-probs;"
        " nothing says of which tokenizer the ids are; nothing says which weights sampled the rows."
    ) in said
    for advice in (
        "$ lopd-store build rows --teacher SFT_TEACHER -o signal",
        "$ lopd-store verify rows --teacher TEACHER --rescore 32",
        "`lopd-train opd --allow-inconsistent-teacher` goes on all the same",
        "roll out with the student at hand if you can",
    ):
        assert said.index(advice) < said.index("### Load")


def test_what_is_asserted_is_said_to_be(release: CardFacts, teacher: Fingerprint) -> None:
    said = card(release)
    assert (
        "which model gave the log-probs is only asserted; which weights sampled the rows is only"
        " asserted; ids were made from text, and need not be those that were sampled."
    ) in said
    assert f"| `{teacher.model.weights_digest.short} (asserted)` |" in said
    assert "the response; ids that were made from its text are among them" in said
    assert "where a text does not give back its prompt's ids, it stops" in said


def test_scored_again_it_has_a_teacher_and_still_no_student(
    store: Store, file: CardFacts, teacher: Fingerprint
) -> None:
    del file
    rows = rollouts_from_store(store, "file")
    build(store, rows, teacher, ref="again", engine=ArithmeticEngine())
    said = card(facts_in(store, "again"))
    assert "refuse this signal:** nothing says which weights sampled the rows.\n" in said
    assert "lopd-store build" not in said
    assert "No scoring mends the rollouts" in said
    assert "none: log-probs are the float32 numbers that the engine gave" in said
    assert "never padded |" in said
    assert "--teacher TEACHER\n" in said


def test_imported_rollouts_can_be_scored_and_their_signals_are_refused(
    store: Store, teacher: Fingerprint, tmp_path: Path
) -> None:
    lines = [{name: row[name] for name in ("prompt_ids", "response_ids")} for row in line_rows(5)]
    path = write_lines(tmp_path / "rolled.jsonl", lines)
    claims = Claims(tokenizer=NamedTokenizer.open(str(teacher.folder)))
    import_file(store, path, format="jsonl", ref="rolled", claims=claims, kind="rollouts")
    said = card(facts_in(store, "rolled"))
    assert "refuse every signal that is made of these rollouts:** nothing says which we" in said
    assert "exact" not in said
    assert "rounding" not in said
    assert ["lopd-store", "build", "rollouts", "--teacher", "TEACHER", "-o", "signal"] in list(
        commands_in(said)
    )


@pytest.mark.parametrize("ref", ["signal", "file", "release"])
def test_the_card_refuses_what_the_gate_refuses(
    lineage: Lineage, file: CardFacts, release: CardFacts, ref: str
) -> None:
    facts = {"file": file, "release": release}.get(ref) or facts_in(lineage.store, ref)
    student, stamp = lineage.fingerprint(), read_stamp(lineage.student)
    chain = check_chain(facts.artifact.identities, student, stamp)
    unproved = [one for one in chain.mismatches if not one.kind.startswith("other-")]
    assert len(reasons(facts)) == len(unproved)
    assert ("lopd-train opd --signal" in card(facts)) == chain.ok


def test_a_student_that_another_teacher_taught_is_told(
    lineage: Lineage, other: Fingerprint
) -> None:
    rows = rollouts_from_store(lineage.store, "rollouts")
    build(lineage.store, rows, other, ref="wrong", engine=ArithmeticEngine())
    facts = facts_in(lineage.store, "wrong")
    said = card(facts)
    assert "the student's stamp says that another teacher wrote its SFT data." in said
    assert "lopd-store build rows --teacher SFT_TEACHER" in said
    assert "--rescore" not in said
    assert "*made*: the trainer that did the SFT wrote it into the student's stamp." in said


def test_rows_of_several_makers_say_so_of_each(
    store: Store, file: CardFacts, teacher: Fingerprint, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "file.jsonl", line_rows(5, seed=1))
    claims = Claims(tokenizer=NamedTokenizer.open(str(teacher.folder)), teacher=teacher)
    import_file(store, path, format="jsonl", ref="other", claims=claims)
    merge(store, ["file", "other"], ref="both")
    said = card(facts_in(store, "both"))
    first, second = (one.digest.short for one in load(store, "both").identities)
    assert f"Rows of identity `{first}`, 1 of 2:" in said
    assert (
        f"<details><summary>Further identities: 1</summary>\n\nRows of identity `{second}`:" in said
    )
    assert f"| `unknown, {teacher.model.weights_digest.short} (asserted)` |" in said
    assert "which model gave the log-probs; nothing says of which tokenizer" in said
    assert "which model gave the log-probs is only asserted." in said
    assert "lightning-opd" not in said
    assert file.artifact.identities[0] == load(store, "both").identities[0]


def test_a_masked_signal_is_not_offered_to_a_trainer_that_takes_no_masks(
    lineage: Lineage,
) -> None:
    facts = facts_in(lineage.store, "signal")
    assert "lightning-opd" in card(facts)
    trained = facts.statistics.trained - 1
    object.__setattr__(facts.statistics, "trained", trained)
    assert "lightning-opd" not in card(facts)
    assert re.search(rf"of responses, {trained:,} of them trained;", card(facts))
