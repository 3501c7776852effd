"""Descriptors and manifests: the parts of an artifact by digest and size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents import media, rules
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.document import Document
from lopd_store.documents.part import Part, json_object, unknown_fields
from lopd_store.errors import FormatError, Problem

_FIELDS = ("mediaType", "artifactType", "digest", "size", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor(Part):
    """What some bytes are, their digest and their size.

    Attributes:
        media_type: what the bytes are.
        digest: SHA-256 of the bytes.
        size: how many bytes, at least 0.
        annotations: key → text, not covered by `digest`.
        artifact_type: in index.json, the artifactType of the manifest that is named.
        unknown: fields of OCI that we do not use, kept.
    """

    SCHEMA: ClassVar[str] = "descriptor"

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, data: bytes, *, media_type: str, annotations: Mapping[str, str] | None = None
    ) -> Self:
        """The descriptor of `data`."""
        return cls(
            media_type=media_type,
            digest=Digest.of(data),
            size=len(data),
            annotations=dict(annotations or {}),
        )

    @classmethod
    def of_shard(
        cls, *, digest: Digest, size: int, rows: int, tokens: int, identity: Digest
    ) -> Self:
        """The descriptor of a shard; `tokens` counts response tokens."""
        annotations = {
            media.ROWS: str(rows),
            media.TOKENS: str(tokens),
            media.IDENTITY_DIGEST: str(identity),
        }
        return cls(media_type=media.SHARD, digest=digest, size=size, annotations=annotations)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            media_type=document["mediaType"],
            digest=Digest(document["digest"]),
            size=document["size"],
            annotations=dict(document.get("annotations", {})),
            artifact_type=document.get("artifactType"),
            unknown=unknown_fields(document, _FIELDS),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included; empty annotations are left out."""
        fields = {
            "mediaType": self.media_type,
            "artifactType": self.artifact_type,
            "digest": str(self.digest),
            "size": self.size,
            "annotations": dict(self.annotations) or None,
        }
        return json_object(self.unknown, fields)

    @property
    def rows(self) -> int:
        """Rows of a shard. Raises FormatError when this does not describe one."""
        return int(self._annotation(media.ROWS))

    @property
    def tokens(self) -> int:
        """Response tokens of a shard. Raises FormatError when this does not describe one."""
        return int(self._annotation(media.TOKENS))

    @property
    def identity(self) -> Digest:
        """Digest of a shard's identity. Raises FormatError when this does not describe one."""
        return Digest(self._annotation(media.IDENTITY_DIGEST))

    def _annotation(self, key: str) -> str:
        if key not in self.annotations:
            problem = Problem("missing-field", "/annotations", f"the field {key!r}", "none")
            raise FormatError.of([problem], subject=f"descriptor of {self.digest}")
        return self.annotations[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Document):
    """The parts of an artifact, or of evidence about one. Its digest is the artifact's id.

    Attributes:
        data: the canonical bytes.
        artifact_type: `application/vnd.lopd.<kind>.v1`.
        config: the artifact document, or the OCI empty document.
        layers: identities, tokenizers, shards in row order, the list of skipped rows.
        subject: what the evidence is about, if this is evidence.
    """

    SCHEMA: ClassVar[str] = "manifest"

    artifact_type: str = field(compare=False)
    config: Descriptor = field(compare=False, repr=False)
    layers: tuple[Descriptor, ...] = field(compare=False, repr=False)
    subject: Descriptor | None = field(compare=False, repr=False)

    @classmethod
    def of(
        cls,
        *,
        artifact_type: str,
        config: Descriptor,
        layers: Sequence[Descriptor],
        subject: Descriptor | None = None,
    ) -> Self:
        """Build a manifest. Raises FormatError with every problem."""
        fields = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
            "subject": subject.to_json() if subject else None,
        }
        return cls.from_json(json_object({}, fields))

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        return cls(
            data=data,
            artifact_type=document["artifactType"],
            config=Descriptor.read(document["config"]),
            layers=tuple(Descriptor.read(layer) for layer in document["layers"]),
            subject=Descriptor.read(document["subject"]) if "subject" in document else None,
        )

    @property
    def kind(self) -> str:
        """`sft`, `rollouts` or `signal`; `noise` or another word for evidence."""
        return media.kind_of(self.artifact_type)

    @property
    def identities(self) -> tuple[Descriptor, ...]:
        """The identity layers."""
        return self.layers_of(media.IDENTITY)

    @property
    def tokenizers(self) -> tuple[Descriptor, ...]:
        """The tokenizer layers."""
        return self.layers_of(media.TOKENIZER)

    @property
    def shards(self) -> tuple[Descriptor, ...]:
        """The shards in row order."""
        return self.layers_of(media.SHARD)

    @property
    def skipped(self) -> Descriptor | None:
        """The list of skipped rows, if any row was skipped."""
        return next(iter(self.layers_of(media.SKIPPED)), None)

    def layers_of(self, media_type: str) -> tuple[Descriptor, ...]:
        """The layers of one media type, in order."""
        return tuple(layer for layer in self.layers if layer.media_type == media_type)

    def descriptor(self, *, annotations: Mapping[str, str] | None = None) -> Descriptor:
        """What index.json or a `subject` says of this manifest."""
        return Descriptor(
            media_type=media.OCI_MANIFEST,
            digest=self.digest,
            size=len(self.data),
            annotations=dict(annotations or {}),
            artifact_type=self.artifact_type,
        )

    def disagreements(self, artifact: ArtifactDocument) -> list[Problem]:
        """Where this manifest and its artifact document contradict each other."""
        return rules.agreement(self.json, artifact.json)
