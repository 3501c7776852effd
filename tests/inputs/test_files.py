"""JSONL and Parquet of strangers: what fits passes, what does not is one problem or one error."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped] # its stubs are not installed
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.building.triage import triage
from lopd_store.errors import FormatError, NotFoundError
from lopd_store.inputs.files import read_file
from lopd_store.inputs.prompts import prompts_from_file
from lopd_store.inputs.rollouts import rollouts_from_file
from lopd_store.inputs.source import PROBLEM, RowSource
from lopd_store.rows.check import bad_rows

GOOD = {"prompt_ids": [5, 6], "response_ids": [7]}


class Letters:
    """A renderer: an id per letter, and 300 before and after each message."""

    def prompt(self, text: str) -> list[int]:
        return [1, *map(ord, text)]

    def messages(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        return [i for m in messages for i in (300, *map(ord, m["content"]))] + [300]

    def templated(self, text: str) -> list[int]:
        return list(map(ord, text))

    def response(self, text: str) -> list[int]:
        return list(map(ord, text))


def jsonl(path: Path, *lines: Any) -> Path:
    texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def table_of(source: RowSource) -> pa.Table:
    return pa.Table.from_batches(list(source.read()))


def outcome(source: RowSource) -> tuple[list[Any], dict[int, str]]:
    """The usable responses, and row → detail of the others."""
    good: list[Any] = []
    bad: dict[int, str] = {}
    first = 0
    for batch in source.read():
        rows, skipped = triage(
            batch,
            lambda b: bad_rows(b, vocab_size=1000, max_tokens=None),
            first_row=first,
            on_error="skip",
        )
        good += rows.column("response_ids").to_pylist()
        bad |= {row.row: row.detail for row in skipped}
        first += len(batch)
    return good, bad


def test_jsonl_of_ids_passes_columns_through_with_their_types(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "r.jsonl",
        GOOD | {"answer": 41, "domain": "add", "weight": 0.5, "tags": ["a", "b"], "ok": True},
        GOOD | {"answer": None, "domain": "sub", "weight": 1.5, "tags": [], "ok": False},
    )
    table = table_of(rollouts_from_file(path, None))
    assert table["answer"].to_pylist() == [41, None]
    assert table["domain"].to_pylist() == ["add", "sub"]
    assert table["weight"].to_pylist() == [0.5, 1.5]
    assert table["tags"].to_pylist() == [["a", "b"], []]
    assert table["ok"].to_pylist() == [True, False]
    assert table["response_ids"].type == pa.list_(pa.int32())


BAD_LINES = {
    "cut-short": (b'{"prompt_ids": [5', "expected one JSON object a line"),
    "no-object": (b"[1, 2]", "expected a JSON object, found list"),
    "duplicate-key": (
        b'{"prompt_ids": [5], "prompt_ids": [6], "response_ids": [7]}',
        "duplicate key",
    ),
    "not-utf-8": (b'{"prompt_ids": [5], "response_ids": [7], "domain": "\xff\xfe"}', "utf-8"),
    "text-for-ids": (b'{"prompt_ids": "5", "response_ids": [7]}', "prompt_ids: expected list<"),
    "fraction-as-id": (b'{"prompt_ids": [5.5], "response_ids": [7]}', "prompt_ids: expected list<"),
    "id-over-int32": (b'{"prompt_ids": [4294967296], "response_ids": [7]}', "prompt_ids: expected"),
    "id-over-int64": (
        b'{"prompt_ids": [5], "response_ids": [18446744073709551616]}',
        "response_ids: expected",
    ),
    "id-of-5000-digits": (
        b'{"prompt_ids": [' + b"9" * 5000 + b'], "response_ids": [7]}',
        "expected one JSON object a line",
    ),
    "deeply-nested": (b'{"prompt_ids": ' + b"[" * 100_000, "expected one JSON object a line"),
    "lone-surrogate": (
        b'{"prompt_ids": [5], "response_ids": [7], "domain": "\\ud800"}',
        "domain: expected string",
    ),
    "number-for-text": (
        b'{"prompt_ids": [5], "response_ids": [7], "domain": 3}',
        "domain: expected string",
    ),
    "our-own-column": (
        b'{"prompt_ids": [5], "response_ids": [7], "lopd_problem": 3}',
        "lopd_problem",
    ),
    "null-ids": (b'{"prompt_ids": null, "response_ids": [7]}', "null-value"),
    "null-inside": (b'{"prompt_ids": [5], "response_ids": [null]}', "null-value"),
    "no-ids": (b'{"domain": "add"}', "null-value"),
    "nan-logprob": (
        b'{"prompt_ids": [5], "response_ids": [7], "rollout_logprobs": [NaN]}',
        "logprob-not-finite",
    ),
}


@pytest.mark.parametrize(("line", "says"), BAD_LINES.values(), ids=BAD_LINES.keys())
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
def test_a_bad_line_costs_no_other_line(tmp_path: Path, line: bytes, says: str, place: int) -> None:
    good = GOOD | {"domain": "add", "rollout_logprobs": [-1.0]}
    lines: list[Any] = [good | {"response_ids": [8]}, good | {"response_ids": [9]}]
    lines.insert(place, line)
    found, bad = outcome(rollouts_from_file(jsonl(tmp_path / "r.jsonl", *lines), None))
    assert found == [[8], [9]]
    assert list(bad) == [place]
    assert says in bad[place]


def test_many_bad_lines_before_the_first_good_one_cost_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", *[b"{"] * 1500, GOOD)
    good, bad = outcome(rollouts_from_file(path, None))
    assert good == [[7]]
    assert list(bad) == list(range(1500))


def test_a_column_that_comes_later_is_not_lost_in_silence(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", *[GOOD] * 600, GOOD | {"late": "x"})
    good, bad = outcome(rollouts_from_file(path, None))
    assert len(good) == 600
    assert "late" in bad[600]


def test_empty_lines_are_no_rows_and_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "r.jsonl", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), b"", b"  ", GOOD
    )
    assert outcome(rollouts_from_file(path, None)) == ([[7], [7]], {})


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "r.jsonl":
        path.touch()
    else:
        pq.write_table(pa.table({"prompt_ids": [], "response_ids": []}), path)
    with pytest.raises(FormatError, match="expected at least one row, found none"):
        rollouts_from_file(path, None)


@pytest.mark.parametrize(
    ("name", "data", "error", "says"),
    [
        ("gone.jsonl", None, NotFoundError, "no such file"),
        ("rows.csv", b"a,b", FormatError, "expected a .parquet or .jsonl file, found '.csv'"),
        ("rows.parquet", b"PAR1 no PAR1", FormatError, "expected a readable Parquet file"),
        ("rows.parquet", b"", FormatError, "expected a readable Parquet file"),
        ("rows.jsonl", b"{\n" * 3, FormatError, "expected a column prompt_ids"),
    ],
    ids=["missing", "other-ending", "no-parquet", "empty-parquet", "nothing-but-bad-lines"],
)
def test_an_unreadable_file_is_refused(
    tmp_path: Path, name: str, data: bytes | None, error: type[Exception], says: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(error, match=says):
        list(rollouts_from_file(path, None).read())


WIDE = {
    "int64": pa.list_(pa.int64()),
    "uint32": pa.list_(pa.uint32()),
    "large-list": pa.large_list(pa.int64()),
    "fixed-size": pa.list_(pa.int32(), 2),
    "int8": pa.list_(pa.int8()),
}


@pytest.mark.parametrize("kind", WIDE.values(), ids=WIDE.keys())
def test_ids_of_other_widths_are_taken_as_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array([[7, 8], [9, 10]], kind)
    table = pa.table({"prompt_ids": ids, "response_ids": ids})
    pq.write_table(table, tmp_path / "r.parquet")
    rows = table_of(rollouts_from_file(tmp_path / "r.parquet", None))
    assert rows["response_ids"].type == pa.list_(pa.int32())
    assert rows["response_ids"].to_pylist() == [[7, 8], [9, 10]]


def test_a_pandas_frame_is_taken_as_it_is(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "prompt_ids": [[5], [6, 7]],
            "response_ids": [[8], [9, 10]],
            "rollout_logprobs": [[-0.5], [-1.0, -0.1]],
            "answer": [1, 2],
        }
    )
    frame.to_parquet(tmp_path / "r.parquet")
    rows = table_of(rollouts_from_file(tmp_path / "r.parquet", None))
    assert rows["rollout_logprobs"].type == pa.list_(pa.float32())
    assert rows["rollout_logprobs"].to_pylist() == [[-0.5], [-1.0, pytest.approx(-0.1)]]
    assert rows["answer"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("column", "kind", "value", "bad"),
    [
        ("response_ids", pa.list_(pa.int64()), [7], [2**40]),
        ("prompt_ids", pa.list_(pa.uint64()), [7], [2**63]),
        ("loss_mask", pa.list_(pa.int64()), [1], [2]),
    ],
    ids=["int64-response", "uint64-prompt", "mask-of-two"],
)
def test_one_value_too_large_in_parquet_costs_its_row_only(
    tmp_path: Path, column: str, kind: pa.DataType, value: list[int], bad: list[int]
) -> None:
    columns: dict[str, Any] = {"prompt_ids": [[5]] * 3, "response_ids": [[7]] * 3}
    columns[column] = pa.array([value, bad, value], kind)
    pq.write_table(pa.table(columns), tmp_path / "r.parquet")
    good, details = outcome(rollouts_from_file(tmp_path / "r.parquet", None))
    assert good == [[7], [7]]
    assert list(details) == [1]
    assert column in details[1]
    assert str(bad[0]) in details[1]


WRONG_TYPES = {
    "text-for-ids": {"prompt_ids": ["5"], "response_ids": [[7]]},
    "numbers-for-lists": {"prompt_ids": [5], "response_ids": [[7]]},
    "floats-for-ids": {"prompt_ids": [[5.0]], "response_ids": [[7]]},
    "lists-of-lists": {"prompt_ids": [[[5]]], "response_ids": [[7]]},
    "text-for-logprobs": {"prompt_ids": [[5]], "response_ids": [[7]], "rollout_logprobs": ["x"]},
    "numbers-for-reasons": {"prompt_ids": [[5]], "response_ids": [[7]], "finish_reason": [1]},
    "a-struct-beside": {"prompt_ids": [[5]], "response_ids": [[7]], "extra": [{"a": 1}]},
    "a-signal-from-nobody": {
        "prompt_ids": [[5]],
        "response_ids": [[7]],
        "teacher_logprobs": [[-1.0]],
    },
    "our-own-column": {"prompt_ids": [[5]], "response_ids": [[7]], "lopd_problem": [3]},
}


@pytest.mark.parametrize("columns", WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
def test_parquet_of_wrong_types_is_refused_naming_the_column(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "r.parquet")
    with pytest.raises(FormatError, match=r"(?s)(expected|drop)") as caught:
        list(rollouts_from_file(tmp_path / "r.parquet", None).read())
    assert any(name in str(caught.value) for name in columns)


def test_a_column_twice_in_parquet_is_refused(tmp_path: Path) -> None:
    ids = pa.array([[5]], pa.list_(pa.int32()))
    table = pa.Table.from_arrays([ids, ids, ids], ["prompt_ids", "response_ids", "prompt_ids"])
    pq.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(FormatError, match="prompt_ids"):
        list(rollouts_from_file(tmp_path / "r.parquet", None).read())


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", {"prompt_ids": [5]})
    with pytest.raises(FormatError, match="expected a column response_ids or response"):
        list(rollouts_from_file(path, None).read())
    path = jsonl(tmp_path / "s.jsonl", {"response_ids": [5]})
    with pytest.raises(FormatError, match="expected a column prompt_ids, messages or prompt"):
        list(rollouts_from_file(path, Letters()).read())


def test_text_is_tokenised_again_and_recorded(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", {"prompt": "ab", "response": "c", "answer": 1})
    source = rollouts_from_file(path, Letters())
    table = table_of(source)
    assert source.retokenised
    assert table["prompt_ids"].to_pylist() == [[1, 97, 98]]
    assert table["response_ids"].to_pylist() == [[99]]
    assert table["answer"].to_pylist() == [1]
    assert "prompt" not in table.schema.names


def test_sampled_ids_are_not_tokenised_again_though_text_stands_beside_them(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", GOOD | {"prompt": "zz", "response": "zz"})
    source = rollouts_from_file(path, Letters())
    assert not source.retokenised
    assert table_of(source)["response_ids"].to_pylist() == [[7]]


MESSAGES = [{"role": "user", "content": "ab"}]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_messages_go_through_the_chat_template(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    if ending == "jsonl":
        jsonl(path, {"messages": MESSAGES})
    else:
        pq.write_table(pa.table({"messages": [MESSAGES]}), path)
    table = table_of(prompts_from_file(path, Letters()))
    assert table["prompt_ids"].to_pylist() == [[300, 97, 98, 300]]


@pytest.mark.parametrize(
    "value",
    ["hello", 3, {"role": "user"}, ["hello"], [3], []],
    ids=["text", "number", "object", "list-of-text", "list-of-numbers", "empty"],
)
def test_messages_that_are_none_cost_their_row_only(tmp_path: Path, value: Any) -> None:
    path = jsonl(tmp_path / "p.jsonl", {"messages": MESSAGES}, {"messages": value})
    (batch,) = prompts_from_file(path, Letters()).read()
    assert batch.column("prompt_ids").to_pylist() == [[300, 97, 98, 300], None]
    assert "expected a list of messages" in batch.column(PROBLEM)[1].as_py()


@pytest.mark.parametrize("column", ["prompt", "prompt_ids"])
def test_prompts_of_text_and_of_ids(tmp_path: Path, column: str) -> None:
    value = "ab" if column == "prompt" else [1, 97, 98]
    path = jsonl(tmp_path / "p.jsonl", {column: value, "answer": 4})
    table = table_of(prompts_from_file(path, Letters()))
    assert table["prompt_ids"].to_pylist() == [[1, 97, 98]]
    assert table["answer"].to_pylist() == [4]


def test_what_others_made_of_prompts_is_left_behind(tmp_path: Path) -> None:
    row = GOOD | {"rollout_logprobs": [-1.0], "finish_reason": "stop", "response": "x", "answer": 4}
    path = jsonl(tmp_path / "p.jsonl", row)
    names = set(table_of(prompts_from_file(path, None)).schema.names)
    assert names - {PROBLEM} == {"prompt_ids", "answer"}


def test_masks_of_numbers_are_masks(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "r.jsonl",
        {"prompt_ids": [5], "response_ids": [7, 8], "loss_mask": [1, 0]},
        {"prompt_ids": [5], "response_ids": [7, 8], "loss_mask": [True, False]},
        {"prompt_ids": [5], "response_ids": [7, 8], "loss_mask": [1, 2]},
    )
    (batch,) = rollouts_from_file(path, None).read()
    assert batch.column("loss_mask").to_pylist() == [[True, False], [True, False], None]
    assert "loss_mask: expected list<" in batch.column(PROBLEM)[2].as_py()


def test_batches_keep_their_types_when_a_later_one_is_all_null(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "r.jsonl", *[GOOD | {"answer": 1}] * 512, GOOD | {"answer": None})
    schemas = {batch.schema for batch in read_file(path)}
    assert len(schemas) == 1


def test_reading_twice_gives_the_same_rows(tmp_path: Path) -> None:
    source = rollouts_from_file(jsonl(tmp_path / "r.jsonl", *[GOOD] * 5), None)
    assert list(source.read()) == list(source.read())
