"""Names and types: what a kind needs, what others may bring, and what is re-laid."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.errors import FormatError
from lopd_store.rows import columns

SIGNAL = {name: columns.type_text(columns.TYPES[name]) for name in columns.required("signal")}


def kinds(schema: dict[str, pa.DataType], kind: str = "signal") -> list[tuple[str, str]]:
    full = {name: columns.TYPES[name] for name in columns.required(kind)} | schema
    found = columns.schema_problems(pa.schema(list(full.items())), kind)
    return [(problem.kind, problem.where) for problem in found]


def test_the_schema_of_each_kind_has_no_problems() -> None:
    assert kinds({}) == kinds({}, "sft") == kinds({}, "rollouts") == []


def test_columns_stand_in_one_order() -> None:
    schema = columns.arrow_schema(
        {"zeta": "int64", "Alpha": "bool", **dict(reversed(SIGNAL.items()))}
    )
    assert schema.names == [
        "sample_id", "prompt_id", "prompt_ids", "response_ids", "teacher_logprobs",
        "finish_reason", "Alpha", "zeta",
    ]  # fmt: skip
    assert schema.field("teacher_logprobs").type == pa.list_(pa.float32())


@pytest.mark.parametrize("text", ["bool", "int32", "int64", "float32", "float64", "string"])
def test_type_texts_round_trip(text: str) -> None:
    assert columns.type_text(columns.arrow_type(text)) == text
    assert columns.type_text(columns.arrow_type(f"list<{text}>")) == f"list<{text}>"


@pytest.mark.parametrize(
    ("schema", "kind", "problem"),
    [
        ({"prompt_ids": pa.list_(pa.int64())}, "signal", "column-type"),
        ({"teacher_logprobs": pa.list_(pa.float64())}, "signal", "column-type"),
        ({"finish_reason": pa.int32()}, "signal", "column-type"),
        ({"loss_mask": pa.list_(pa.int8())}, "signal", "column-type"),
        ({"x": pa.list_(pa.list_(pa.int32()))}, "signal", "column-type"),
        ({"x": pa.struct([("a", pa.int32())])}, "signal", "column-type"),
        ({"x": pa.timestamp("s")}, "signal", "column-type"),
        ({"x": pa.null()}, "signal", "column-type"),
        ({"Teacher_LogProbs": pa.string()}, "signal", "reserved-name"),
        ({"": pa.string()}, "signal", "column-name"),
        ({"a\nb": pa.string()}, "signal", "column-name"),
        ({"teacher_logprobs": pa.list_(pa.float32())}, "rollouts", "column-kind"),
        ({"reference_logprobs": pa.list_(pa.float32())}, "sft", "column-kind"),
    ],
)  # fmt: skip
def test_a_wrong_column_is_named(schema: dict[str, pa.DataType], kind: str, problem: str) -> None:
    (name,) = schema
    where = name if name.isprintable() and name else repr(name)
    assert kinds(schema, kind) == [(problem, where)]


def test_a_missing_column_is_named() -> None:
    schema = columns.arrow_schema(SIGNAL).remove(0)
    (problem,) = columns.schema_problems(schema, "signal")
    assert (problem.kind, problem.where) == ("missing-column", "sample_id")


def test_a_column_twice_is_named() -> None:
    schema = columns.arrow_schema(SIGNAL).append(pa.field("finish_reason", pa.string()))
    (problem,) = columns.schema_problems(schema, "signal")
    assert problem.kind == "duplicate-column"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FormatError, match="'noise'"):
        columns.required("noise")


def conformed(name: str, array: Any) -> Any:
    return columns.conform(pa.table({name: array}), "signal").column(name)


@pytest.mark.parametrize(
    "arrow",
    [
        pa.large_list(pa.int64()), pa.list_(pa.uint16()), pa.list_(pa.int8()),
        pa.list_(pa.int32(), 2), pa.large_list(pa.field("x", pa.uint64(), nullable=False)),
    ],
    ids=str,
)  # fmt: skip
def test_token_ids_of_any_width_become_int32(arrow: pa.DataType) -> None:
    found = conformed("prompt_ids", pa.array([[1, 2], [3, 127]], arrow))
    assert found.type == pa.list_(pa.int32())
    assert found.to_pylist() == [[1, 2], [3, 127]]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1], ids=["above", "below"])
def test_a_token_id_beyond_int32_is_refused_not_wrapped(value: int) -> None:
    with pytest.raises(FormatError, match=f"found list<int64>: .*{value}"):
        conformed("prompt_ids", pa.array([[1], [value]]))


def test_engine_float64_comes_back_to_the_same_float32() -> None:
    x = np.array([-0.1, -1e-7, -12.345], np.float32)
    found = conformed("teacher_logprobs", pa.array([x.astype(np.float64).tolist()]))
    assert found.type == pa.list_(pa.float32())
    assert np.array_equal(np.array(found.to_pylist()[0], np.float32), x)


def test_a_number_mask_becomes_bool() -> None:
    found = conformed("loss_mask", pa.array([[1, 0]], pa.list_(pa.int64())))
    assert found.to_pylist() == [[True, False]]
    with pytest.raises(FormatError, match="loss_mask"):
        conformed("loss_mask", pa.array([[2]]))


def test_text_of_any_layout_becomes_string() -> None:
    for array in (
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None]).dictionary_encode(),
        pa.array(["a", None], pa.string_view()),
    ):
        assert conformed("answer", array).type == pa.string()
        assert conformed("answer", array).to_pylist() == ["a", None]


def test_lists_of_large_strings_become_lists_of_strings() -> None:
    found = conformed("tags", pa.array([["a"], []], pa.large_list(pa.large_string())))
    assert found.type == pa.list_(pa.string())


def test_a_batch_stays_a_batch_and_slices_keep_their_rows() -> None:
    batch = pa.record_batch({"x": pa.array([[1], [2], [3]], pa.large_list(pa.int32()))}).slice(1)
    found = columns.conform(batch, "sft")
    assert isinstance(found, pa.RecordBatch)
    assert found.to_pydict() == {"x": [[2], [3]]}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("when", pa.array([1], pa.timestamp("s")), "column when: .*timestamp.*drop the column"),
        ("nested", pa.array([[[1]]]), "list<list<int64>>.*drop the column"),
        ("prompt_ids", pa.array([[1.5]]), "expected list<int32>, found list<float64>"),
        ("prompt_ids", pa.array(["1 2"]), "expected list<int32>, found string"),
        ("sample_id", pa.array([1]), "expected string, found int64"),
        ("teacher_logprobs", pa.array([[1]]), "expected list<float32>, found list<int64>"),
        ("PROMPT_IDS", pa.array([[1]]), "reserved-name"),
    ],
    ids=["timestamp", "nested", "float-ids", "text-ids", "number-id", "integer-logprobs", "case"],
)
def test_what_does_not_convert_is_refused(name: str, array: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        conformed(name, array)
