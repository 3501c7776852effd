"""The list of skipped rows: one canonical JSON object a line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store import canonical
from lopd_store.documents import schema
from lopd_store.documents.part import Part, json_object, unknown_fields
from lopd_store.errors import FormatError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRow(Part):
    """A row of the source that is not in the artifact.

    Attributes:
        row: its number in the source, from 0.
        reason: a stable word, such as `empty-response`.
        detail: a sentence for people; empty when there is no more to say.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "skipped"

    row: int
    reason: str
    detail: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            row=document["row"],
            reason=document["reason"],
            detail=document.get("detail", ""),
            unknown=unknown_fields(document, ("row", "reason", "detail")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included; an empty detail is left out."""
        fields = {"row": self.row, "reason": self.reason, "detail": self.detail or None}
        return json_object(self.unknown, fields)


def encode_skipped(rows: Iterable[SkippedRow]) -> bytes:
    """The bytes of the list, one line a row, in the order given."""
    return b"".join(canonical.encode(row.to_json()) + b"\n" for row in rows)


def parse_skipped(data: bytes, *, what: str = "skipped rows") -> list[SkippedRow]:
    """Read the list.

    Raises:
        FormatError: a line is not canonical JSON or breaks the schema, the last line has no end,
            or rows do not ascend; with every problem in `.problems`.
    """
    *lines, rest = data.split(b"\n")
    problems = []
    if rest:
        problems.append(Problem("cut-line", f"line {len(lines) + 1}", "a newline", "none"))
    rows: list[SkippedRow] = []
    for number, line in enumerate(lines, start=1):
        document = canonical.decode(line, what=f"{what}: line {number}")
        wrong = schema.problems(document, SkippedRow.SCHEMA)
        problems += [Problem(p.kind, f"line {number}{p.where}", p.expected, p.found) for p in wrong]
        if wrong:
            continue
        row = SkippedRow.read(document)
        if rows and row.row <= rows[-1].row:
            expected = f"a row after {rows[-1].row}"
            problems.append(Problem("row-order", f"line {number}", expected, str(row.row)))
        rows.append(row)
    if problems:
        raise FormatError.of(problems[: schema.MAX_PROBLEMS], subject=what)
    return rows
