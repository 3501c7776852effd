"""`lopd-train opd` on an import: refused with advice, or gone on with and on record."""

from dataclasses import replace
from pathlib import Path

import pytest

from lopd_store.importing import Claims, import_file
from lopd_store.stamping import read_stamp
from lopd_store.store import Store
from tests.building.lineage import Lineage
from tests.cli.runner import Said
from tests.importing.cases import Case
from tests.importing.files import line_rows, write_lines
from tests.train.chain import QUICK, lopd_train


@pytest.fixture
def chain(case: Case) -> Lineage:
    case.keep(teacher=case.teacher)
    return case.lineage


def opd(chain: Lineage, output: Path, *more: object) -> Said:
    words = ("--signal", "file", "--model", chain.student, "-o", output)
    return lopd_train("opd", *words, "--store", chain.store.root, *QUICK, *more)


def test_it_is_refused_and_told_how_to_mend_it(chain: Lineage, tmp_path: Path) -> None:
    said = opd(chain, tmp_path / "out")
    assert said.code == 6
    for words in (
        "asserted-teacher: that this model gave these log-probs is only asserted",
        "unknown-policy: nothing says which weights sampled these rows",
        "next: score them again: lopd-store build REF --teacher",
        "verify REF --teacher T --rescore 32",
        "--allow-inconsistent-teacher",
    ):
        assert words in said.err
    assert not (tmp_path / "out").exists()


def test_what_goes_on_all_the_same_says_so_for_ever(chain: Lineage, tmp_path: Path) -> None:
    said = opd(chain, tmp_path / "out", "--steps", 1, "--allow-inconsistent-teacher")
    assert said.code == 0, said.err
    assert "INCONSISTENT TEACHER  rows: asserted-teacher" in said.err
    stamp = read_stamp(tmp_path / "out")
    assert stamp is not None
    (run,) = stamp.opd
    assert [problem.kind for problem in run.inconsistent] == ["asserted-teacher", "unknown-policy"]


def test_ids_that_the_student_does_not_have_are_refused_before_the_first_step(
    chain: Lineage, tmp_path: Path
) -> None:
    rows = [row | {"rollout_logprobs": row["teacher_logprobs"]} for row in line_rows(3)]
    rows[1]["response_ids"][0] = 2**31 - 1
    path = write_lines(tmp_path / "beyond.jsonl", rows)
    store: Store = chain.store
    import_file(store, path, format="jsonl", ref="file", claims=Claims())
    said = opd(replace(chain, store=store), tmp_path / "out", "--allow-inconsistent-teacher")
    assert said.code == 5
    assert "expected token ids below 320" in said.err
