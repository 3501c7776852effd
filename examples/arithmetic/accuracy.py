"""How often a model is right on problems that nobody trained on.

python -m examples.arithmetic.accuracy .demo/accuracy.txt .demo/teacher .demo/student
"""

# ruff: noqa: N806 - shape letters end a tensor's name: B rows, T positions, V vocabulary

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from examples.arithmetic.problems import problems
from examples.arithmetic.tokenizer import prompt_ids
from examples.arithmetic.training import settle

COUNT: Final = 500
TEMPERATURES: Final = (0.0, 0.6, 1.0)
MAX_TOKENS: Final = 64
_Z: Final = 1.959964  # the normal quantile of a two-sided 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """`correct` answers out of `total`."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the share; sound at 0 and 1 too."""
        n, z2 = self.total, _Z * _Z
        centre = (self.share + z2 / (2 * n)) / (1 + z2 / n)
        spread = math.sqrt(self.share * (1 - self.share) / n + z2 / (4 * n * n))
        half = _Z * spread / (1 + z2 / n)
        return centre - half, centre + half

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:6.1%} [{low:.1%}, {high:.1%}]"


def measure(model: Any, tokenizer: Any, *, temperature: float, count: int = COUNT) -> Accuracy:
    """Exact match on `count` held-out problems; temperature 0 takes the likeliest token."""
    chosen = problems("held-out", seed=0, count=count)
    prompts = prompt_ids(tokenizer, [problem.question for problem in chosen])
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
    settle(0)
    sampling = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    with torch.inference_mode():
        ids_BT = model.generate(
            **batch, do_sample=temperature > 0, max_new_tokens=MAX_TOKENS, **sampling
        )
    texts = tokenizer.batch_decode(ids_BT[:, batch["input_ids"].shape[1] :], True)
    right = sum(problem.accepts(text) for problem, text in zip(chosen, texts, strict=True))
    return Accuracy(correct=right, total=count)


def table(folders: list[Path]) -> str:
    """A line for each model, a column for each temperature."""
    lines = [f"{COUNT} held-out problems, share correct [95 % interval]"]
    lines.append(f"{'':14}" + "".join(f"{f'T = {value}':>24}" for value in TEMPERATURES))
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        found = [measure(model, tokenizer, temperature=value) for value in TEMPERATURES]
        lines.append(f"{folder.name:14}" + "".join(f"{accuracy!s:>24}" for accuracy in found))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    logging.disable_progress_bar()
    report, *models = map(Path, sys.argv[1:])
    report.write_text(table(models))
    print(report.read_text(), end="")
