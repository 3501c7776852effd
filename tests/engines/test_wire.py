import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.engines import wire
from lopd_store.engines.protocol import Sequences
from lopd_store.errors import DigestMismatchError, EngineError, LopdError, Problem, UsageError
from tests.engines.sequences import column

ROWS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4), max_size=6)


@given(ROWS)
def test_sequences_survive_the_wire(rows: list[list[int]]) -> None:
    sent = Sequences(column(rows), column(list(reversed(rows))))
    back = wire.decode_sequences(wire.encode_sequences(sent))
    assert back.prompt.equals(sent.prompt)
    assert back.response.equals(sent.response)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=4), max_size=6))
def test_answers_survive_the_wire(rows: list[list[float]]) -> None:
    answers = [np.array(values, np.float32) for values in rows]
    back = wire.decode_answers(wire.encode_answers(answers))
    assert [answer.tobytes() for answer in back] == [answer.tobytes() for answer in answers]


def test_errors_keep_class_message_and_problems() -> None:
    problem = Problem("too-long", "sequence 1", "at most 4", "5")
    sent: list[LopdError] = [
        UsageError("one"),
        EngineError("two", problems=(problem,)),
        DigestMismatchError(where="a", expected="b", found="c"),
    ]
    for error in sent:
        back = wire.decode_error(wire.encode_error(error))
        assert (type(back), str(back), back.problems) == (type(error), str(error), error.problems)


def test_a_message_cut_short_is_no_message() -> None:
    pipe = io.BytesIO()
    wire.send(pipe, wire.Kind.SCORE, b"payload")
    whole = pipe.getvalue()
    assert wire.receive(io.BytesIO(whole)) == (wire.Kind.SCORE, b"payload")
    assert [wire.receive(io.BytesIO(whole[:size])) for size in range(len(whole))] == [None] * 16
