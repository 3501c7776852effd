"""One run of on-policy distillation in a checkpoint's history: its signal and its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents.model import BaseModel
from lopd_store.documents.part import Part, json_object, unknown_fields
from lopd_store.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalUsed(Part):
    """The signal that a run was trained on.

    Attributes:
        identities: digests of the identity documents of its rows.
        artifact: the artifact's id; None when shards were read that no manifest named.
        content_digest: of the artifact's rows, if known.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "stamp#signal"

    identities: tuple[Digest, ...]
    artifact: Digest | None = None
    content_digest: Digest | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        artifact, content = (document.get(name) for name in ("artifact", "content_digest"))
        return cls(
            identities=tuple(Digest(digest) for digest in document["identities"]),
            artifact=Digest(artifact) if artifact is not None else None,
            content_digest=Digest(content) if content is not None else None,
            unknown=unknown_fields(document, ("identities", "artifact", "content_digest")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "identities": [str(digest) for digest in self.identities],
            "artifact": str(self.artifact) if self.artifact else None,
            "content_digest": str(self.content_digest) if self.content_digest else None,
        }
        return json_object(self.unknown, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpdRun(Part):
    """One run of on-policy distillation.

    Attributes:
        signal: what it was trained on.
        start: the checkpoint it started from, which the rollouts should be of.
        inconsistent: what the consistency gate found, when somebody went on all the same; empty
            after a run that passed it.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "stamp#run"

    signal: SignalUsed
    start: BaseModel
    inconsistent: tuple[Problem, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            signal=SignalUsed.read(document["signal"]),
            start=BaseModel.read(document["start"]),
            inconsistent=tuple(
                Problem(one["kind"], one["where"], one["expected"], one["found"])
                for one in document.get("inconsistent", ())
            ),
            unknown=unknown_fields(document, ("signal", "start", "inconsistent")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        problems = [problem.to_json() for problem in self.inconsistent]
        fields = {
            "signal": self.signal.to_json(),
            "start": self.start.to_json(),
            "inconsistent": problems or None,
        }
        return json_object(self.unknown, fields)
