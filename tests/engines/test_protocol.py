import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.engines.protocol import Sequences, refuse_unscorable, request_seeds
from lopd_store.errors import EngineError, FormatError
from tests.engines.sequences import column

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8)


@given(ROWS, st.data())
def test_slices_and_takes_keep_whole_rows(rows: list[list[int]], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    kept, others = rows[start:], list(reversed(rows))[: len(rows) - start]
    sliced = Sequences(column(rows).slice(start), column(others))
    assert [sliced.ids(i).tolist() for i in range(len(sliced))] == [
        a + b for a, b in zip(kept, others, strict=True)
    ]
    order = data.draw(st.permutations(range(len(kept))))
    taken = sliced.take(order)
    assert taken.prompt_lengths.tolist() == [len(kept[i]) for i in order]
    assert taken.response_tokens == sum(map(len, others))


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param(pa.array([[1], None], pa.list_(pa.int32())), id="null-row"),
        pytest.param(pa.array([[1], [None]], pa.list_(pa.int32())), id="null-item"),
        pytest.param(pa.array([[1], [2]], pa.list_(pa.int64())), id="int64"),
        pytest.param(pa.array([[1], [2]], pa.large_list(pa.int32())), id="large-list"),
        pytest.param(column([[1]]), id="fewer-rows"),
    ],
)
def test_columns_of_another_shape_are_refused(prompt: pa.Array) -> None:
    with pytest.raises(FormatError):
        Sequences(prompt, column([[1], [2]]))


def test_ids_out_of_range_are_found_in_a_slice() -> None:
    sequences = Sequences(column([[99], [1], [], [2, 3, 99, 98]]), column([[0]] * 4)).slice(1)
    with pytest.raises(EngineError) as caught:
        refuse_unscorable(sequences, vocab_size=10, max_tokens=4)
    assert [(p.kind, p.where, p.found) for p in caught.value.problems] == [
        ("empty-prompt", "sequence 1", "none"),
        ("too-long", "sequence 2", "5"),
        ("out-of-vocabulary", "sequence 2 prompt position 2", "99"),
    ]


def test_a_seed_is_the_documented_hash() -> None:
    parts = [(5).to_bytes(8, "little"), (3).to_bytes(8, "little"), (1).to_bytes(8, "little")]
    body = b"".join((8).to_bytes(8, "little") + part for part in parts)
    head = hashlib.sha256(b"lopd.seed.v1\n" + body).digest()[:8]
    seeds = request_seeds(5, first_prompt=3, prompts=1, n=2)
    assert seeds[1] == int.from_bytes(head, "big") >> 1


def test_seeds_do_not_depend_on_how_the_job_is_cut() -> None:
    whole = request_seeds(-1, first_prompt=0, prompts=6, n=3)
    parts = request_seeds(-1, first_prompt=0, prompts=2, n=3)
    parts += request_seeds(-1, first_prompt=2, prompts=4, n=3)
    assert whole == parts
    assert len(set(whole)) == 18
    assert np.all(np.array(whole) >= 0)
