"""Every raw answer of an engine passes here before anything believes it.

Engines have answered with logits instead of log-probs, with another token's values, with
uninitialised memory and with nothing at all, and none of it raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lopd_store.engines.protocol import Floats, Ids
from lopd_store.errors import EngineError, Problem
from lopd_store.rows.columns import SERVER_MINUS_INFINITY

ROUNDING: Final = 1e-6
"""Nats above zero that rounding of a float32 log-softmax explains; clamped to zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """What an engine said about one sequence.

    Attributes:
        logprobs: one float per response token, in nats.
        echoed: the ids the engine says it scored; None where it has no way to say.
        ranks: rank of each token in its distribution, 1 = most likely; None where not given.
    """

    logprobs: npt.NDArray[np.floating] | Sequence[float]
    echoed: npt.NDArray[np.integer] | Sequence[int] | None = None
    ranks: npt.NDArray[np.integer] | Sequence[int | None] | None = None


def checked(answer: RawAnswer, response: Ids, *, sequence: int, engine: str) -> Floats:
    """The answer as float32, at most 0 and never -0.0.

    Args:
        answer: what the engine said.
        response: the ids it was asked about.
        sequence: the sequence's place in the call, for the message.
        engine: the engine's name, for the message.

    Raises:
        EngineError: another length, other ids, NaN, an infinity, -9999, a value above 1e-6,
            or a rank below 1; names the sequence and the first position of each.
    """
    where = f"sequence {sequence}"
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, and is refused as that
        values = np.asarray(answer.logprobs, np.float32)
    problems = _length_problems(answer, values, response, where)
    if not problems:
        problems = _value_problems(values, where)
        problems += _echo_problems(answer, response, where) + _rank_problems(answer, where)
    if problems:
        raise EngineError.of(problems, subject=f"{engine} gave an answer that cannot be right")
    return np.minimum(values, np.float32(0)) + np.float32(0)  # adding 0 turns -0.0 into 0.0


def _length_problems(answer: RawAnswer, values: Floats, response: Ids, where: str) -> list[Problem]:
    parts: dict[str, int | None] = {
        "log-probs": len(values) if values.ndim == 1 else -1,
        "echoed ids": None if answer.echoed is None else len(answer.echoed),
        "ranks": None if answer.ranks is None else len(answer.ranks),
    }
    return [
        Problem("wrong-length", where, f"{len(response)} {name}", str(found))
        for name, found in parts.items()
        if found is not None and found != len(response)
    ]


def _value_problems(values: Floats, where: str) -> list[Problem]:
    finite = np.isfinite(values)
    sentinel = values == np.float32(SERVER_MINUS_INFINITY)
    return [
        *_first(~finite, values, where, "not-finite", "a finite log-prob"),
        *_first(sentinel, values, where, "minus-infinity", "a finite log-prob"),
        *_first(finite & (values > ROUNDING), values, where, "above-zero", "a log-prob ≤ 0"),
    ]


def _echo_problems(answer: RawAnswer, response: Ids, where: str) -> list[Problem]:
    if answer.echoed is None:
        return []
    echoed = np.asarray(answer.echoed)
    wrong = np.flatnonzero(echoed != response)
    return [
        Problem("wrong-id", f"{where} position {t}", f"id {response[t]}", f"id {echoed[t]}")
        for t in wrong[:1]
    ]


def _rank_problems(answer: RawAnswer, where: str) -> list[Problem]:
    if answer.ranks is None:
        return []
    ranks = np.asarray([0 if rank is None else rank for rank in answer.ranks], np.int64)
    return _first(ranks < 1, ranks, where, "wrong-rank", "a rank of at least 1")


def _first(
    wrong: npt.NDArray[np.bool_], values: npt.NDArray[np.generic], where: str, kind: str, want: str
) -> list[Problem]:
    return [
        Problem(kind, f"{where} position {t}", want, str(values[t]))
        for t in np.flatnonzero(wrong)[:1]
    ]
