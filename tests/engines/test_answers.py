from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.engines.answers import RawAnswer, checked
from lopd_store.errors import EngineError

RESPONSE = np.array([7, 8, 9], np.int32)
GOOD: dict[str, Any] = {"logprobs": [-1.5, -0.25, 0.0], "echoed": [7, 8, 9], "ranks": [3, 2, 1]}

WRONG = [
    pytest.param({"logprobs": [-1.0, -1.0]}, "wrong-length", "sequence 4", id="too-short"),
    pytest.param({"logprobs": [-1.0] * 4}, "wrong-length", "sequence 4", id="too-long"),
    pytest.param({"logprobs": []}, "wrong-length", "sequence 4", id="nothing"),
    pytest.param({"logprobs": [[-1.0, -1.0, -1.0]]}, "wrong-length", "sequence 4", id="2d"),
    pytest.param({"echoed": [7, 8]}, "wrong-length", "sequence 4", id="short-echo"),
    pytest.param({"ranks": [1, 1, 1, 1]}, "wrong-length", "sequence 4", id="long-ranks"),
    pytest.param({"logprobs": [-1, float("nan"), -1]}, "not-finite", "position 1", id="nan"),
    pytest.param({"logprobs": [-1, -1, float("-inf")]}, "not-finite", "position 2", id="-inf"),
    pytest.param({"logprobs": [float("inf"), -1, -1]}, "not-finite", "position 0", id="inf"),
    pytest.param({"logprobs": [-1, -1e300, -1]}, "not-finite", "position 1", id="huge"),
    pytest.param({"logprobs": [-1, -9999.0, -1]}, "minus-infinity", "position 1", id="-9999"),
    pytest.param({"logprobs": [-1, 2e-6, -1]}, "above-zero", "position 1", id="above-rounding"),
    pytest.param({"logprobs": [12.5, -1, -1]}, "above-zero", "position 0", id="logits"),
    pytest.param({"logprobs": [2.85e38, -1, -1]}, "above-zero", "position 0", id="garbage"),
    pytest.param({"echoed": [7, 9, 8]}, "wrong-id", "position 1", id="other-ids"),
    pytest.param({"echoed": [8, 9, 7]}, "wrong-id", "position 0", id="shifted-ids"),
    pytest.param({"ranks": [1, 0, 1]}, "wrong-rank", "position 1", id="rank-zero"),
    pytest.param({"ranks": [1, 1, None]}, "wrong-rank", "position 2", id="no-rank"),
]


@pytest.mark.parametrize(("change", "kind", "where"), WRONG)
def test_a_wrong_answer_is_named(change: dict[str, Any], kind: str, where: str) -> None:
    with pytest.raises(EngineError) as caught:
        checked(RawAnswer(**(GOOD | change)), RESPONSE, sequence=4, engine="some")
    (problem,) = caught.value.problems
    assert problem.kind == kind
    assert problem.where.startswith("sequence 4")
    assert problem.where.endswith(where)
    assert "some" in str(caught.value)


def test_every_kind_of_problem_is_named_at_once() -> None:
    wrong = RawAnswer(logprobs=[float("nan"), 1.0, -9999.0], echoed=[7, 8, 1], ranks=[0, 1, 1])
    with pytest.raises(EngineError) as caught:
        checked(wrong, RESPONSE, sequence=0, engine="some")
    assert {problem.kind for problem in caught.value.problems} == {
        "not-finite", "minus-infinity", "above-zero", "wrong-id", "wrong-rank",
    }  # fmt: skip


def test_a_problem_says_what_was_expected_and_found() -> None:
    with pytest.raises(EngineError) as caught:
        checked(RawAnswer(logprobs=[-1] * 3, echoed=[7, 5, 9]), RESPONSE, sequence=0, engine="x")
    assert (caught.value.problems[0].expected, caught.value.problems[0].found) == ("id 8", "id 5")


def test_rounding_above_zero_is_clamped() -> None:
    answer = checked(RawAnswer(logprobs=[1e-7, 9e-7, -1.0]), RESPONSE, sequence=0, engine="x")
    assert answer.tolist() == [0.0, 0.0, -1.0]


def test_minus_zero_becomes_zero() -> None:
    answer = checked(RawAnswer(logprobs=[-0.0, 0.0, -1.0]), RESPONSE, sequence=0, engine="x")
    assert np.signbit(answer).tolist() == [False, False, True]


@given(st.lists(st.floats(-9000, 0, width=32), max_size=50))
def test_a_right_answer_keeps_its_bits(values: list[float]) -> None:
    response = np.arange(len(values), dtype=np.int32)
    raw = RawAnswer(logprobs=values, echoed=response, ranks=[1] * len(values))
    answer = checked(raw, response, sequence=0, engine="x")
    assert answer.dtype == np.float32
    assert answer.tolist() == values
