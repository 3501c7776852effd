"""Rows that cannot be scored cost nobody else: left out, counted, listed; and twins are kept."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.documents.skipped import parse_skipped
from lopd_store.errors import (
    FormatError,
)
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import (
    Arithmetic,
    build_signal,
    publish_rollouts,
    random_rows,
    rows_in,
    rows_of,
)


def bad_rows(count: int) -> pa.RecordBatch:
    """Good rows with eight bad ones among them."""
    rows = random_rows(count)
    prompts, responses = rows["prompt_ids"].to_pylist(), rows["response_ids"].to_pylist()
    logprobs = rows["rollout_logprobs"].to_pylist()
    for place, (prompt, response) in BAD.items():
        prompts[place], responses[place] = prompt, response
        logprobs[place] = [-1.0] * len(response)
    logprobs[20][0] = float("nan")
    logprobs[21][0] = float("-inf")
    logprobs[22][0] = 0.5
    logprobs[23].append(-1.0)
    return rows_of(prompts, responses, rollout_logprobs=logprobs)


BAD: dict[int, tuple[list[int], list[int]]] = {
    3: ([], [7, 8]),
    4: ([7, 8], []),
    11: ([7, 320], [8]),
    12: ([7], [8, -1]),
    13: ([7] * 400, [8] * 113),
}
REASONS = {
    3: "empty-prompt",
    4: "empty-response",
    11: "token-out-of-vocabulary",
    12: "token-out-of-vocabulary",
    13: "too-long",
    20: "logprob-not-finite",
    21: "logprob-not-finite",
    22: "logprob-positive",
    23: "logprob-length",
}


@pytest.fixture
def bad_store(tmp_path: Path, student: Fingerprint) -> Store:
    store = Store.open(tmp_path / "bad", create=True, sync=no_sync)
    publish_rollouts(store, student, [bad_rows(60)])
    return store


def test_bad_rows_are_listed_with_number_and_reason_and_the_others_are_scored(
    bad_store: Store, teacher: Fingerprint
) -> None:
    scorer = Arithmetic()
    built = build_signal(bad_store, teacher, scorer=scorer)
    assert built.skipped == dict(Counter(REASONS.values()))
    artifact = load(bad_store, "signal")
    assert artifact.document.rows == 60 - len(REASONS) == sum(scorer.calls[:-32])
    assert artifact.manifest.skipped is not None
    listed = parse_skipped(bad_store.blobs.get(artifact.manifest.skipped.digest))
    assert {row.row: row.reason for row in listed} == REASONS
    details = {row.row: row.detail for row in listed}
    assert "response_ids 0" in details[4]
    length = len(bad_rows(60)["response_ids"][23])
    assert f"response_ids {length}, rollout_logprobs {length + 1}" in details[23]
    assert verify_artifact(bad_store, "signal", Depth()).problems == []
    kept = [r for i, r in enumerate(bad_rows(60)["response_ids"].to_pylist()) if i not in REASONS]
    assert rows_in(bad_store, "signal")["response_ids"].to_pylist() == kept


def test_with_fail_the_bad_row_is_named_before_anything_is_scored(
    bad_store: Store, teacher: Fingerprint
) -> None:
    for chunk_tokens in (20, 300):
        scorer = Arithmetic()
        with pytest.raises(FormatError, match="row 3: empty-prompt") as caught:
            build_signal(
                bad_store, teacher, scorer=scorer, on_error="fail", chunk_tokens=chunk_tokens
            )
        assert scorer.calls == []
        assert caught.value.problems[0].where == "row 3"
    assert list(bad_store.refs.list()) == ["rollouts"]
    assert bad_store.fsck() == []


def test_with_fail_a_bad_row_in_the_last_chunk_is_named_before_anything_is_scored(
    tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    store = Store.open(tmp_path / "late", create=True, sync=no_sync)
    publish_rollouts(store, student, [random_rows(40), rows_of([[7]], [[]], rollout_logprobs=[[]])])
    scorer = Arithmetic()
    with pytest.raises(FormatError, match="row 40: empty-response"):
        build_signal(store, teacher, scorer=scorer, on_error="fail")
    assert scorer.calls == []


def test_skipped_rows_in_some_chunks_only_do_not_change_the_shards(
    tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    rows = random_rows(60)
    clean = Store.open(tmp_path / "clean", create=True, sync=no_sync)
    publish_rollouts(clean, student, [rows])
    build_signal(clean, teacher)
    dirty = Store.open(tmp_path / "dirty", create=True, sync=no_sync)
    publish_rollouts(dirty, student, [rows, rows_of([[7]], [[]], rollout_logprobs=[[]])])
    build_signal(dirty, teacher)
    one, other = load(clean, "signal"), load(dirty, "signal")
    assert one.document.content_digest == other.document.content_digest


def test_an_input_without_one_usable_row_is_refused_with_the_reasons(
    tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    store = Store.open(tmp_path / "none", create=True, sync=no_sync)
    publish_rollouts(store, student, [rows_of([[7], []], [[], [7]], rollout_logprobs=[[], [-1.0]])])
    with pytest.raises(FormatError, match="found none; skipped: 1 empty-response, 1 empty-prompt"):
        build_signal(store, teacher)


def test_duplicate_samples_are_kept_numbered_and_reported(
    tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    store = Store.open(tmp_path / "twins", create=True, sync=no_sync)
    prompts, responses = [[7], [8], [7], [7], [8]], [[9], [9], [9], [9, 10], [9]]
    publish_rollouts(store, student, [rows_of(prompts, responses)])
    build_signal(store, teacher)
    names = rows_in(store, "signal")["sample_id"].to_pylist()
    assert len(set(names)) == 5
    assert names[2] == f"{names[0]}.1"
    assert names[4] == f"{names[1]}.1"
    assert load(store, "signal").document.duplicates == 2
    assert verify_artifact(store, "signal", Depth()).problems == []
