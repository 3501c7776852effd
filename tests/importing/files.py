"""Files as other tools write them, by pandas and the standard library, and as they read them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped] # its stubs are not installed
from tokenizers import Tokenizer

from tests.models import ASSISTANT, EOS, USER

Row = dict[str, Any]


def text_of(number: int) -> str:
    """A prompt as a chat template writes it."""
    return f"<|user|>the thing in {number} and {number * 7}<|eos|><|assistant|>"


def ids_of(folder: Path, text: str) -> list[int]:
    """What the `tokenizers` library makes of a text, nothing added."""
    ids: list[int] = (
        Tokenizer.from_file(str(folder / "tokenizer.json"))
        .encode(text, add_special_tokens=False)
        .ids
    )
    assert ids[0] == USER
    assert ids[-1] == ASSISTANT
    return ids


def release_rows(count: int, *, seed: int = 0, shortest: int = 1) -> list[Row]:
    """Rows of the Lightning-OPD release: float64 log-probs that left an engine as float32."""
    chance = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        ids = chance.integers(5, 267, chance.integers(shortest, 12)).tolist()
        if number % 4 == 0 and ids:
            ids[-1] = EOS
        logprobs = (-chance.exponential(1.0, len(ids))).astype(np.float32).astype(np.float64)
        metadata = {
            "is_lightning_opd": True,
            "response_tokens": ids,
            "loss_mask": [1] * len(ids),
            "response": f"answer {number}",
            "teacher_log_probs": logprobs.tolist(),
        }
        rows.append({"prompt": text_of(number), "label": "0", "metadata": metadata})
    return rows


def three(**metadata: Any) -> Row:
    """A row of three tokens."""
    plain = {
        "is_lightning_opd": True,
        "response_tokens": [5, 6, 7],
        "loss_mask": [1, 1, 1],
        "response": "x",
        "teacher_log_probs": [-1.0, -2.0, -3.0],
    }
    return {"prompt": "<|user|>the<|assistant|>", "label": "0", "metadata": plain | metadata}


def write_release(path: Path, rows: list[Row]) -> Path:
    """As the release's script writes them."""
    pd.DataFrame(rows).to_parquet(path, index=False)
    return path


def write_lines(path: Path, rows: Sequence[Row | str]) -> Path:
    """JSON Lines; a row that is text already stands as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def line_rows(count: int, *, seed: int = 0) -> list[Row]:
    """Rows of a signal with keys named as the format's columns."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        prompt, response = (chance.integers(5, 267, chance.integers(1, 12)) for _ in range(2))
        logprobs = (-chance.exponential(1.0, len(response))).astype(np.float32)
        rows.append(
            {
                "prompt_ids": prompt.tolist(),
                "response_ids": response.tolist(),
                "teacher_logprobs": [float(str(value)) for value in logprobs],
            }
        )
    return rows


@dataclass(frozen=True)
class Sample:
    """What the release's trainer holds of a row."""

    tokens: list[int]
    response_length: int
    loss_mask: list[int]
    teacher_log_probs: list[float]
    rollout_log_probs: list[float] | None


def as_its_trainer_reads(path: Path, tokenizer: Path) -> list[Sample]:
    """The release's convention: prompt encoded bare, its tokens behind, float32 log-probs.

    A prompt may be ids already. Its trainer stops where the mask is not all ones.
    """
    found = []
    for _, row in pd.read_parquet(path, dtype_backend="pyarrow").iterrows():
        metadata, prompt = row["metadata"], row["prompt"]
        ids = ids_of(tokenizer, prompt) if isinstance(prompt, str) else [int(i) for i in prompt]
        assert metadata["is_lightning_opd"] is True
        mask = [int(on) for on in metadata["loss_mask"]]
        length = sum(mask)
        assert len(mask) == length
        sampled = metadata.get("student_log_probs")
        found.append(
            Sample(
                tokens=ids + [int(i) for i in metadata["response_tokens"]],
                response_length=length,
                loss_mask=mask,
                teacher_log_probs=[
                    float(np.float32(value)) for value in metadata["teacher_log_probs"]
                ],
                rollout_log_probs=None if sampled is None else [float(x) for x in sampled],
            )
        )
    return found
