"""Rows that came from a file: what was only asserted of them, and what nobody knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self

from lopd_store.digest import Digest
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.part import Part, json_object, unknown_fields

ASSERTED: Final = "asserted"
UNKNOWN: Final = "unknown"
OF_LOGPROBS: Final = ("teacher", "scoring")
"""Facts about a file's own teacher_logprobs; the others are about its rollouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserted(Part):
    """What the importer of a file said of its rows. Nothing proves it, so it is not knowledge.

    Attributes:
        models: role, such as `teacher` → who that model is said to be.
        scoring: settings the log-probs are said to be made with, such as `dtype`; names are those
            of `Scoring`.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#asserted"

    models: Mapping[str, ModelIdentity] = field(default_factory=dict)
    scoring: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        models = document.get("models", {})
        return cls(
            models={role: ModelIdentity.read(model) for role, model in models.items()},
            scoring=dict(document.get("scoring", {})),
            unknown=unknown_fields(document, ("models", "scoring")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included; what nobody asserted is left out."""
        models = {role: model.to_json() for role, model in self.models.items()}
        return json_object(
            self.unknown, {"models": models or None, "scoring": dict(self.scoring) or None}
        )


_FIELDS = ("digest", "retokenised", "tokenizer", "read_as", "asserted", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported(Part):
    """Rows that came from a file, which proves nothing about who made them.

    Attributes:
        digest: of the file's bytes.
        retokenised: whether ids were made from text, and so may not be the ids that were sampled.
        tokenizer: `asserted`, or `unknown` where nobody even says which it is.
        read_as: the file's format, such as `lightning-opd`, where it was not read as our own.
        asserted: what a person said of the rows.
        not_known: facts that nobody states, sorted, such as `teacher`; `unknown` in JSON.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#imported"

    digest: Digest
    retokenised: bool
    tokenizer: str = ASSERTED
    read_as: str | None = None
    asserted: Asserted = field(default_factory=Asserted)
    not_known: tuple[str, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def scored(self) -> "Imported":
        """The same once a teacher at hand has scored the rows, with its own tokenizer.

        What was said of the file's own log-probs goes with them.
        """
        models = {role: model for role, model in self.asserted.models.items() if role != "teacher"}
        return replace(
            self,
            tokenizer=ASSERTED,
            asserted=replace(self.asserted, models=models, scoring={}),
            not_known=tuple(fact for fact in self.not_known if fact not in OF_LOGPROBS),
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            digest=Digest(document["digest"]),
            retokenised=document["retokenised"],
            tokenizer=document["tokenizer"],
            read_as=document.get("read_as"),
            asserted=Asserted.read(document.get("asserted", {})),
            not_known=tuple(document.get("unknown", ())),
            unknown=unknown_fields(document, _FIELDS),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included; empty claims are left out."""
        fields = {
            "digest": str(self.digest),
            "retokenised": self.retokenised,
            "tokenizer": self.tokenizer,
            "read_as": self.read_as,
            "asserted": self.asserted.to_json() or None,
            "unknown": list(self.not_known) or None,
        }
        return json_object(self.unknown, fields)
