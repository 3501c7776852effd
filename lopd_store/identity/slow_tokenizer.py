"""Tokenizers without tokenizer.json, converted by transformers where that is installed."""

from pathlib import Path
from typing import Any

from lopd_store.errors import FormatError, NotFoundError

_SOURCES = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model.v3")


def convert(folder: Path) -> Any:
    """The fast backend (`tokenizers.Tokenizer`) of a folder with slow tokenizer files only.

    No code from the folder runs.

    Raises:
        NotFoundError: no tokenizer files.
        FormatError: transformers is missing or cannot convert them.
    """
    if not any((folder / name).is_file() for name in _SOURCES):
        raise NotFoundError(f"{folder}: expected tokenizer.json, found no tokenizer files")
    hint = "save it once with AutoTokenizer.from_pretrained(...).save_pretrained(...)"
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise FormatError(
            f"{folder}: expected tokenizer.json; converting the older files needs transformers,"
            f" which is not installed: pip install 'lopd[train]', or {hint} elsewhere"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder}: transformers cannot load its tokenizer: {error}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise FormatError(f"{folder}: expected a tokenizer with a fast form; {hint}")
    return backend
