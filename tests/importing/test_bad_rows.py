"""A row that cannot be used is left out with a reason, and costs no other row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store import inspect
from lopd_store.building.options import JobOptions
from lopd_store.errors import FormatError
from lopd_store.importing import NamedTokenizer
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.importing.files import three, write_release
from tests.importing.taking import of_release, stored

NAN, INF = float("nan"), float("inf")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too few log-probs": ({"teacher_log_probs": [-1.0]}, "logprob-length"),
    "NaN": ({"teacher_log_probs": [-1.0, NAN, -1.0]}, "logprob-not-finite"),
    "minus infinity": ({"teacher_log_probs": [-1.0, -INF, -1.0]}, "logprob-not-finite"),
    "too large for float32": ({"teacher_log_probs": [-1.0, -1e300, -1.0]}, "logprob-not-finite"),
    "a server's -9999.0": ({"teacher_log_probs": [-1.0, -9999.0, -1.0]}, "logprob-not-finite"),
    "above zero": ({"teacher_log_probs": [-1.0, 0.5, -1.0]}, "logprob-positive"),
    "a null inside": ({"teacher_log_probs": [-1.0, None, -1.0]}, "null-value"),
    "no log-probs": ({"teacher_log_probs": None}, "null-value"),
    "no ids": ({"response_tokens": None}, "null-value"),
    "an id out of the vocabulary": ({"response_tokens": [5, 267, 6]}, "token-out-of-vocabulary"),
    "an id out of int32": ({"response_tokens": [5, 2**40, 6]}, "unreadable-row"),
    "an id below zero": ({"response_tokens": [5, -1, 6]}, "token-out-of-vocabulary"),
    "nothing": (
        {"response_tokens": [], "teacher_log_probs": [], "loss_mask": []},
        "empty-response",
    ),
    "a mask of twos": ({"loss_mask": [1, 2, 1]}, "unreadable-row"),
    "a short mask": ({"loss_mask": [1]}, "mask-length"),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_row_costs_itself_only_and_is_listed(
    why: str, empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    metadata, reason = BAD[why]
    rows = [three(), three(**metadata), three(response_tokens=[8, 9, 10])]
    path = tmp_path / "f.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)  # pandas would make nulls of NaN
    made = of_release(empty, path, tokenizer)
    assert made.built.skipped == {reason: 1}
    assert [row["response_ids"] for row in stored(empty)] == [[5, 6, 7], [8, 9, 10]]
    (left,) = inspect.skipped(empty, "signal")
    assert (left["row"], left["reason"]) == (1, reason)
    with pytest.raises(FormatError, match="row 1"):
        of_release(empty, path, tokenizer, "strict", options=JobOptions(on_error="fail"))
    assert empty.refs.get("strict") is None


def test_a_null_where_a_struct_or_a_prompt_should_be_costs_its_row(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = [three(), three() | {"metadata": None}, three() | {"prompt": None}, three()]
    made = of_release(empty, write_release(tmp_path / "f.parquet", rows), tokenizer)
    assert made.built.skipped == {"null-value": 2}
    assert [row["sample_id"][32:] for row in stored(empty)] == ["", ".1"]
    assert made.built.duplicates == 1


def test_what_rounding_put_above_zero_is_zero_and_no_zero_is_negative(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = [three(teacher_log_probs=[9e-7, -0.0, -1e-46])]
    of_release(empty, write_release(tmp_path / "f.parquet", rows), tokenizer)
    (row,) = stored(empty)
    values = np.array(row["teacher_logprobs"])
    assert values.tolist() == [0.0, 0.0, 0.0]
    assert not np.signbit(values).any()


def test_a_float64_that_no_float32_is_becomes_the_nearest_one(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    values = [-0.1, -1 / 3, -12.3456789]
    path = write_release(tmp_path / "f.parquet", [three(teacher_log_probs=values)])
    of_release(empty, path, tokenizer)
    (row,) = stored(empty)
    assert row["teacher_logprobs"] == np.array(values).astype(np.float32).tolist()


def test_log_probs_where_the_mask_is_false_are_zero_whatever_stood_there(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    rows = [three(loss_mask=[0, 1, 0], teacher_log_probs=[-9999.0, -2.0, 7.0])]
    of_release(empty, write_release(tmp_path / "f.parquet", rows), tokenizer)
    (row,) = stored(empty)
    assert row["teacher_logprobs"] == [0.0, -2.0, 0.0]
    assert row["loss_mask"] == [False, True, False]
    assert verify_artifact(empty, "signal", Depth()).ok
