"""Text and chat messages to token ids, with the model's own tokenizer and chat template."""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from lopd_store.errors import EngineError, FormatError
from lopd_store.identity.tokenizer import open_tokenizer, refusing
from lopd_store.inputs.conform import with_problems
from lopd_store.inputs.source import PROBLEM
from lopd_store.rows.columns import type_text


class Renderer(Protocol):
    """Text to ids. The same text always gives the same ids."""

    def prompt(self, text: str) -> list[int]:
        """The ids of a raw prompt, with the special tokens that the tokenizer itself adds."""

    def messages(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """The ids of a conversation up to where the assistant begins."""

    def templated(self, text: str) -> list[int]:
        """The ids of a prompt that a chat template has written out: nothing added."""

    def response(self, text: str) -> list[int]:
        """The ids of a response: nothing added, so its end-of-turn token is not there."""


class ModelRenderer:
    """A renderer for one model: its packed tokenizer makes ids, its folder has the chat template.

    The ids are made by the very tokenizer that the identity names. What transformers loads from
    the same folder can split text in another way, so it only writes conversations out as text.
    """

    def __init__(self, folder: Path, tokenizer_blob: bytes) -> None:
        self._folder = folder
        self._tokenizer = open_tokenizer(tokenizer_blob)

    @cached_property
    def _templates(self) -> Any:
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise EngineError(
                "messages need a chat template renderer: pip install 'lopd[train]',"
                " or give prompt or prompt_ids"
            ) from error
        return AutoTokenizer.from_pretrained(
            self._folder, local_files_only=True, trust_remote_code=False
        )

    def prompt(self, text: str) -> list[int]:
        """See Renderer."""
        with refusing(str(self._folder)):
            return list(self._tokenizer.encode(text).ids)

    def messages(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """See Renderer. Raises FormatError when the model has no chat template for them."""
        from jinja2 import TemplateError

        try:
            text = self._templates.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=False
            )
        except (ValueError, TypeError, KeyError, TemplateError) as error:
            raise FormatError(f"expected messages the chat template accepts: {error}") from error
        return self.templated(text)

    def templated(self, text: str) -> list[int]:
        """See Renderer."""
        with refusing(str(self._folder)):
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def response(self, text: str) -> list[int]:
        """See Renderer."""
        return self.templated(text)


def with_prompt_ids(batch: pa.RecordBatch, renderer: Renderer | None) -> pa.RecordBatch:
    """`batch` with `prompt_ids`, made from `messages` or `prompt` where it is not there already.

    Raises FormatError when none of the three columns is there, or no renderer was given.
    """
    names = batch.schema.names
    if "prompt_ids" in names:
        return batch.drop_columns([n for n in ("messages", "prompt") if n in names])
    column = next((n for n in ("messages", "prompt") if n in names), None)
    if column is None or renderer is None:
        raise FormatError(
            f"expected a column prompt_ids, messages or prompt, found {_theirs(names)}"
        )
    render = _render_messages if column == "messages" else _render_prompt
    return replaced(batch, column, "prompt_ids", lambda value: render(renderer, value))


def with_response_ids(batch: pa.RecordBatch, renderer: Renderer | None) -> pa.RecordBatch:
    """`batch` with `response_ids`, re-tokenised from `response` where it is not there already."""
    names = batch.schema.names
    if "response_ids" in names:
        return batch.drop_columns(["response"]) if "response" in names else batch
    if "response" not in names or renderer is None:
        raise FormatError(
            f"expected a column response_ids or response, found {_theirs(names)}"
            " (a last turn of the assistant in messages is not taken for the response)"
        )
    return replaced(batch, "response", "response_ids", renderer.response)


def _theirs(names: Sequence[str]) -> str:
    """The columns as the file has them, for messages."""
    return ", ".join(name for name in names if name != PROBLEM) or "none"


def _render_prompt(renderer: Renderer, text: str) -> list[int]:
    return renderer.prompt(text)


def _render_messages(renderer: Renderer, text: str) -> list[int]:
    messages = json.loads(text)
    # A template iterates over anything, and makes a prompt of the letters of a text.
    if not (isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)):
        raise FormatError(f"messages: expected a list of messages, found {text[:80]}")
    return renderer.messages(messages)


def replaced(
    batch: pa.RecordBatch, old: str, new: str, make: Callable[[str], list[int]]
) -> pa.RecordBatch:
    """`batch` with ids in the column `new`, made of the text in `old`, which goes.

    Raises FormatError where `old` is not text.
    """
    kind = type_text(batch.column(old).type)
    if kind not in {"string", "null"}:
        raise FormatError(f"column {old}: expected text, found {kind}")
    ids: list[list[int] | None] = []
    problems: dict[int, str] = {}
    for index, value in enumerate(batch.column(old).to_pylist()):
        try:
            ids.append(None if value is None else make(value))
        except FormatError as error:
            ids.append(None)
            problems[index] = str(error)
    made = batch.drop_columns([old]).append_column(new, pa.array(ids, pa.list_(pa.int32())))
    return with_problems(made, problems)
