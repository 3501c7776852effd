"""Who a model is: digests of its weights and config, its files, where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents.part import Part, json_object, unknown_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource(Part):
    """A Hub repository at a resolved commit.

    Attributes:
        repo: `org/name`.
        commit: 40 lowercase hex characters.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "common#hubSource"

    repo: str
    commit: str
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        unknown = unknown_fields(document, ("repo", "commit"))
        return cls(repo=document["repo"], commit=document["commit"], unknown=unknown)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        return json_object(self.unknown, {"repo": self.repo, "commit": self.commit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter(Part):
    """A LoRA adapter on top of the base weights.

    Attributes:
        digest: over its tensors and every setting that changes what they do.
        rank: its rank, at least 1.
        alpha: its scale as decimal text, such as `16`.
        targets: the modules it changes.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#adapter"

    digest: Digest
    rank: int
    alpha: str
    targets: tuple[str, ...]
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            digest=Digest(document["digest"]),
            rank=document["rank"],
            alpha=document["alpha"],
            targets=tuple(document["targets"]),
            unknown=unknown_fields(document, ("digest", "rank", "alpha", "targets")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "digest": str(self.digest),
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": list(self.targets),
        }
        return json_object(self.unknown, fields)


_MODEL_FIELDS = (
    "weights_digest",
    "config_digest",
    "vocab_size",
    "files",
    "source",
    "adapter",
    "asserted_same_as",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity(Part):
    """Who a model is.

    Attributes:
        weights_digest: over all tensors, independent of files and sharding.
        config_digest: over the config fields that change outputs.
        vocab_size: rows of the embedding: token ids are below it.
        files: file name → SHA-256 of its bytes, to compare with a Hub revision without reading.
        source: where it came from, if it came from the Hub.
        adapter: the LoRA adapter, if any; the weights are then the base's.
        asserted_same_as: weights_digest of a model that a person says is the same teacher.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#model"

    weights_digest: Digest
    config_digest: Digest
    vocab_size: int
    files: Mapping[str, Digest]
    source: HubSource | None = None
    adapter: Adapter | None = None
    asserted_same_as: Digest | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        same = document.get("asserted_same_as")
        return cls(
            weights_digest=Digest(document["weights_digest"]),
            config_digest=Digest(document["config_digest"]),
            vocab_size=document["vocab_size"],
            files={name: Digest(digest) for name, digest in document["files"].items()},
            source=HubSource.read(document["source"]) if "source" in document else None,
            adapter=Adapter.read(document["adapter"]) if "adapter" in document else None,
            asserted_same_as=Digest(same) if same is not None else None,
            unknown=unknown_fields(document, _MODEL_FIELDS),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "weights_digest": str(self.weights_digest),
            "config_digest": str(self.config_digest),
            "vocab_size": self.vocab_size,
            "files": {name: str(digest) for name, digest in self.files.items()},
            "source": self.source.to_json() if self.source else None,
            "adapter": self.adapter.to_json() if self.adapter else None,
            "asserted_same_as": str(self.asserted_same_as) if self.asserted_same_as else None,
        }
        return json_object(self.unknown, fields)


_BASE_FIELDS = ("weights_digest", "config_digest", "source", "adapter_digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel(Part):
    """The model that a checkpoint was trained from.

    Attributes:
        weights_digest: over all tensors of the base.
        config_digest: over the config fields of the base that change outputs.
        source: where it came from, if it came from the Hub.
        adapter_digest: of the LoRA adapter on it, if any; the weights are then those under it.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "stamp#base"

    weights_digest: Digest
    config_digest: Digest
    source: HubSource | None = None
    adapter_digest: Digest | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ModelIdentity) -> Self:
        """The base that `model` is, without its files."""
        return cls(
            weights_digest=model.weights_digest,
            config_digest=model.config_digest,
            source=model.source,
            adapter_digest=model.adapter.digest if model.adapter else None,
        )

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        adapter = document.get("adapter_digest")
        return cls(
            weights_digest=Digest(document["weights_digest"]),
            config_digest=Digest(document["config_digest"]),
            source=HubSource.read(document["source"]) if "source" in document else None,
            adapter_digest=Digest(adapter) if adapter is not None else None,
            unknown=unknown_fields(document, _BASE_FIELDS),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "weights_digest": str(self.weights_digest),
            "config_digest": str(self.config_digest),
            "source": self.source.to_json() if self.source else None,
            "adapter_digest": str(self.adapter_digest) if self.adapter_digest else None,
        }
        return json_object(self.unknown, fields)
