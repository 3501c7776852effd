"""Files nobody vouches for: each is refused or kept out row by row, with a reason."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.errors import FormatError, LopdError
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.importing.files import line_rows, write_lines

GOOD: dict[str, Any] = {
    "response_tokens": [5, 6],
    "loss_mask": [1, 1],
    "response": "x",
    "teacher_log_probs": [-1.0, -2.0],
}
LISTS = pa.list_(pa.int64())


def table(metadata: pa.Array, prompt: pa.Array | None = None) -> pa.Table:
    if prompt is None:
        prompt = pa.array(["<|user|>the"] * len(metadata))
    return pa.table({"prompt": prompt, "metadata": metadata})


def structs(**changed: pa.Array) -> pa.Array:
    """Two good rows with some fields of other types."""
    fields = {name: pa.array([value, value]) for name, value in GOOD.items()} | changed
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))


DAMAGED = {
    "metadata as text": table(pa.array([json.dumps(GOOD)] * 2)),
    "metadata as a list": table(pa.array([[1]] * 2)),
    "no metadata": pa.table({"prompt": ["a"]}),
    "no prompt": pa.table({"metadata": structs()}),
    "prompts as numbers": table(structs(), pa.array([1, 2])),
    "prompts as lists of text": table(structs(), pa.array([["a"], ["b"]])),
    "ids as text": table(structs(response_tokens=pa.array([["5", "6"]] * 2))),
    "ids as floats": table(structs(response_tokens=pa.array([[5.0, 6.0]] * 2))),
    "ids nested twice": table(structs(response_tokens=pa.array([[[5], [6]]] * 2))),
    "ids as structs": table(structs(response_tokens=pa.array([[{"id": 5}]] * 2))),
    "ids as one number": table(structs(response_tokens=pa.array([5, 6]))),
    "log-probs as text": table(structs(teacher_log_probs=pa.array([["-1", "-2"]] * 2))),
    "log-probs as integers": table(structs(teacher_log_probs=pa.array([[-1, -2]] * 2))),
    "log-probs as booleans": table(structs(teacher_log_probs=pa.array([[True, True]] * 2))),
    "a mask of texts": table(structs(loss_mask=pa.array([["1", "1"]] * 2))),
    "a time beside it": table(structs()).append_column("when", pa.array([0, 1], pa.timestamp("s"))),
    "a name in capitals": table(structs()).append_column("Sample_Id", pa.array(["a", "b"])),
    "a nameless column": table(structs()).append_column("", pa.array(["a", "b"])),
}


@pytest.mark.parametrize("why", DAMAGED)
def test_a_file_of_other_types_is_refused(
    why: str, empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(DAMAGED[why], path)
    with pytest.raises(FormatError):
        import_file(
            empty, path, format="lightning-opd", ref="x", claims=Claims(tokenizer=tokenizer)
        )
    assert empty.refs.list() == {}


def test_widths_and_layouts_of_arrow_are_taken_as_they_come(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    ids, logprobs = [[5, 6]] * 2, [[-1.0, -2.0]] * 2
    for number, (wide, thin) in enumerate(
        [
            (pa.large_list(pa.uint16()), pa.list_(pa.float16())),
            (pa.list_(pa.int8(), 2), pa.list_(pa.float32(), 2)),
            (pa.list_(pa.uint64()), pa.large_list(pa.float64())),
        ]
    ):
        metadata = structs(
            response_tokens=pa.array(ids, wide), teacher_log_probs=pa.array(logprobs, thin)
        )
        prompt = pa.array(["<|user|>a", "<|user|>b"]).dictionary_encode()
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table(metadata, prompt), path)
        made = import_file(
            empty,
            path,
            format="lightning-opd",
            ref=f"r{number}",
            claims=Claims(tokenizer=tokenizer),
        )
        assert (made.built.rows, made.built.skipped) == (2, {})
        assert verify_artifact(empty, f"r{number}", Depth()).ok


@pytest.mark.parametrize("cut", [0, 3, 100, -9, -1])
def test_a_file_that_was_cut_is_refused(
    cut: int, empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(table(structs()), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError):
        import_file(
            empty, path, format="lightning-opd", ref="x", claims=Claims(tokenizer=tokenizer)
        )


def test_any_changed_byte_is_refused_or_gives_rows_that_verify(
    empty: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(table(structs()), path)
    data = path.read_bytes()
    for place in range(0, len(data), 41):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            import_file(
                empty, path, format="lightning-opd", ref="x", claims=Claims(tokenizer=tokenizer)
            )
        except LopdError:
            continue
        assert verify_artifact(empty, "x", Depth()).ok, place


LINES = {
    "no JSON": "{",
    "a list": "[1]",
    "a key twice": '{"prompt_ids":[1],"prompt_ids":[1]}',
    "nested without end": "[" * 100_000,
    "a number without end": '{"prompt_ids":[1' + "0" * 5000 + "]}",
    "an infinity by exponent": '{"prompt_ids":[1],"response_ids":[2],"teacher_logprobs":[-1e999]}',
    "NaN": '{"prompt_ids":[1],"response_ids":[2],"teacher_logprobs":[NaN]}',
    "a lone surrogate": '{"prompt_ids":[1],"prompt_text":"\\ud800"}',
    "a NUL in a key": '{"a\\u0000":1}',
    "ids as text": '{"prompt_ids":"1","response_ids":[2],"teacher_logprobs":[-1]}',
    "ids as floats": '{"prompt_ids":[1.5],"response_ids":[2],"teacher_logprobs":[-1]}',
    "ids as booleans": '{"prompt_ids":[true],"response_ids":[2],"teacher_logprobs":[-1]}',
    "nested nulls": '{"prompt_ids":[[null]],"response_ids":[2],"teacher_logprobs":[-1]}',
    "a null inside": '{"prompt_ids":[null],"response_ids":[2],"teacher_logprobs":[-1]}',
    "log-probs as text": '{"prompt_ids":[1],"response_ids":[2],"teacher_logprobs":["-1"]}',
    "log-probs as booleans": '{"prompt_ids":[1],"response_ids":[2],"teacher_logprobs":[false]}',
    "an unheard reason": (
        '{"prompt_ids":[1],"response_ids":[2],"teacher_logprobs":[-1],"finish_reason":"bored"}'
    ),
    "nothing in it": "{}",
}


@pytest.mark.parametrize("why", LINES)
def test_a_line_that_cannot_be_costs_itself_only(why: str, empty: Store, tmp_path: Path) -> None:
    good = line_rows(2)
    for row in good:
        row["finish_reason"] = "stop"
        row["prompt_text"] = "text"
    lines = [json.dumps(good[0]), LINES[why], json.dumps(good[1])]
    path = write_lines(tmp_path / "rows.jsonl", lines)
    made = import_file(empty, path, format="jsonl", ref="x")
    assert made.built.rows == 2
    assert sum(made.built.skipped.values()) == 1
    assert verify_artifact(empty, "x", Depth()).ok


def test_bytes_that_are_no_text_cost_their_line(empty: Store, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", line_rows(2))
    path.write_bytes(b'{"prompt_ids":[1],"\xff":1}\n' + path.read_bytes())
    made = import_file(empty, path, format="jsonl", ref="x")
    assert (made.built.rows, made.built.skipped) == (2, {"unreadable-row": 1})


def test_many_bad_ids_in_a_row_are_one_reason(empty: Store, tmp_path: Path) -> None:
    long = {
        "prompt_ids": [2**40] * 200_000,
        "response_ids": [2],
        "teacher_logprobs": [-1.0],
    }
    path = tmp_path / "f.jsonl"
    write_lines(path, [long, *line_rows(1)])
    made = import_file(empty, path, format="jsonl", ref="x")
    assert made.built.skipped == {"unreadable-row": 1}
