"""Random sequences and comparisons shared by the engine tests."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.engines.protocol import Floats, Sequences


def column(rows: list[list[int]]) -> Any:
    """Rows as list<int32>."""
    return pa.array(rows, pa.list_(pa.int32()))


def random_sequences(
    count: int, *, vocabulary: int, seed: int = 0, prompt: int = 40, response: int = 120
) -> Sequences:
    """`count` sequences of uniform ids: prompts of 1 to `prompt`, responses of 0 to `response`."""
    random = np.random.default_rng(seed)
    prompts = [
        random.integers(0, vocabulary, random.integers(1, prompt + 1)).tolist()
        for _ in range(count)
    ]
    responses = [
        random.integers(0, vocabulary, random.integers(0, response + 1)).tolist()
        for _ in range(count)
    ]
    return Sequences(column(prompts), column(responses))


def largest_difference(left: list[Floats], right: list[Floats]) -> float:
    """Largest absolute difference in nats over answers of the same lengths."""
    assert [len(answer) for answer in left] == [len(answer) for answer in right]
    return float(np.abs(flat(left) - flat(right)).max())


def same_bits(left: list[Floats], right: list[Floats]) -> bool:
    """Whether two lists of answers are equal bit for bit."""
    return [answer.tobytes() for answer in left] == [answer.tobytes() for answer in right]


def flat(answers: list[Floats]) -> npt.NDArray[np.float64]:
    """All values of all answers, float64."""
    return np.concatenate([np.empty(0), *(answer.astype(np.float64) for answer in answers)])
