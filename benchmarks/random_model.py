"""A random model with a tokenizer beside it: what a build needs to start, and fast to make."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.list_column import list_column


def save(folder: Path, *, vocabulary: int, hidden: int, layers: int) -> Path:
    """Write a random Qwen2 in float32, heads of 32, and a tokenizer of as many words.

    Random weights do: how long a forward pass takes does not depend on what they are.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=max(1, hidden // 64),
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    words = {f"w{number}": number for number in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))  # noqa: S106 - a word, no secret
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="w0",  # noqa: S106
        eos_token="w1",  # noqa: S106
    ).save_pretrained(folder)
    return folder


def save_rollouts(
    path: Path, *, rows: int, prompt: int, response: tuple[int, int], vocabulary: int
) -> Path:
    """Write rollouts of random ids as a Parquet file.

    Args:
        path: the file.
        rows: how many.
        prompt: ids of each prompt.
        response: the fewest ids of a response and one more than the most.
        vocabulary: ids are below it and above the special ones.
    """
    random = np.random.default_rng(0)
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, 4096):
        count = min(4096, rows - start)
        lengths = random.integers(*response, count)
        columns: dict[str, Any] = {
            "prompt_ids": list_column(_ids(random, count * prompt, vocabulary), prompt),
            "response_ids": list_column(_ids(random, int(lengths.sum()), vocabulary), lengths),
            "answer": pa.array([f"answer {number}" for number in random.integers(0, 999, count)]),
        }
        batch = pa.record_batch(columns)
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_batch(batch)
    if writer:
        writer.close()
    return path


def _ids(random: np.random.Generator, count: int, vocabulary: int) -> npt.NDArray[np.int32]:
    return random.integers(2, vocabulary, count, dtype=np.int32)
