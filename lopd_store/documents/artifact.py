"""The artifact document: what came out. It is the config of an artifact's manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.document import Document
from lopd_store.documents.part import Part, json_object, unknown_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Part):
    """A column of the rows.

    Attributes:
        name: as in the Parquet schema.
        type: a word of the closed list, such as `list<float32>`.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "artifact#column"

    name: str
    type: str
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        unknown = unknown_fields(document, ("name", "type"))
        return cls(name=document["name"], type=document["type"], unknown=unknown)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        return json_object(self.unknown, {"name": self.name, "type": self.type})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage(Part):
    """An artifact that this one came from.

    Attributes:
        kind: `sft`, `rollouts` or `signal`.
        digest: the id of that artifact.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "artifact#lineage"

    kind: str
    digest: Digest
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        unknown = unknown_fields(document, ("kind", "digest"))
        return cls(kind=document["kind"], digest=Digest(document["digest"]), unknown=unknown)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        return json_object(self.unknown, {"kind": self.kind, "digest": str(self.digest)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDocument(Document):
    """What came out: counts, the content digest, where it came from.

    Attributes:
        data: the canonical bytes.
        kind: `sft`, `rollouts` or `signal`.
        identities: digests of the identity documents, in the order of the manifest's layers.
        columns: every column of the rows.
        rows: how many rows.
        tokens: how many response tokens.
        prompt_tokens: how many prompt tokens.
        content_digest: over the logical values of every column, in row order.
        duplicates: rows that repeat an earlier sample exactly.
        lineage: the artifacts it came from.
        skipped: reason → how many rows of the source were left out.
    """

    SCHEMA: ClassVar[str] = "artifact"

    kind: str = field(compare=False)
    identities: tuple[Digest, ...] = field(compare=False)
    columns: tuple[Column, ...] = field(compare=False)
    rows: int = field(compare=False)
    tokens: int = field(compare=False)
    prompt_tokens: int = field(compare=False)
    content_digest: Digest = field(compare=False)
    duplicates: int = field(compare=False)
    lineage: tuple[Lineage, ...] = field(compare=False)
    skipped: Mapping[str, int] = field(compare=False)

    @classmethod
    def of(  # noqa: PLR0913 -- the document has this many facts, each named at the call
        cls,
        *,
        kind: str,
        identities: Sequence[Digest],
        columns: Sequence[Column],
        rows: int,
        tokens: int,
        prompt_tokens: int,
        content_digest: Digest,
        duplicates: int = 0,
        lineage: Sequence[Lineage] = (),
        skipped: Mapping[str, int] | None = None,
    ) -> Self:
        """Build the document; the attributes say what each argument is. Raises FormatError."""
        document = {
            "format": media.ARTIFACT_FORMAT,
            "kind": kind,
            "identities": [str(digest) for digest in identities],
            "columns": [column.to_json() for column in columns],
            "rows": rows,
            "tokens": tokens,
            "prompt_tokens": prompt_tokens,
            "content_digest": str(content_digest),
            "duplicates": duplicates,
            "lineage": [link.to_json() for link in lineage],
            "skipped": dict(skipped or {}),
        }
        return cls.from_json(document)

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        return cls(
            data=data,
            kind=document["kind"],
            identities=tuple(Digest(digest) for digest in document["identities"]),
            columns=tuple(Column.read(column) for column in document["columns"]),
            rows=document["rows"],
            tokens=document["tokens"],
            prompt_tokens=document["prompt_tokens"],
            content_digest=Digest(document["content_digest"]),
            duplicates=document["duplicates"],
            lineage=tuple(Lineage.read(link) for link in document["lineage"]),
            skipped=dict(document["skipped"]),
        )
