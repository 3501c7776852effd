from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from lopd_store.engines import transformers as engine
from lopd_store.engines.transformers import TransformersScorer
from lopd_store.errors import EngineError, NotFoundError, UsageError
from tests.engines.laws import NOISE, oracle
from tests.engines.sequences import (
    flat,
    largest_difference,
    random_sequences,
    same_bits,
)
from tests.models import save_model

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
POST_PROCESSED = [
    pytest.param(
        Gemma2ForCausalLM,
        Gemma2Config(**SMALL, head_dim=32, final_logit_softcapping=3.0),
        id="final-logit-softcapping",
    ),
    pytest.param(CohereForCausalLM, CohereConfig(**SMALL, logit_scale=0.4), id="logit-scale"),
    pytest.param(GraniteForCausalLM, GraniteConfig(**SMALL, logits_scaling=3.0), id="scaling"),
]


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "large"])
def test_logprobs_are_those_of_float64_logits(name: str, folders: dict[str, str]) -> None:
    with TransformersScorer(folders[name], dtype="float32") as scorer:
        sequences = random_sequences(6, vocabulary=scorer.vocab_size, response=60)
        assert largest_difference(scorer.score(sequences), oracle(folders[name], sequences)) < NOISE


@pytest.mark.parametrize(("model_class", "config"), POST_PROCESSED)
def test_post_processed_logits_are_followed(model_class: Any, config: Any, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model_class(config).save_pretrained(tmp_path)
    sequences = random_sequences(4, vocabulary=320, response=40)
    with TransformersScorer(str(tmp_path), dtype="float32") as scorer:
        assert largest_difference(scorer.score(sequences), oracle(str(tmp_path), sequences)) < NOISE


def test_a_transform_we_do_not_know_is_refused(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(self: Any, hidden: torch.Tensor, first: int, last: int) -> torch.Tensor:
        return 2 * torch.nn.functional.linear(hidden, self.weight[first:last])

    monkeypatch.setattr(engine._Head, "logits", forgetful)
    with pytest.raises(EngineError, match=r"own logits .* use the vllm engine"):
        TransformersScorer(folders["llama"])


def test_no_block_is_as_large_as_tokens_times_vocabulary(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    plain = engine._Head.logits

    def counted(self: Any, hidden: torch.Tensor, first: int, last: int) -> torch.Tensor:
        logits = plain(self, hidden, first, last)
        made.append(logits.numel() * logits.element_size())
        return logits

    monkeypatch.setattr(engine._Head, "logits", counted)
    with TransformersScorer(folders["large"], dtype="float32") as scorer:
        scorer.score(random_sequences(20, vocabulary=scorer.vocab_size))
    assert max(made) <= 64 << 20
    assert sum(made) > 500 << 20


@pytest.mark.parametrize("budget", [1, 300, 100_000])
def test_the_token_budget_changes_nothing_but_noise(budget: int, folders: dict[str, str]) -> None:
    sequences = random_sequences(12, vocabulary=320, seed=5)
    with TransformersScorer(folders["qwen3"], dtype="float32", batch_tokens=budget) as scorer:
        answers = scorer.score(sequences)
        assert same_bits(answers, scorer.score(sequences))
        assert scorer.scoring["settings"]["batch_tokens"] == str(budget)
    assert largest_difference(answers, oracle(folders["qwen3"], sequences)) < NOISE


def test_batches_hold_every_sequence_once_within_the_budget() -> None:
    lengths = np.array([5, 1, 9, 3, 3, 200, 2])
    batches = list(engine._batches(lengths, 12))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    padded = [len(batch) * max(lengths[batch]) for batch in batches]
    assert all(size <= 12 or len(batch) == 1 for size, batch in zip(padded, batches, strict=True))


def test_bfloat16_is_near_float32(folders: dict[str, str]) -> None:
    sequences = random_sequences(6, vocabulary=320)
    with TransformersScorer(folders["llama"], dtype="bfloat16") as scorer:
        assert scorer.scoring["dtype"] == "bfloat16"
        difference = flat(scorer.score(sequences)) - flat(oracle(folders["llama"], sequences))
    assert np.abs(difference).mean() < 0.1


def test_auto_is_the_dtype_of_the_files(folders: dict[str, str]) -> None:
    with TransformersScorer(folders["llama"]) as scorer:
        assert scorer.scoring["dtype"] == "float32"


def test_a_closed_engine_says_so(model: str) -> None:
    scorer = TransformersScorer(model)
    scorer.close()
    scorer.close()
    with pytest.raises(EngineError, match="closed"):
        scorer.score(random_sequences(1, vocabulary=320))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    weights = tmp_path / "model.safetensors"
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(EngineError, match="safetensors") as caught:
        TransformersScorer(str(tmp_path))
    assert caught.value.__cause__ is not None


def test_requests_that_make_no_sense_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        TransformersScorer(str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="float8"):
        TransformersScorer(model, dtype="float8")
    with pytest.raises(UsageError, match="tpu"):
        TransformersScorer(model, device="tpu")
    with pytest.raises(UsageError, match="batch_tokens"):
        TransformersScorer(model, batch_tokens=0)
