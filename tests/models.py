"""Tiny random models for tests: the same bytes each time, with a tokenizer and a chat template.

head_dim is 32 because that is the smallest one vLLM's CPU attention has.
"""

from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ARCHITECTURES: Final = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}
SPECIAL: Final = ("<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>")
MERGES: Final = (("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("Ġ", "the"), ("1", "2"))
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PAD, BOS, EOS, USER, ASSISTANT = range(len(SPECIAL))
VOCABULARY: Final = 320
MAX_POSITIONS: Final = 512


def save_tokenizer(folder: Path) -> Path:
    """Write a byte-level BPE tokenizer of 267 entries with five special tokens, ids 0 to 4."""
    symbols = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    symbols += [left + right for left, right in MERGES]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    names = dict(zip(("pad_token", "bos_token", "eos_token"), SPECIAL, strict=False))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return folder


def save_model(
    folder: Path,
    architecture: str = "qwen2",
    *,
    seed: int = 0,
    tokenizer: bool = True,
    **config: Any,
) -> Path:
    """Write a random model: hidden 64, 2 layers, 2 heads of 32, float32, untied embeddings.

    The weights are drawn wider than a real initialisation so that log-probs spread from about
    -15 to -1 and a wrong position or model shows. `config` overrides configuration fields.
    """
    config_class, model_class = ARCHITECTURES[architecture]
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.15,
        "tie_word_embeddings": False,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**(fields | config)))
    model.save_pretrained(folder)
    return save_tokenizer(folder) if tokenizer else folder
