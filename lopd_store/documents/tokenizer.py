"""Who a tokenizer is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents.part import Part, json_object, unknown_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds(Part):
    """Token ids with a meaning.

    Attributes:
        eos: the ids that end a response, in the model's order; empty when none does.
        bos: the id that begins a text, if there is one.
        pad: the padding id, if there is one.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#specialIds"

    eos: tuple[int, ...]
    bos: int | None = None
    pad: int | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            eos=tuple(document["eos"]),
            bos=document.get("bos"),
            pad=document.get("pad"),
            unknown=unknown_fields(document, ("eos", "bos", "pad")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        return json_object(self.unknown, {"eos": list(self.eos), "bos": self.bos, "pad": self.pad})


_FIELDS = (
    "core_digest",
    "vocab_digest",
    "probe_digest",
    "vocab_size",
    "special_ids",
    "versions",
    "blob",
    "chat_template_digest",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerIdentity(Part):
    """Who a tokenizer is: the same when core_digest is, or vocab and probe digests both are.

    Attributes:
        core_digest: over normalizer, pre-tokenizer, model and added tokens of the live backend.
        vocab_digest: over the pairs of piece and id.
        probe_digest: over the ids of a fixed list of texts.
        vocab_size: how many ids it can give, added tokens included.
        special_ids: ids with a meaning.
        versions: library → version that loaded it.
        blob: digest of the zstd blob that holds the tokenizer itself.
        chat_template_digest: over the chat template's text, if it has one.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#tokenizer"

    core_digest: Digest
    vocab_digest: Digest
    probe_digest: Digest
    vocab_size: int
    special_ids: SpecialIds
    versions: Mapping[str, str]
    blob: Digest
    chat_template_digest: Digest | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        template = document.get("chat_template_digest")
        return cls(
            core_digest=Digest(document["core_digest"]),
            vocab_digest=Digest(document["vocab_digest"]),
            probe_digest=Digest(document["probe_digest"]),
            vocab_size=document["vocab_size"],
            special_ids=SpecialIds.read(document["special_ids"]),
            versions=dict(document["versions"]),
            blob=Digest(document["blob"]),
            chat_template_digest=Digest(template) if template is not None else None,
            unknown=unknown_fields(document, _FIELDS),
        )

    def gives_the_ids_of(self, other: "TokenizerIdentity") -> bool:
        """Whether ids mean the same in both: equal core, or equal vocabulary and probe ids."""
        behaves = (self.vocab_digest, self.probe_digest) == (other.vocab_digest, other.probe_digest)
        return self.core_digest == other.core_digest or behaves

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        template = self.chat_template_digest
        fields = {
            "core_digest": str(self.core_digest),
            "vocab_digest": str(self.vocab_digest),
            "probe_digest": str(self.probe_digest),
            "vocab_size": self.vocab_size,
            "special_ids": self.special_ids.to_json(),
            "versions": dict(self.versions),
            "blob": str(self.blob),
            "chat_template_digest": str(template) if template else None,
        }
        return json_object(self.unknown, fields)
