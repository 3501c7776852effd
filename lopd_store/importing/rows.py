"""One chunk of a stranger's rows: in our types, judged, and completed with what follows."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.building.complete import (
    with_finish_reason,
    with_names,
    with_zeros_where_masked,
)
from lopd_store.building.plan import Chunk
from lopd_store.building.run import Prepared
from lopd_store.building.triage import triage
from lopd_store.engines.answers import ROUNDING
from lopd_store.errors import FormatError
from lopd_store.inputs.conform import conformed
from lopd_store.inputs.source import PROBLEM, RowSource
from lopd_store.rows import flat
from lopd_store.rows.check import bad_rows
from lopd_store.rows.columns import LOGPROB_COLUMNS, TYPES, UNKNOWN_REASON

_MADE_HERE: Final = ("sample_id", "prompt_id")
_SIGNAL: Final = "teacher_logprobs"
_NEEDED: Final = ("prompt_ids", "response_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportChunk:
    """Makes a chunk of imported rows what a shard holds.

    Attributes:
        vocab_size: ids at or above it cannot be.
        on_error: `skip` or `fail`.
        eos: ids that end a response.
    """

    vocab_size: int
    on_error: str
    eos: Collection[int]

    def prepare(self, chunk: Chunk, rows: pa.RecordBatch) -> Prepared[None, None]:
        """Leave bad rows out and complete the rest; no engine is asked."""
        good, skipped = triage(
            rows,
            partial(bad_rows, vocab_size=self.vocab_size, max_tokens=None),
            first_row=chunk.first_row,
            on_error=self.on_error,
        )
        named = with_finish_reason(with_names(good), eos=self.eos, otherwise=UNKNOWN_REASON)
        kept = with_zeros_where_masked(named)
        return Prepared(None, skipped, lambda _: kept)


def in_our_types(source: RowSource, *, kind: str) -> RowSource:
    """The same rows as the format has them; what does not fit costs its row only.

    Reading raises FormatError on columns that are missing or of other types.
    """
    return replace(source, read=lambda: (_conformed(rows, kind) for rows in source.read()))


def _conformed(rows: pa.RecordBatch, kind: str) -> pa.RecordBatch:
    _expect_columns(rows.schema.names, kind)
    empty = [
        field.name
        for field in rows.schema
        if pa.types.is_null(field.type) and field.name in set(TYPES) - {*_NEEDED, _SIGNAL}
    ]
    left = [name for name in (*_MADE_HERE, *empty) if name in rows.schema.names]
    found = conformed(rows.drop_columns(left), kind=kind)
    for name in LOGPROB_COLUMNS:
        if name in found.schema.names:
            found = _set(found, name, _rounded(found.column(name)))
    if "finish_reason" in found.schema.names:
        known = found.column("finish_reason").fill_null(UNKNOWN_REASON)
        found = _set(found, "finish_reason", known)
    return found


def _expect_columns(names: Collection[str], kind: str) -> None:
    needed = (*_NEEDED, _SIGNAL) if kind == "signal" else _NEEDED
    missing = [name for name in needed if name not in names]
    if missing:
        theirs = ", ".join(name for name in names if name != PROBLEM) or "none"
        advice = ""
        if missing == [_SIGNAL]:
            advice = (
                "; rows that nobody scored are rollouts: --kind rollouts, then lopd-store build"
            )
        raise FormatError(f"expected {', '.join(needed)}, found columns {theirs}{advice}")
    if kind != "signal" and _SIGNAL in names:
        raise FormatError(
            f"expected rows that nobody scored, found {_SIGNAL}: --kind signal keeps it"
        )


def _rounded(logprobs: pa.Array) -> pa.Array:
    """Log-probs with what rounding put above zero clamped, as of an engine; no -0.0."""
    values = flat.lists(logprobs).values
    tiny = (values > 0) & (values <= ROUNDING)
    clamped = np.where(tiny, np.float32(0), values) + np.float32(0)
    inside = flat.items(logprobs)
    items = pa.array(clamped, mask=~flat.valid(inside)) if inside.null_count else pa.array(clamped)
    return flat.lists_of(items, like=logprobs)


def _set(rows: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


def reasons(rows: pa.RecordBatch) -> dict[str, int]:
    """How many responses ended for each reason."""
    counted = pc.value_counts(rows.column("finish_reason")).to_pylist()
    return {each["values"]: each["counts"] for each in counted}
