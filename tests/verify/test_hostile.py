"""Publishers who know how verification works: coherent artifacts that say more than is so."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import rfc8785

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.verify.report import Report
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import Arithmetic, ArithmeticEngine, publish, tokenizer_blob_of
from tests.verify.tamper import (
    Layers,
    raw_manifest,
    republish,
    rows_of_signal,
    with_layers,
    with_values,
)

FLOATS = pa.list_(pa.float32())
ONES = str(Digest.from_hex("1" * 64))


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def deepest(teacher: Fingerprint, rows: int) -> Depth:
    engine = ArithmeticEngine(opened=Arithmetic())
    return Depth(teacher=teacher, rescore=rows, engine=engine)


def as_someone_else(
    store: Store, edit: Callable[[dict[str, Any]], None], rows: pa.RecordBatch
) -> Identity:
    """Publish rows under the identity of `signal` after an edit, coherent in every digest."""
    was = load(store, "signal").identities[0]
    document = was.json
    edit(document)
    identity = Identity.from_json(document)
    blob = tokenizer_blob_of(store, was)
    publish(store, "bad", identity, [rows], tokenizer_blob=blob, shard_tokens=800)
    return identity


def lowered(rows: pa.RecordBatch, by: float) -> pa.RecordBatch:
    values = [[x - by for x in row] for row in rows["teacher_logprobs"].to_pylist()]
    return with_values(rows, "teacher_logprobs", pa.array(values, FLOATS))


def test_a_publisher_cannot_assert_that_another_model_is_the_teacher(
    signal: Store, teacher: Fingerprint
) -> None:
    def edit(document: dict[str, Any]) -> None:
        model = document["models"]["teacher"]
        model |= {"asserted_same_as": model["weights_digest"], "weights_digest": ONES}

    as_someone_else(signal, edit, rows_of_signal(signal))
    report = verify_artifact(signal, "bad", Depth(teacher=teacher))
    assert (report.exit_code, kinds(report)) == (6, {"other-weights"})


def test_rows_that_are_honest_only_at_even_distances_are_found(
    signal: Store, teacher: Fingerprint
) -> None:
    rows = rows_of_signal(signal)
    step = len(rows) // 6
    values = [
        row if place % step == 0 else [-9.5] * len(row)
        for place, row in enumerate(rows["teacher_logprobs"].to_pylist())
    ]
    republish(signal, with_values(rows, "teacher_logprobs", pa.array(values, FLOATS)))
    # All six draws fall on an honest row once in a million runs.
    assert kinds(verify_artifact(signal, "bad", deepest(teacher, 6))) == {"rescore-disagrees"}


def test_an_identity_that_allows_much_widens_no_other_identitys_rows(
    signal: Store, teacher: Fingerprint
) -> None:
    document = load(signal, "signal").identities[0].json
    document["precision"] = {"max_error": "2^-1"}
    document["scorings"]["teacher"]["dtype"] = "bfloat16"
    wide = rfc8785.dumps(document)
    digest = str(signal.blobs.put(wide))
    republish(signal, lowered(rows_of_signal(signal), 0.9))
    bad = load(signal, "bad")
    config = bad.document.json
    config["identities"].insert(0, digest)
    data = rfc8785.dumps(config)
    manifest = bad.manifest.json
    manifest["config"] |= {"digest": str(signal.blobs.put(data)), "size": len(data)}
    layer = {"mediaType": manifest["layers"][0]["mediaType"], "digest": digest, "size": len(wide)}
    manifest["layers"].insert(0, layer)
    raw_manifest(signal, rfc8785.dumps(manifest), ref="wide")
    report = verify_artifact(signal, "wide", deepest(teacher, 5))
    assert kinds(report) == {"rescore-disagrees"}
    assert "allowed 0.001" in report.notes[-1]


def test_tokens_that_a_mask_hides_are_not_counted_as_scored_again(
    signal: Store, teacher: Fingerprint
) -> None:
    rows = rows_of_signal(signal)
    lengths = [len(row) for row in rows["response_ids"].to_pylist()]
    zeros = pa.array([[0.0] * n for n in lengths], FLOATS)
    for name in ("teacher_logprobs", "rollout_logprobs"):
        rows = with_values(rows, name, zeros)
    mask = pa.array([[False] * n for n in lengths], pa.list_(pa.bool_()))
    republish(signal, rows.append_column("loss_mask", mask))
    report = verify_artifact(signal, "bad", deepest(teacher, 60))
    assert report.notes[-1].startswith("0 tokens scored again")


@pytest.mark.parametrize("name", ["core_digest", "vocab_digest", "chat_template_digest"])
def test_a_tokenizer_that_is_not_the_one_the_identity_describes_is_named(
    signal: Store, name: str
) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["tokenizer"][name] = ONES

    as_someone_else(signal, edit, rows_of_signal(signal))
    report = verify_artifact(signal, "bad", Depth())
    assert (report.exit_code, kinds(report)) == (3, {"tokenizer-differs"})
    assert name in report.problems[0].expected


def test_values_that_were_never_rounded_cannot_claim_the_tolerance_of_rounding(
    signal: Store,
) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["precision"] = {"max_error": "2^-1"}

    as_someone_else(signal, edit, rows_of_signal(signal))
    report = verify_artifact(signal, "bad", Depth())
    assert (report.exit_code, kinds(report)) == (5, {"not-rounded"})


def test_a_signal_without_the_tokenizer_that_it_names_is_told(signal: Store) -> None:
    def edit(layers: Layers) -> Layers:
        return [layer for layer in layers if "tokenizer" not in layer["mediaType"]]

    with_layers(signal, edit)
    report = verify_artifact(signal, "bad", Depth())
    assert [problem.kind for problem in report.problems] == ["unnamed-blob"]
    assert report.exit_code == 5


def test_a_teacher_moved_among_the_assertions_is_known_no_more(signal: Store) -> None:
    def edit(document: Any) -> None:
        teacher = document["models"].pop("teacher")
        del document["scorings"]["teacher"]
        document["signals"] = [one for one in document["signals"] if one["model"] != "teacher"]
        claims = {"asserted": {"models": {"teacher": teacher}}, "tokenizer": "asserted"}
        document["imported"] = {"digest": "sha256:" + "0" * 64, "retokenised": False, **claims}

    identity = as_someone_else(signal, edit, rows_of_signal(signal))
    assert identity.teacher is None
    report = verify_artifact(signal, "bad", Depth())
    assert report.ok
    assert "asserted by whoever imported them" in report.notes[0]
