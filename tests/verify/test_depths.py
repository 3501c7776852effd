"""Depth 2, who scored it, and depth 3, whether that teacher gives these numbers: each can fail."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.building.publish import attach_noise
from lopd_store.digest import Digest
from lopd_store.documents.noise import Noise
from lopd_store.errors import ConsistencyError, FormatError, IntegrityError, Problem, UsageError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from lopd_store.verify.behaviour import CAP, at, places, tolerance
from lopd_store.verify.report import Report
from lopd_store.verify.target import Depth, verify_artifact, verify_file
from tests.building.chain import Arithmetic, ArithmeticEngine, build_signal
from tests.verify.tamper import republish, rows_of_signal, stray, with_values


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def rescoring(teacher: Fingerprint, rows: int = 60, **scorer: Any) -> Depth:
    engine = ArithmeticEngine(opened=Arithmetic(**scorer))
    return Depth(teacher=teacher, rescore=rows, engine=engine)


def test_the_teacher_that_scored_it_passes_depth_2(signal: Store, teacher: Fingerprint) -> None:
    report = verify_artifact(signal, "signal", Depth(teacher=teacher))
    assert (report.problems, report.depth, report.exit_code) == ([], 2, 0)


def test_another_teacher_fails_depth_2(signal: Store, student: Fingerprint) -> None:
    report = verify_artifact(signal, "signal", Depth(teacher=student))
    assert (report.exit_code, kinds(report)) == (6, {"other-weights"})
    (problem,) = report.problems
    assert student.model.weights_digest.short in problem.found


def test_one_float_one_step_off_is_another_teacher(
    signal: Store, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models["teacher"], tmp_path / "almost"))
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(bytes(data))
    report = verify_artifact(signal, "signal", Depth(teacher=fingerprint(str(folder))))
    assert kinds(report) == {"other-weights"}


def test_another_tokenizer_fails_depth_2(
    signal: Store, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models["teacher"], tmp_path / "stranger"))
    path = folder / "tokenizer.json"
    text = path.read_text().replace('"Ġthe": 265', '"Ġthe": 266').replace('"12": 266', '"12": 265')
    path.write_text(text)
    report = verify_artifact(signal, "signal", Depth(teacher=fingerprint(str(folder))))
    assert report.exit_code == 6
    assert "other-vocabulary" in kinds(report)


def test_a_model_without_tokenizer_is_compared_by_weights_and_says_so(
    signal: Store, teacher: Fingerprint
) -> None:
    bare = replace(teacher, tokenizer=None, tokenizer_blob=None)
    report = verify_artifact(signal, "signal", Depth(teacher=bare))
    assert report.problems == []
    assert any("tokenizer not compared" in note for note in report.notes)


def test_rollouts_have_no_teacher_to_compare(signal: Store, teacher: Fingerprint) -> None:
    with pytest.raises(UsageError, match=r"that names a teacher .*, found kind roll"):
        verify_artifact(signal, "rollouts", Depth(teacher=teacher))


def test_a_stray_shard_is_compared_with_a_teacher_and_scored_again(
    signal: Store, teacher: Fingerprint, student: Fingerprint, tmp_path: Path
) -> None:
    path = stray(signal, tmp_path)
    assert verify_file(path, rescoring(teacher)).depth == 3
    assert verify_file(path, rescoring(teacher)).problems == []
    assert verify_file(path, Depth(teacher=student)).exit_code == 6
    assert "rescore-disagrees" in kinds(verify_file(path, rescoring(teacher, shift=0.5)))


def test_a_teacher_that_gives_these_numbers_passes_depth_3(
    signal: Store, teacher: Fingerprint
) -> None:
    depth = rescoring(teacher, 7)
    report = verify_artifact(signal, "signal", depth)
    assert (report.problems, report.depth) == ([], 3)
    assert isinstance(depth.engine, ArithmeticEngine)
    assert sum(depth.engine.opened.calls) == 7
    assert "largest difference 0 nats" in report.notes[-1]


def test_numbers_altered_by_a_publisher_fail_depth_3_and_only_there(
    signal: Store, teacher: Fingerprint
) -> None:
    rows = rows_of_signal(signal)
    values = rows["teacher_logprobs"].to_pylist()
    values[33][0] -= 0.01
    republish(
        signal, with_values(rows, "teacher_logprobs", pa.array(values, pa.list_(pa.float32())))
    )
    assert verify_artifact(signal, "bad", Depth(teacher=teacher)).problems == []
    report = verify_artifact(signal, "bad", rescoring(teacher))
    assert report.exit_code == 6
    (problem,) = report.problems
    assert problem.kind == "rescore-disagrees"
    assert problem.where == f"sample {rows['sample_id'][33].as_py()} position 0"


def noise_of(bound: str) -> Noise:
    return Noise.of(
        scoring="teacher",
        rows=32,
        tokens=320,
        differing=320,
        mean_abs=bound,
        max_abs=bound,
        bound=bound,
    )


def test_a_publisher_who_declares_a_noise_of_1000_nats_gains_nothing(
    signal: Store, teacher: Fingerprint
) -> None:
    rows = rows_of_signal(signal)
    lower = [[x - 0.25 for x in row] for row in rows["teacher_logprobs"].to_pylist()]
    bad = republish(
        signal, with_values(rows, "teacher_logprobs", pa.array(lower, pa.list_(pa.float32())))
    )
    attach_noise(signal, load(signal, "bad").manifest.descriptor(), noise_of("1000"))
    report = verify_artifact(signal, str(bad), rescoring(teacher))
    assert report.exit_code == 6
    assert kinds(report) == {"rescore-disagrees"}
    assert f"allowed {CAP['float32']:.3g}" in report.notes[-1]
    assert len(report.problems) == 20


@pytest.mark.parametrize(
    ("bound", "dtype", "expected"),
    [
        (None, "float32", 1e-3),
        ("1000", "float32", 1e-3),
        ("0.0002", "float32", 2e-4),
        ("0.0002", "bfloat16", 0.5),
        (None, "bfloat16", 0.5),
        (None, "float16", 5e-2),
        (None, "fp8", 0.5),
    ],
)
def test_the_tolerance_is_the_smaller_of_noise_and_cap(
    signal: Store, bound: str | None, dtype: str, expected: float
) -> None:
    identity = load(signal, "signal").identities[0]
    noise = noise_of(bound) if bound else None
    assert tolerance(identity, noise, dtype).nats == expected


def test_rounding_that_the_identity_states_is_allowed_on_top(
    store: Store, teacher: Fingerprint
) -> None:
    build_signal(store, teacher, precision="2^-8", ref="rounded")
    identity = load(store, "rounded").identities[0]
    assert tolerance(identity, None, "float32").nats == 1e-3 + 2**-8
    assert verify_artifact(store, "rounded", rescoring(teacher)).problems == []
    assert verify_artifact(store, "rounded", rescoring(teacher, shift=0.0625)).exit_code == 6


def test_nothing_is_scored_again_for_the_wrong_teacher(signal: Store, student: Fingerprint) -> None:
    depth = rescoring(student)
    assert verify_artifact(signal, "signal", depth).depth == 2
    assert isinstance(depth.engine, ArithmeticEngine)
    assert depth.engine.opened.calls == []


def test_damaged_evidence_is_a_problem_and_not_a_crash(signal: Store, teacher: Fingerprint) -> None:
    artifact = signal.refs.resolve("signal")
    (evidence,) = signal.evidence(artifact)
    path = signal.blobs.path(evidence.digest)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    report = verify_artifact(signal, "signal", rescoring(teacher))
    assert (report.exit_code, report.depth) == (3, 3)
    assert kinds(report) == {"size-mismatch"}


def test_a_scorer_that_answers_nan_disagrees(signal: Store, teacher: Fingerprint) -> None:
    report = verify_artifact(signal, "signal", rescoring(teacher, shift=float("nan")))
    assert report.exit_code == 6


@pytest.mark.parametrize(
    ("total", "wanted"), [(10, 3), (10, 1), (10, 10), (10, 99), (7, 4), (1, 1), (0, 3)]
)
def test_one_row_of_each_equal_part_is_scored_again(total: int, wanted: int) -> None:
    parts = min(total, wanted)
    for _ in range(20):
        found = places(total, wanted)
        assert len(found) == parts
        for part, place in enumerate(found):
            assert total * part // parts <= place < total * (part + 1) // parts


def test_nobody_can_foresee_which_row_is_scored_again() -> None:
    assert len({places(10, 1)[0] for _ in range(200)}) > 5


@pytest.mark.parametrize("cut", [1, 2, 3, 10])
@pytest.mark.parametrize("chosen", [[0], [9], [3, 4, 8], list(range(10)), []])
def test_rows_are_found_by_number_however_they_are_cut(cut: int, chosen: list[int]) -> None:
    table = pa.table({"n": np.arange(10)})
    found = at(iter(table.to_batches(max_chunksize=cut)), chosen)
    assert [n for batch in found for n in batch.column("n").to_pylist()] == chosen


def test_rescoring_needs_a_teacher_and_a_count(teacher: Fingerprint) -> None:
    with pytest.raises(UsageError, match="--teacher"):
        Depth(rescore=3)
    with pytest.raises(UsageError, match="-1"):
        Depth(rescore=-1, teacher=teacher)


def test_the_gravest_problem_gives_the_exit_code() -> None:
    report = Report(target="x")
    assert report.ok
    one = Problem("a", "b", "c", "d")
    for error, expected in ((ConsistencyError, 6), (FormatError, 5), (IntegrityError, 3)):
        report.add(error, [one])
        assert report.exit_code == expected
    report.add(ConsistencyError, [one])
    assert report.exit_code == 3
    report.add(IntegrityError, [])
    assert len(report.to_json()["problems"]) == 4


def test_an_error_without_problems_is_reported_by_its_message() -> None:
    report = Report(target="x")
    report.add_error(FormatError("expected a, found b"), "there")
    (problem,) = report.problems
    assert (problem.kind, problem.where, problem.found) == (
        "format",
        "there",
        "expected a, found b",
    )


def test_an_unknown_artifact_is_not_found(signal: Store) -> None:
    from lopd_store.errors import NotFoundError

    with pytest.raises(NotFoundError):
        verify_artifact(signal, str(Digest.of(b"nothing")), Depth())
