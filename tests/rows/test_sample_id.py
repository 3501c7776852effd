"""Sample ids against the standard library, and numbering against a dictionary."""

import hashlib
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.errors import FormatError
from lopd_store.rows import sample_id

QUICK = settings(deadline=None, max_examples=60)
TOKENS = st.integers(-(2**31), 2**31 - 1)
SAMPLES = st.lists(st.tuples(st.lists(TOKENS, max_size=5), st.lists(TOKENS, max_size=5)))


def ids(rows: list[list[int]]) -> Any:
    return pa.array(rows, pa.list_(pa.int32()))


def oracle(prompt: list[int], response: list[int]) -> str:
    body = b"lopd.sample.v1\n" + struct.pack("<QQ", len(prompt), len(response))
    body += struct.pack(f"<{len(prompt) + len(response)}i", *prompt, *response)
    return hashlib.sha256(body).hexdigest()[:32]


def prompt_oracle(prompt: list[int]) -> str:
    body = b"lopd.prompt.v1\n" + struct.pack(f"<Q{len(prompt)}i", len(prompt), *prompt)
    return hashlib.sha256(body).hexdigest()[:32]


@QUICK
@given(SAMPLES)
def test_ids_are_those_of_the_standard_library(samples: list[tuple[list[int], list[int]]]) -> None:
    prompts, responses = [list(p) for p, _ in samples], [list(r) for _, r in samples]
    assert sample_id.sample_ids(ids(prompts), ids(responses)).to_pylist() == [
        oracle(p, r) for p, r in samples
    ]
    assert sample_id.prompt_ids_digests(ids(prompts)).to_pylist() == [
        prompt_oracle(p) for p in prompts
    ]


def test_known_ids_stay_what_they_are() -> None:
    # sha256sum of the bytes typed by hand, first 32 characters
    prompt, response = ids([[1, 2]]), ids([[7]])
    assert sample_id.sample_ids(prompt, response).to_pylist() == [
        "b58dc053d98107e529196a204aab089a"
    ]
    assert sample_id.prompt_ids_digests(prompt).to_pylist() == ["e27286e1911ae38b0d2ad992d4635145"]


@QUICK
@given(SAMPLES, st.integers(0, 5))
def test_a_slice_has_the_ids_of_its_rows(
    samples: list[tuple[list[int], list[int]]], start: int
) -> None:
    prompts, responses = ids([list(p) for p, _ in samples]), ids([list(r) for _, r in samples])
    whole = sample_id.sample_ids(prompts, responses)
    part = sample_id.sample_ids(prompts.slice(start, 2), responses.slice(start, 2))
    assert part.to_pylist() == whole.slice(start, 2).to_pylist()


def test_moving_a_token_from_prompt_to_response_changes_the_id() -> None:
    first = sample_id.sample_ids(ids([[1, 2]]), ids([[3]]))
    second = sample_id.sample_ids(ids([[1]]), ids([[2, 3]]))
    assert first != second


@pytest.mark.parametrize("rows", [[None], [[1, None]]], ids=["null-row", "null-token"])
def test_a_null_has_no_id(rows: list[list[int]]) -> None:
    with pytest.raises(FormatError, match="found 1 null"):
        sample_id.sample_ids(ids(rows), ids([[1]]))


def test_another_number_of_responses_is_refused() -> None:
    with pytest.raises(FormatError, match="found 1 and 2"):
        sample_id.sample_ids(ids([[1]]), ids([[1], [2]]))


@QUICK
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=4))
def test_numbering_does_not_depend_on_the_calls(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    seen: Counter[str] = Counter()
    expected = []
    for name in (name for call in calls for name in call):
        expected.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    with sample_id.Occurrences(folder) as occurrences:
        found = [
            name
            for call in calls
            for name in occurrences.number(pa.array(call, pa.string())).to_pylist()
        ]
        assert occurrences.duplicates == sum(n - 1 for n in seen.values())
    assert found == expected
    assert len(set(found)) == len(found)


def test_numbering_leaves_no_file(tmp_path: Path) -> None:
    with sample_id.Occurrences(tmp_path) as occurrences:
        occurrences.number(pa.array(["a"]))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
