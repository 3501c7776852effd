"""The laws of a `Scorer`, as functions that any engine must pass (see `protocol.Scorer`).

`model` is a folder that plain transformers can load: the oracle is its logits in float64.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.errors import EngineError
from tests.engines.sequences import (
    column,
    flat,
    largest_difference,
    random_sequences,
    same_bits,
)

NOISE: Final = 1e-4  # nats, float32 on small models


def oracle(model: str, sequences: Sequences) -> list[Floats]:
    """Log-probs by full float64 logits and log_softmax, one sequence at a time."""
    double = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    answers = []
    for index, first in enumerate(sequences.prompt_lengths):
        ids = torch.from_numpy(sequences.ids(index)).long()
        with torch.inference_mode():
            logprobs = double(input_ids=ids[None]).logits[0].log_softmax(-1)
        chosen = logprobs[:-1].gather(1, ids[1:, None])[first - 1 :, 0]
        answers.append(chosen.numpy().astype(np.float32))
    return answers


def one_float32_answer_per_sequence_in_order(scorer: Scorer, _model: str) -> None:
    sequences = random_sequences(7, vocabulary=scorer.vocab_size)
    answers = scorer.score(sequences)
    assert [len(answer) for answer in answers] == sequences.response_lengths.tolist()
    assert {answer.dtype for answer in answers} == {np.dtype(np.float32)}


def position_t_is_the_logprob_of_token_t(scorer: Scorer, model: str) -> None:
    sequences = random_sequences(9, vocabulary=scorer.vocab_size, seed=1)
    expected = oracle(model, sequences)
    assert largest_difference(scorer.score(sequences), expected) < NOISE


def values_are_finite_and_at_most_zero(scorer: Scorer, _model: str) -> None:
    values = flat(scorer.score(random_sequences(5, vocabulary=scorer.vocab_size, seed=2)))
    assert np.isfinite(values).all()
    assert (values <= 0).all()
    assert not np.signbit(values[values == 0]).any()


def the_same_call_gives_the_same_bits(scorer: Scorer, _model: str) -> None:
    sequences = random_sequences(12, vocabulary=scorer.vocab_size, seed=3)
    assert same_bits(scorer.score(sequences), scorer.score(sequences))


def an_answer_does_not_depend_on_its_company(scorer: Scorer, _model: str) -> None:
    sequences = random_sequences(8, vocabulary=scorer.vocab_size, seed=4)
    together = scorer.score(sequences)
    backwards = scorer.score(sequences.take(list(reversed(range(8)))))
    assert largest_difference(together, list(reversed(backwards))) < NOISE
    alone = [scorer.score(sequences.slice(index, 1))[0] for index in range(8)]
    assert largest_difference(together, alone) < NOISE


def the_longest_sequence_is_scored(scorer: Scorer, model: str) -> None:
    ids = np.arange(scorer.max_tokens) % scorer.vocab_size
    sequences = Sequences(column([ids[:1].tolist()]), column([ids[1:].tolist()]))
    assert largest_difference(scorer.score(sequences), oracle(model, sequences)) < NOISE


def what_cannot_be_run_is_refused_with_every_place(scorer: Scorer, _model: str) -> None:
    long, outside = [1] * (scorer.max_tokens + 1), scorer.vocab_size
    sequences = Sequences(
        column([[1], [], [1], [1, outside]]), column([[1], [1], long, [2, outside, -1]])
    )
    with pytest.raises(EngineError) as caught:
        scorer.score(sequences)
    assert [(problem.kind, problem.where) for problem in caught.value.problems] == [
        ("empty-prompt", "sequence 1"),
        ("too-long", "sequence 2"),
        ("out-of-vocabulary", "sequence 3 prompt position 1"),
        ("out-of-vocabulary", "sequence 3 response position 1"),
    ]


def no_sequences_are_no_answers(scorer: Scorer, _model: str) -> None:
    assert scorer.score(random_sequences(0, vocabulary=scorer.vocab_size)) == []


def facts_are_texts_and_name_no_place(scorer: Scorer, _model: str) -> None:
    facts = scorer.scoring
    assert set(facts) == {
        "engine", "versions", "dtype", "quantization", "device", "logprobs_mode",
        "tensor_parallel_size", "settings",
    }  # fmt: skip
    assert facts["logprobs_mode"] == "raw_logprobs"
    texts = [*facts["settings"].values(), *facts["versions"].values(), facts["dtype"]]
    assert all(isinstance(text, str) and "/" not in text for text in texts)


LAWS: Final[tuple[Callable[[Scorer, str], None], ...]] = (
    one_float32_answer_per_sequence_in_order,
    position_t_is_the_logprob_of_token_t,
    values_are_finite_and_at_most_zero,
    the_same_call_gives_the_same_bits,
    an_answer_does_not_depend_on_its_company,
    the_longest_sequence_is_scored,
    what_cannot_be_run_is_refused_with_every_place,
    no_sequences_are_no_answers,
    facts_are_texts_and_name_no_place,
)
