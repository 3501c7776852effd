"""Train the teacher, or the student's base, from scratch on worked problems.

python -m examples.arithmetic.pretrain teacher .demo/teacher
python -m examples.arithmetic.pretrain student .demo/student-base
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging

from examples.arithmetic.problems import Problem, problems
from examples.arithmetic.tokenizer import prompt_ids, response_ids, train_tokenizer
from examples.arithmetic.training import Recipe, Row, fit, settle

PROBLEMS: Final = 20_000
TOKENIZER_PROBLEMS: Final = 500
HEAD_WIDTH: Final = 32  # the smallest that vLLM's CPU attention has a kernel for
POSITIONS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Qwen2 decoder: hidden width, which HEAD_WIDTH divides, and layers."""

    width: int
    layers: int


SHAPES: Final = {"teacher": Shape(width=128, layers=4), "student": Shape(width=64, layers=2)}
RECIPES: Final = {
    "teacher": Recipe(steps=700, batch=32, learning_rate=2e-3, seed=0),
    # Stopped early on purpose: it knows the format and few of the sums.
    "student": Recipe(steps=300, batch=32, learning_rate=4e-3, seed=1),
}


def new_tokenizer() -> Any:
    """The tokenizer of both models; the same bytes every time."""
    texts = [
        f"user\n{problem.question}\nassistant\n{problem.solution}"
        for problem in problems("train", seed=0, count=TOKENIZER_PROBLEMS)
    ]
    return train_tokenizer(texts)


def new_model(shape: Shape, tokenizer: Any, *, seed: int) -> Any:
    """A Qwen2 model with random weights, float32, tied embeddings."""
    settle(seed)
    heads = shape.width // HEAD_WIDTH
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=3 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def worked_rows(tokenizer: Any, chosen: list[Problem]) -> list[Row]:
    """Question and solution of each problem, rendered by the chat template."""
    prompts = prompt_ids(tokenizer, [problem.question for problem in chosen])
    responses = response_ids(tokenizer, [problem.solution for problem in chosen])
    return [Row(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


def pretrain(name: str, folder: Path) -> None:
    """Train the model called `name` and save it with its tokenizer in `folder`."""
    tokenizer = new_tokenizer()
    recipe = RECIPES[name]
    model = new_model(SHAPES[name], tokenizer, seed=recipe.seed)
    rows = worked_rows(tokenizer, problems("train", seed=recipe.seed, count=PROBLEMS))
    fit(model, rows, recipe, name=name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    logging.disable_progress_bar()
    pretrain(sys.argv[1], Path(sys.argv[2]))
