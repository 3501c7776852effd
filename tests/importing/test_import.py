"""Files become artifacts: every good row, none of the bad, the same bytes each time."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store import inspect
from lopd_store.artifacts import load
from lopd_store.building.options import JobOptions
from lopd_store.building.progress import Silence
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, UsageError
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.importing.files import (
    ids_of,
    line_rows,
    release_rows,
    three,
    write_lines,
    write_release,
)
from tests.importing.taking import of_lines, of_release, stored
from tests.models import EOS


def test_every_row_of_the_release_is_there_as_its_trainer_would_have_it(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = release_rows(40)
    made = of_release(empty, write_release(tmp_path / "f.parquet", rows), tokenizer)
    assert (made.built.rows, made.built.skipped) == (40, {})
    for row, source in zip(stored(empty), rows, strict=True):
        metadata = source["metadata"]
        assert row["prompt_ids"] == ids_of(tokenizer.folder, source["prompt"])
        assert row["response_ids"] == metadata["response_tokens"]
        assert row["teacher_logprobs"] == metadata["teacher_log_probs"]
        assert row["loss_mask"] == [True] * len(row["response_ids"])
        assert (row["prompt_text"], row["response_text"]) == (
            source["prompt"],
            metadata["response"],
        )
        assert row["finish_reason"] == ("stop" if row["response_ids"][-1] == EOS else "unknown")
        assert row["label"] == "0"
    assert made.finish_reasons == {"stop": 10, "unknown": 30}
    report = verify_artifact(empty, "signal", Depth())
    assert report.ok, report.problems


def test_the_same_bytes_and_claims_give_the_same_artifact_in_any_store(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = write_release(tmp_path / "f.parquet", release_rows(30))
    first = of_release(empty, path, tokenizer).built.artifact
    again = of_release(empty, Path(shutil.copy(path, tmp_path / "g.parquet")), tokenizer, "again")
    elsewhere = Store.open(tmp_path / "elsewhere", create=True)
    options = JobOptions(chunk_tokens=50)
    other = of_release(elsewhere, path, tokenizer, "other", options=options)
    assert first == again.built.artifact == other.built.artifact
    said = Claims(tokenizer=tokenizer, dtype="bfloat16")
    changed = import_file(elsewhere, path, format="lightning-opd", ref="said", claims=said)
    assert changed.built.artifact != first


def test_an_import_that_was_stopped_goes_on_and_comes_to_the_same_artifact(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = write_release(tmp_path / "f.parquet", release_rows(60))
    options = JobOptions(chunk_tokens=100)

    class Stop(Silence):
        left = 3

        def advance(self, tokens: int) -> None:
            assert tokens >= 100
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of_release(empty, path, tokenizer, options=options, progress=Stop())
    assert empty.refs.get("signal") is None
    made = of_release(empty, path, tokenizer, options=options)
    assert made.built.resumed_tokens >= 300
    whole = Store.open(tmp_path / "whole", create=True)
    assert of_release(whole, path, tokenizer).built.artifact == made.built.artifact
    assert not empty.fsck()


def test_a_second_run_moves_nothing(empty: Store, tmp_path: Path) -> None:
    rows = line_rows(5)
    first = of_lines(empty, rows, tmp_path)
    history = empty.refs.history("signal")
    assert of_lines(empty, rows, tmp_path).built.artifact == first.built.artifact
    assert empty.refs.history("signal") == history


def test_a_file_that_changes_while_it_is_read_is_not_published(
    empty: Store, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"

    class Meddler(Silence):
        def advance(self, tokens: int) -> None:
            assert tokens
            path.write_text(path.read_text() + "\n")

    with pytest.raises(IntegrityError, match="changed meanwhile"):
        of_lines(empty, line_rows(5), tmp_path, progress=Meddler())
    assert empty.refs.list() == {}


@pytest.mark.parametrize("how", ["rewritten", "truncated", "replaced", "removed"])
def test_what_was_read_of_a_file_while_it_was_another_is_never_published(
    empty: Store, tmp_path: Path, how: str
) -> None:
    """Not by the next import either, which goes on where this one was, once the file is back."""
    path = tmp_path / "rows.jsonl"
    rows = line_rows(5)
    write_lines(path, rows)
    good = path.read_bytes()
    time.sleep(0.03)

    class Meddler(Silence):
        def begin(self, *, total_tokens: int, done_tokens: int) -> None:
            assert (total_tokens > 0, done_tokens) == (True, 0)
            if how in {"replaced", "removed"}:
                path.rename(tmp_path / "old")
            if how != "removed":
                worse = good.replace(b"-", b"-9")
                path.write_bytes(worse[: len(good) // 2] if how == "truncated" else worse)

    with pytest.raises((IntegrityError, NotFoundError)):
        import_file(empty, path, format="jsonl", ref="signal", progress=Meddler())
    path.write_bytes(good)
    import_file(empty, path, format="jsonl", ref="signal")
    for row, source in zip(stored(empty), rows, strict=True):
        assert np.array_equal(row["teacher_logprobs"], np.float32(source["teacher_logprobs"]))


def test_the_students_own_log_probs_are_taken_where_the_release_has_them(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = [three(student_log_probs=[-0.5, -0.25, 0.0])]
    of_release(empty, write_release(tmp_path / "f.parquet", rows), tokenizer)
    assert stored(empty)[0]["rollout_logprobs"] == [-0.5, -0.25, 0.0]


def test_prompts_that_are_ids_need_no_tokenizer(empty: Store, tmp_path: Path) -> None:
    rows = [three() | {"prompt": [3, 5, 4]}, three() | {"prompt": [3, 2**31 - 1]}]
    path = write_release(tmp_path / "f.parquet", rows)
    made = import_file(empty, path, format="lightning-opd", ref="signal")
    assert [row["prompt_ids"] for row in stored(empty)] == [[3, 5, 4], [3, 2**31 - 1]]
    assert made.identity.tokenizer is None


def test_text_and_no_tokenizer_is_a_question_of_usage(empty: Store, tmp_path: Path) -> None:
    path = write_release(tmp_path / "f.parquet", [three()])
    with pytest.raises(UsageError, match="--tokenizer"):
        import_file(empty, path, format="lightning-opd", ref="signal")


def test_a_file_of_the_releases_first_phase_is_rollouts(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = [three()]
    del rows[0]["metadata"]["teacher_log_probs"]
    path = write_release(tmp_path / "f.parquet", rows)
    with pytest.raises(FormatError, match="--kind rollouts"):
        of_release(empty, path, tokenizer)
    made = of_release(empty, path, tokenizer, kind="rollouts")
    assert made.identity.kind == inspect.show(empty, "signal")["kind"] == "rollouts"
    assert verify_artifact(empty, "signal", Depth()).ok
    scored = write_release(tmp_path / "scored.parquet", [three()])
    with pytest.raises(FormatError, match="--kind signal"):
        of_release(empty, scored, tokenizer, kind="rollouts")


def test_lines_may_have_every_column_of_the_format_and_others(empty: Store, tmp_path: Path) -> None:
    row = {
        "prompt_ids": [5, 6],
        "response_ids": [7, 8],
        "teacher_logprobs": [-1, -0.5],
        "rollout_logprobs": [-0.25, -3e-5],
        "reference_logprobs": [-2.0, 0],
        "loss_mask": [1, 1],
        "finish_reason": "length",
        "prompt_text": "p",
        "answer": "42",
        "sample_id": "made up",
        "prompt_id": "this too",
    }
    made = of_lines(empty, [row, row | {"finish_reason": None}], tmp_path)
    first, second = stored(empty)
    for name in ("prompt_ids", "response_ids", "teacher_logprobs", "prompt_text", "answer"):
        assert first[name] == row[name]
    assert first["rollout_logprobs"] == [-0.25, float(np.float32(-3e-5))]
    assert first["sample_id"] != "made up"
    assert second["sample_id"] == f"{first['sample_id']}.1"
    assert made.finish_reasons == {"length": 1, "unknown": 1}
    assert verify_artifact(empty, "signal", Depth()).ok


def test_lines_of_text_take_the_tokenizers_chat_template(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    talk = [{"role": "user", "content": "the thing"}]
    rows = [{"messages": talk, "response_ids": [7], "teacher_logprobs": [-1.0]}]
    made = of_lines(empty, rows, tmp_path, claims=Claims(tokenizer=tokenizer))
    expected = ids_of(tokenizer.folder, "<|user|>the thing<|eos|><|assistant|>")
    assert stored(empty)[0]["prompt_ids"] == expected
    assert made.identity.imported is not None
    assert made.identity.imported.retokenised
    with pytest.raises(FormatError, match="expected a column prompt_ids"):
        of_lines(empty, rows, tmp_path)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "prompt_ids, messages or prompt, found none"),
        ([{"prompt_ids": [1], "response_ids": [2]}], "--kind rollouts"),
        ([{"response_ids": [2], "teacher_logprobs": [-1]}], "prompt_ids, messages or prompt"),
        (["not json"], "expected"),
    ],
    ids=["nothing", "nobody scored", "no prompt", "no object"],
)
def test_a_file_without_what_a_signal_needs_is_refused(
    rows: list[Any], says: str, empty: Store, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=says):
        of_lines(empty, rows, tmp_path)
    assert empty.refs.list() == {}


def test_a_file_with_no_row_left_says_why(empty: Store, tmp_path: Path) -> None:
    rows = [{"prompt_ids": [1], "response_ids": [], "teacher_logprobs": []}] * 3
    with pytest.raises(FormatError, match="skipped: 3 empty-response"):
        of_lines(empty, rows, tmp_path)


@pytest.mark.parametrize("name", ["trl", "parquet", ""])
def test_a_format_nobody_reads_is_refused(name: str, empty: Store, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", line_rows(1))
    with pytest.raises(UsageError, match="jsonl, lightning-opd"):
        import_file(empty, path, format=name, ref="signal")
    with pytest.raises(UsageError, match="signal or rollouts"):
        import_file(empty, path, format="jsonl", ref="signal", kind="sft")
    with pytest.raises(NotFoundError):
        import_file(empty, tmp_path / "none.jsonl", format="jsonl", ref="signal")


def test_columns_of_ours_are_read_from_parquet_as_from_lines(empty: Store, tmp_path: Path) -> None:
    rows = line_rows(7)
    made = of_lines(empty, rows, tmp_path)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)  # int64 ids and float64 log-probs
    import_file(empty, path, format="jsonl", ref="parquet")
    assert stored(empty, "parquet") == stored(empty)
    assert made.identity.digest != load(empty, "parquet").identities[0].digest


def test_lines_in_chunks_are_the_lines_in_one(empty: Store, tmp_path: Path) -> None:
    rows = line_rows(1100)  # more than two batches of the reader
    made = of_lines(empty, rows, tmp_path, options=JobOptions(chunk_tokens=500, shard_tokens=3000))
    assert made.built.rows == 1100
    found = stored(empty)
    keys = ("prompt_ids", "response_ids", "teacher_logprobs")
    assert [json.dumps({key: row[key] for key in keys[:2]}) for row in found] == [
        json.dumps({key: row[key] for key in keys[:2]}) for row in rows
    ]
    assert len(inspect.show(empty, "signal")["shards"]) > 2
