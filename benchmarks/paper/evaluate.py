"""How often a model is right on problems of one split, sampled as the paper samples."""

# ruff: noqa: N806 - shape letters end a tensor's name: docs/notation.md

from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM

from benchmarks.paper.problems import Problem, Split, problems
from benchmarks.paper.tokenizer import encode, new_tokenizer
from examples.arithmetic.accuracy import Accuracy

TEMPERATURE: Final = 0.6
MAX_TOKENS: Final = 40  # a right answer has 30 to 33
BATCH: Final = 500


def accuracy(model: Any, split: Split, *, count: int, seed: int) -> Accuracy:
    """One response a problem at temperature 0.6; the same seed draws the same ones."""
    tokenizer = new_tokenizer()
    chosen = problems(split, seed=seed, count=count)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        texts = [
            text
            for first in range(0, count, BATCH)
            for text in _responses(model, tokenizer, chosen[first : first + BATCH])
        ]
    right = sum(problem.accepts(text) for problem, text in zip(chosen, texts, strict=True))
    return Accuracy(correct=right, total=count)


def checkpoint(folder: Path, split: Split, *, count: int, seed: int) -> Accuracy:
    """The same of a saved model."""
    return accuracy(AutoModelForCausalLM.from_pretrained(folder), split, count=count, seed=seed)


def _responses(model: Any, tokenizer: Any, chosen: list[Problem]) -> list[str]:
    ids = [encode(tokenizer, problem.question) for problem in chosen]  # all of one length
    prompts_BT = torch.tensor(ids, device=model.device)
    whole_BT = model.generate(
        input_ids=prompts_BT,
        attention_mask=torch.ones_like(prompts_BT),
        do_sample=True,
        temperature=TEMPERATURE,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MAX_TOKENS,
    )
    found: list[str] = tokenizer.batch_decode(
        whole_BT[:, prompts_BT.shape[1] :], skip_special_tokens=True
    )
    return found
