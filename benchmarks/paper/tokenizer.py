"""A tokenizer of 33 tokens, one a character: nothing merges, so nothing re-tokenises."""

from typing import Any, Final

from transformers import Qwen2Tokenizer

PAD: Final = "<pad>"
END: Final = "<end>"
USED: Final = "0123456789+=;[]>:#"
UNUSED: Final = "abcdefghijkl"
"""In no text: as in any vocabulary, there are tokens that no right answer ever has."""


def new_tokenizer() -> Any:
    """The tokenizer of every model here.

    The class is Qwen2's because transformers loads the tokenizer of a Qwen2 model with that class
    whatever the folder says.
    """
    vocabulary = {word: place for place, word in enumerate([PAD, END, *USED, *UNUSED])}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token=END, pad_token=PAD)


def encode(tokenizer: Any, text: str) -> list[int]:
    """The ids of `text`, one a character."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
