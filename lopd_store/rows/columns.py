"""Columns of a shard: names, types, what each kind needs, and the types others may bring."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import pyarrow as pa

from lopd_store.documents import media
from lopd_store.errors import FormatError, Problem
from lopd_store.rows import logical
from lopd_store.rows.casting import conform_column
from lopd_store.rows.logical import arrow_type, type_text

__all__ = [
    "FINISH_REASONS",
    "LOGPROB_COLUMNS",
    "SERVER_MINUS_INFINITY",
    "SIGNAL_COLUMNS",
    "TYPES",
    "UNKNOWN_REASON",
    "arrow_schema",
    "arrow_type",
    "canonical_schema",
    "conform",
    "ordered",
    "relaid",
    "required",
    "schema_problems",
    "type_text",
]

Data = TypeVar("Data", pa.RecordBatch, pa.Table)

_TEXTS: Final[Mapping[str, str]] = {
    "sample_id": "string",
    "prompt_id": "string",
    "prompt_ids": "list<int32>",
    "response_ids": "list<int32>",
    "teacher_logprobs": "list<float32>",
    "rollout_logprobs": "list<float32>",
    "loss_mask": "list<bool>",
    "finish_reason": "string",
    "prompt_text": "string",
    "response_text": "string",
    "reference_logprobs": "list<float32>",
    "teacher_topk_ids": "list<int32>",  # flat, position after position, K a response id
    "teacher_topk_logprobs": "list<float32>",  # beside teacher_topk_ids
    "teacher_tail_logprob": "list<float32>",
    "teacher_entropy": "list<float32>",
}
TYPES: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {name: logical.ARROW[text] for name, text in _TEXTS.items()}
)
"""Arrow type of every column this format names, in the order they stand in a shard."""

_REQUIRED: Final = ("sample_id", "prompt_id", "prompt_ids", "response_ids", "finish_reason")
SIGNAL_COLUMNS: Final = (
    "teacher_logprobs",
    "reference_logprobs",
    "teacher_topk_ids",
    "teacher_topk_logprobs",
    "teacher_tail_logprob",
    "teacher_entropy",
)
"""Columns that only kind `signal` may hold: elsewhere nothing says which model gave them."""

LOGPROB_COLUMNS: Final = ("teacher_logprobs", "rollout_logprobs", "reference_logprobs")
"""Columns with one log-prob of the response's own token at each position."""

SERVER_MINUS_INFINITY: Final = -9999.0
"""What an OpenAI-compatible server writes in JSON where a log-prob is minus infinity."""

FINISH_REASONS: Final = ("stop", "length", "abort")
"""Why an engine stops."""

UNKNOWN_REASON: Final = "unknown"
"""Stands in imported rows whose source does not say why the response ended."""


def required(kind: str) -> tuple[str, ...]:
    """The columns that every artifact of `kind` has. Raises FormatError on an unknown kind."""
    if kind not in media.KINDS:
        raise FormatError(f"expected a kind of {', '.join(media.KINDS)}, found {kind!r}")
    return (*_REQUIRED, "teacher_logprobs") if kind == "signal" else _REQUIRED


def arrow_schema(names_and_types: Mapping[str, str] | Iterable[tuple[str, str]]) -> pa.Schema:
    """The Arrow schema of these columns in shard order: ours as in `TYPES`, then others by name."""
    texts = dict(names_and_types)
    return pa.schema([pa.field(name, arrow_type(texts[name])) for name in ordered(texts)])


def ordered(names: Iterable[str]) -> list[str]:
    """Column names in shard order: ours as in `TYPES`, then others by their UTF-8 bytes."""
    ranks = {name: rank for rank, name in enumerate(TYPES)}
    return sorted(names, key=lambda name: (ranks.get(name, len(ranks)), name.encode()))


def schema_problems(schema: pa.Schema, kind: str) -> list[Problem]:
    """Everything wrong with the columns of an artifact of `kind`; empty when they are right.

    Problem kinds: `missing-column`, `duplicate-column`, `column-name`, `reserved-name`,
    `column-type`, `column-kind` (a signal where no identity says who gave it).
    """
    missing = [
        Problem("missing-column", name, type_text(TYPES[name]), "no such column")
        for name in required(kind)
        if name not in schema.names
    ]
    return missing + _name_problems(schema, kind) + _type_problems(schema)


def _name_problems(schema: pa.Schema, kind: str) -> list[Problem]:
    problems = _repeated(schema)
    for name in dict.fromkeys(schema.names):
        if not name or not name.isprintable():
            problems.append(
                Problem("column-name", repr(name), "a printable name", f"{len(name)} characters")
            )
        if name not in TYPES and name.lower() in TYPES:  # SQL does not tell them apart
            problems.append(
                Problem(
                    "reserved-name", name, f"{name.lower()} or another name", "a spelling of it"
                )
            )
        if name in SIGNAL_COLUMNS and kind != "signal":
            problems.append(
                Problem("column-kind", name, "it in kind signal only; drop it", f"kind {kind}")
            )
    return problems


def _repeated(schema: pa.Schema) -> list[Problem]:
    return [
        Problem("duplicate-column", name, "one column", f"{times} columns")
        for name in dict.fromkeys(schema.names)
        if (times := schema.names.count(name)) > 1
    ]


def _type_problems(schema: pa.Schema) -> list[Problem]:
    problems = []
    for field in schema:
        found = type_text(field.type)
        if field.name in TYPES:
            if found != (expected := type_text(TYPES[field.name])):
                problems.append(Problem("column-type", field.name, expected, found))
        elif found not in logical.ARROW:
            allowed = f"one of {', '.join(logical.ARROW)}; drop the column or cast it"
            problems.append(Problem("column-type", field.name, allowed, found))
    return problems


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns in shard order and in the format's own Arrow types, without metadata.

    Raises FormatError on a name twice, or a type outside the closed list.
    """
    if problems := _type_problems(schema) + _repeated(schema):
        raise FormatError.of(problems, subject="columns")
    return arrow_schema((field.name, type_text(field.type)) for field in schema)


def conform(data: Data, kind: str) -> Data:
    """The same rows in the format's own column order and types; missing columns stay missing.

    What Arrow only holds differently (large_string, large_list, fixed-size lists, string views,
    dictionaries) is re-laid. In columns the format names: integers of any width become int32 when
    every value fits; float16 and float64 become float32, rounded to nearest (exact for a float64
    that left an engine as float32); integer masks become bool when every value is 0 or 1; a
    column of nulls takes the type. Columns of others keep theirs, which must be on the closed list.

    Raises:
        FormatError: a column whose type or values do not fit, a name the format keeps for itself,
            or a signal column in a kind that cannot say who gave it.
    """
    problems = [
        problem
        for problem in schema_problems(data.schema, kind)
        if problem.kind not in {"missing-column", "column-type"}
    ]
    if problems:
        raise FormatError.of(problems, subject=f"columns of {kind}")
    names = ordered(data.schema.names)
    arrays = [conform_column(name, data.column(name), wanted=TYPES.get(name)) for name in names]
    fields = [pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)]
    return type(data).from_arrays(arrays, schema=pa.schema(fields))


def relaid(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a canonical `schema` from a batch that holds them in any order and layout.

    Raises FormatError when a column holds another logical type.
    """
    arrays = [
        conform_column(field.name, batch.column(field.name), wanted=field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
