"""A byte-level BPE tokenizer with single-token digits and a chat template, trained here."""

import json
from collections.abc import Iterable
from typing import Any, Final

from tokenizers import pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from examples.arithmetic.problems import ask

VOCABULARY: Final = 288
END_OF_TEXT: Final = "<|endoftext|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
CHAT_TEMPLATE: Final = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Learn merges from `texts` in Qwen2's pipeline, where every digit is a token of its own.

    The class is Qwen2's because transformers loads the tokenizer of a Qwen2 model with that class
    whatever the folder says, and so with its splitting of text.

    Returns:
        A transformers tokenizer whose vocabulary covers all 256 bytes.
    """
    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    learnt = json.loads(backend.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
    )


def prompt_ids(tokenizer: Any, questions: Iterable[str]) -> list[list[int]]:
    """Each question as the chat template renders it, ending where the assistant begins."""
    texts = tokenizer.apply_chat_template(
        [ask(question) for question in questions], tokenize=False, add_generation_prompt=True
    )
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def response_ids(tokenizer: Any, responses: Iterable[str]) -> list[list[int]]:
    """Each response and the token that ends the turn."""
    texts = [response + TURN_END for response in responses]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids
