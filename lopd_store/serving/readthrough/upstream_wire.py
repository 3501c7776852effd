"""What a live teacher is asked and what it answers, in each protocol; its answers are strangers'.

The question is always the same, whatever else the client wanted: the log-probs of these ids at
temperature 1. So what is stored does not depend on who asked.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from lopd_store.engines.answers import RawAnswer, checked
from lopd_store.errors import EngineError
from lopd_store.serving.answers import Floats, Ids

Answer: TypeAlias = Any  # JSON of a stranger
_AS_ID: Final = "token_id:"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wanted:
    """A sequence to be scored.

    Attributes:
        ids: prompt and response joined, int32.
        first: the first position whose log-prob is wanted, at least 1 and below the length.
    """

    ids: Ids
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to a teacher, and how its answer is read.

    Attributes:
        path: where it is posted.
        body: the JSON.
        read: the answer's JSON → what it says of each sequence, or LookupError, TypeError or
            ValueError where it has another shape.
    """

    path: str
    body: Mapping[str, Any]
    read: Callable[[Answer, Sequence[Wanted]], Sequence[RawAnswer]]


def ask_openai(wanted: Sequence[Wanted], model: str | None) -> Question:
    """`/v1/completions` with `prompt_logprobs`, as vLLM has it."""
    body = {
        "model": model,
        "prompt": _lists(wanted),
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,
    }
    return Question(path="/v1/completions", body=body, read=_read_openai)


def ask_openai_echo(wanted: Sequence[Wanted], model: str | None) -> Question:
    """`/v1/completions` with `echo` and `logprobs`, which other servers have too."""
    body = {
        "model": model,
        "prompt": _lists(wanted),
        "max_tokens": 0,
        "temperature": 0,
        "echo": True,
        "logprobs": 0,
        "return_tokens_as_token_ids": True,
    }
    return Question(path="/v1/completions", body=body, read=_read_echo)


def ask_sglang(wanted: Sequence[Wanted]) -> Question:
    """`/generate` with `return_logprob`."""
    body = {
        "input_ids": _lists(wanted),
        "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": [one.first - 1 for one in wanted],  # its first entry is always null
    }
    return Question(path="/generate", body=body, read=_read_sglang)


def ask_trl(wanted: Sequence[Wanted]) -> Question:
    """`/get_sequence_logprobs/`, arrays in base64."""
    body = {
        "sequences": _lists(wanted),
        "prompt_lengths": [one.first for one in wanted],
        "top_logprobs": 1,
        "temperature": 1.0,
        "response_format": "binary",
    }
    return Question(path="/get_sequence_logprobs/", body=body, read=_read_trl)


def read_answer(question: Question, answer: Answer, wanted: Sequence[Wanted]) -> list[Floats]:
    """The log-probs from each sequence's `first` position on, nats, float32, finite and ≤ 0.

    Raises EngineError: another shape, other lengths or ids, values that no log-prob has.
    """
    name = f"the upstream's {question.path}"
    try:
        found = question.read(answer, wanted)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EngineError(
            f"{name}: expected log-probs of {len(wanted)} sequence(s), found an answer of another"
            f" shape ({type(error).__name__}: {error!s:.200})"
        ) from error
    pairs = enumerate(zip(found, wanted, strict=True))
    return [
        checked(raw, one.ids[one.first :], sequence=place, engine=name)
        for place, (raw, one) in pairs
    ]


def _read_openai(answer: Answer, wanted: Sequence[Wanted]) -> list[RawAnswer]:
    choices = _in_order(answer["choices"])
    return [_positions(choice["prompt_logprobs"], one) for choice, one in _pairs(choices, wanted)]


def _in_order(choices: Answer) -> list[Answer]:
    places = {choice["index"]: choice for choice in choices}
    return [places[index] for index in range(len(choices))]


def _positions(entries: Answer, one: Wanted) -> RawAnswer:
    """The form of vLLM: at each position an object by token id, the actual one among them."""
    _expect(len(entries), len(one.ids), "positions")
    tail = zip(one.ids[one.first :].tolist(), entries[one.first :], strict=True)
    return RawAnswer(
        logprobs=[_number(_entry(entry)[str(token)]["logprob"]) for token, entry in tail]
    )


def _entry(found: Answer) -> Answer:
    if found is None:
        raise ValueError("expected a log-prob of every token that was asked for, found null")
    return found


def _read_echo(answer: Answer, wanted: Sequence[Wanted]) -> list[RawAnswer]:
    choices = _in_order(answer["choices"])
    return [_echoed(choice["logprobs"], one) for choice, one in _pairs(choices, wanted)]


def _echoed(logprobs: Answer, one: Wanted) -> RawAnswer:
    """The prompt's positions; a server that generates all the same adds some after them."""
    tokens = logprobs["tokens"][one.first : len(one.ids)]
    values = [_number(value) for value in logprobs["token_logprobs"][one.first : len(one.ids)]]
    if any(not token.startswith(_AS_ID) for token in tokens):
        return RawAnswer(logprobs=values)  # a server that knows no ids: only the count can be held
    return RawAnswer(logprobs=values, echoed=[int(token.removeprefix(_AS_ID)) for token in tokens])


def _read_sglang(answer: Answer, wanted: Sequence[Wanted]) -> list[RawAnswer]:
    answers = [answer] if isinstance(answer, dict) else answer
    return [
        _triples(one_answer["meta_info"]["input_token_logprobs"][1:])
        for one_answer, _ in _pairs(answers, wanted)
    ]


def _triples(entries: Answer) -> RawAnswer:
    echoed = [entry[1] for entry in entries]
    if not set(map(type, echoed)) <= {int}:
        raise TypeError("expected ids")
    return RawAnswer(logprobs=[_number(entry[0]) for entry in entries], echoed=echoed)


def _read_trl(answer: Answer, wanted: Sequence[Wanted]) -> list[RawAnswer]:
    rows, longest, _ = answer["shape"]
    _expect(rows, len(wanted), "sequences")
    logprobs = _array(answer["actual_logprobs_b64"], "<f4").reshape(rows, longest)
    echoed = _array(answer["actual_token_ids_b64"], "<i4").reshape(rows, longest)
    found = []
    for row, (length, one) in enumerate(_pairs(answer["completion_lengths"], wanted)):
        _expect(length, len(one.ids) - one.first, "positions")
        found.append(RawAnswer(logprobs=logprobs[row, :length], echoed=echoed[row, :length]))
    return found


def _number(value: Answer) -> float:
    """A number of JSON: `float` itself also takes false for 0, and text."""
    if type(value) not in (int, float):
        raise TypeError(f"expected a number, found {value!r:.100}")
    return float(value)


def _array(text: str, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype)


def _pairs(answers: Sequence[Answer], wanted: Sequence[Wanted]) -> list[tuple[Answer, Wanted]]:
    _expect(len(answers), len(wanted), "answers")
    return list(zip(answers, wanted, strict=True))


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise ValueError(f"expected {expected} {what}, found {found}")


def _lists(wanted: Sequence[Wanted]) -> list[list[int]]:
    return [one.ids.tolist() for one in wanted]
