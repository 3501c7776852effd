"""The Parquet file of the Lightning-OPD release: prompts as text, the rest in one struct.

As at cd6b559: its loader takes `prompt` and `metadata`, encodes the prompt with the student's
tokenizer, nothing added, and puts `response_tokens` after it. `teacher_log_probs` stand at their
own token, never shifted. A zero in `loss_mask` makes its trainer stop.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.adapters import layout
from lopd_store.adapters.source import Source
from lopd_store.errors import FormatError, UsageError
from lopd_store.identity.tokenizer import open_tokenizer, refusing
from lopd_store.inputs.files import read_file
from lopd_store.inputs.source import RowSource
from lopd_store.inputs.text import Renderer, replaced
from lopd_store.loading.decode import MASK
from lopd_store.rows import flat

FILE: Final = "parquet"

_FIELDS: Final[Mapping[str, str]] = {
    "response_tokens": "response_ids",
    "loss_mask": MASK,
    "response": "response_text",
    "teacher_log_probs": "teacher_logprobs",
    "student_log_probs": "rollout_logprobs",
}
"""Fields of `metadata` → our columns. Its other fields are left behind."""

_LISTS: Final = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_READ: Final = ("sample_id", "prompt_ids", "response_ids", "teacher_logprobs", MASK)
_MAY_READ: Final = ("rollout_logprobs", "prompt_text", "response_text", "label")


def read(path: Path, renderer: Renderer | None) -> RowSource:
    """Rows of such a file; the prompts' ids are made here, as its trainer would make them.

    The release made `response_tokens` from text too, so none of the ids need be the sampled ones.
    Prompts that are lists of ids, which its trainer also takes, are left as they are.

    Raises:
        NotFoundError: no such file.
        FormatError: not Parquet or JSON Lines, or without `prompt` and the struct `metadata`.
        UsageError: prompts are text and there is no renderer.
    """
    first = next(read_file(path), None)
    if first is not None:
        _ours(first.slice(0, 0), renderer)

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in read_file(path):
            yield _ours(batch, renderer)

    return RowSource.of_file(path, rows, retokenised=True)


def _ours(batch: pa.RecordBatch, renderer: Renderer | None) -> pa.RecordBatch:
    names = batch.schema.names
    if missing := {"prompt", "metadata"} - set(names):
        raise FormatError(
            f"expected the columns prompt and metadata, found no {' and no '.join(sorted(missing))}"
        )
    metadata, prompt = batch.column("metadata"), batch.column("prompt")
    if not pa.types.is_struct(metadata.type):
        raise FormatError(f"column metadata: expected a struct, found {metadata.type}")
    columns = {name: batch.column(name) for name in names if name != "metadata"}
    columns |= {
        ours: pc.struct_field(metadata, [field])
        for field, ours in _FIELDS.items()
        if metadata.type.get_field_index(field) >= 0
    }
    if any(is_list(prompt.type) for is_list in _LISTS):
        columns["prompt_ids"] = columns.pop("prompt")
        return pa.RecordBatch.from_pydict(columns)
    if renderer is None:
        raise UsageError(
            "the prompts are text: expected --tokenizer to make ids of them, found none"
        )
    rows = pa.RecordBatch.from_pydict(columns | {"prompt_text": prompt})
    return replaced(rows, "prompt", "prompt_ids", renderer.templated)


def export(source: Source) -> Iterator[pa.RecordBatch]:
    """Rows for the release's loader, in its own types: int64 ids and float64 log-probs.

    Prompts become text that its trainer encodes to exactly the stored ids.

    Raises:
        UsageError: not a signal, or no tokenizer at hand to write text with.
        FormatError: a prompt whose ids no text gives, or a response token that is not trained.
    """
    source.expect("signal")
    texts = Texts.of(source)
    more = tuple(name for name in _MAY_READ if name in source.columns)
    for batch in source.batches((*_READ, *more)):
        _expect_trained(batch)
        responses = batch.column("response_ids")
        metadata = {
            "is_lightning_opd": layout.constant(True, batch.num_rows),
            "response_tokens": responses.cast(pa.list_(pa.int64())),
            "loss_mask": batch.column(MASK).cast(pa.list_(pa.int64())),
            "response": texts.responses(batch),
            "teacher_log_probs": batch.column("teacher_logprobs").cast(pa.list_(pa.float64())),
        }
        if "rollout_logprobs" in more:
            sampled = batch.column("rollout_logprobs")
            metadata["student_log_probs"] = sampled.cast(pa.list_(pa.float64()))
        yield pa.RecordBatch.from_pydict(
            {
                "prompt": texts.prompts(batch),
                "label": _labels(batch),
                "metadata": layout.structs(metadata),
            }
        )


class Texts:
    """Ids as text, and back, with the tokenizer of a signal."""

    def __init__(self, blob: bytes) -> None:
        self._tokenizer = open_tokenizer(blob)

    @classmethod
    def of(cls, source: Source) -> "Texts":
        """The texts of a signal. Raises UsageError where one tokenizer is not at hand."""
        signal = source.signal
        named = {identity.tokenizer_blob for identity in signal.identities}
        blob = signal.tokenizer_blob(signal.identities[0])
        if len(named) != 1 or blob is None:
            found = f"{len(named)} tokenizers" if len(named) > 1 else "none at hand"
            raise UsageError(
                f"{signal.name}: the format holds prompts as text: expected rows of one tokenizer"
                f" that a store has, found {found}"
            )
        return cls(blob)

    def prompts(self, batch: pa.RecordBatch) -> pa.Array:
        """The text of each prompt: what the row keeps if it gives the ids, else the ids' own."""
        wanted = batch.column("prompt_ids").to_pylist()
        kept, own = _texts(batch, "prompt_text"), self._decoded(wanted, skip_special_tokens=False)
        found: list[str | None] = [None] * batch.num_rows
        for texts in (own, kept):
            for row, ids in enumerate(self._encoded(texts)):
                found[row] = texts[row] if ids == wanted[row] else found[row]
        if bad := [row for row, text in enumerate(found) if text is None]:
            name = batch.column("sample_id")[bad[0]].as_py()
            raise FormatError(
                f"sample {name}: expected prompt ids that a text gives back, as the format holds"
                f" prompts as text, found others ({len(bad)} of {batch.num_rows} rows here)"
            )
        return pa.array(found, pa.string())

    def responses(self, batch: pa.RecordBatch) -> pa.Array:
        """The text of each response, for rewards; special tokens are left out."""
        kept = _texts(batch, "response_text")
        made = self._decoded(batch.column("response_ids").to_pylist(), skip_special_tokens=True)
        return pa.array(
            [text or other for text, other in zip(kept, made, strict=True)], pa.string()
        )

    def _decoded(self, ids: Sequence[list[int]], *, skip_special_tokens: bool) -> list[str]:
        with refusing("tokenizer blob"):
            found = self._tokenizer.decode_batch(list(ids), skip_special_tokens=skip_special_tokens)
        return list(found)

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        with refusing("tokenizer blob"):
            encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
            return [list(one.ids) for one in encoded]


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    """A column of text, empty where rows have none."""
    if name not in batch.schema.names:
        return [""] * batch.num_rows
    found: list[Any] = batch.column(name).to_pylist()
    return [text or "" for text in found]


def _labels(batch: pa.RecordBatch) -> pa.Array:
    """The source's own labels if they are text; the release writes "0" throughout."""
    if "label" in batch.schema.names and pa.types.is_string(batch.column("label").type):
        return batch.column("label").fill_null("0")
    return layout.constant("0", batch.num_rows)


def _expect_trained(batch: pa.RecordBatch) -> None:
    mask = flat.lists(batch.column(MASK))
    if not mask.values.all():
        row = int(mask.rows_of(np.flatnonzero(~mask.values)[:1])[0])
        raise FormatError(
            f"sample {batch.column('sample_id')[row].as_py()}: expected a loss_mask that is true"
            " throughout, as the format's trainer takes no other, found one that is not"
        )
