"""The stamp: `lopd.json` beside a checkpoint's weights, saying which sft artifact taught it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.document import Document
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.model import BaseModel, ModelIdentity
from lopd_store.documents.part import json_object
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import ConsistencyError, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(Document):
    """Who a checkpoint is and which sft artifact taught it, as documents with checked digests.

    Attributes:
        data: the canonical bytes.
        how: `made` by the trainer that wrote the weights, or `asserted` by a person.
        weights_digest: of the checkpoint that carries the stamp.
        config_digest: of the checkpoint that carries the stamp.
        base: the model it was trained from, if known.
        sft_manifest: the sft artifact's manifest.
        sft_artifact: the sft artifact's document.
        sft_identities: the canonical bytes of the sft artifact's identity documents.
        sft_teachers: the models that wrote the sft rows, each once.
        sft_tokenizers: the tokenizers of the sft rows, each once.
    """

    SCHEMA: ClassVar[str] = "stamp"

    how: str = field(compare=False)
    weights_digest: Digest = field(compare=False)
    config_digest: Digest = field(compare=False)
    base: BaseModel | None = field(compare=False)
    sft_manifest: Manifest = field(compare=False)
    sft_artifact: ArtifactDocument = field(compare=False, repr=False)
    sft_identities: tuple[bytes, ...] = field(compare=False, repr=False)
    sft_teachers: tuple[ModelIdentity, ...] = field(compare=False, repr=False)
    sft_tokenizers: tuple[TokenizerIdentity, ...] = field(compare=False, repr=False)

    @classmethod
    def of(
        cls,
        *,
        how: Literal["made", "asserted"],
        weights_digest: Digest,
        config_digest: Digest,
        base: BaseModel | ModelIdentity | None,
        manifest: Manifest,
        artifact: ArtifactDocument,
        identities: Sequence[Document],
    ) -> Self:
        """Build a stamp.

        Args:
            how: `made` or `asserted`.
            weights_digest: of the checkpoint.
            config_digest: of the checkpoint.
            base: the model it was trained from, if known.
            manifest: of the sft artifact.
            artifact: of the sft artifact.
            identities: of the sft artifact, in the order of the manifest's layers.

        Raises:
            FormatError: with every problem, such as an artifact that the manifest does not name.
        """
        if isinstance(base, ModelIdentity):
            base = BaseModel.of(base)
        fields = {
            "format": media.STAMP_FORMAT,
            "how": how,
            "weights_digest": str(weights_digest),
            "config_digest": str(config_digest),
            "base": base.to_json() if base else None,
            "sft": {
                "manifest": manifest.json,
                "artifact": artifact.json,
                "identities": [identity.json for identity in identities],
            },
        }
        return cls.from_json(json_object({}, fields))

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        sft = document["sft"]
        identities = sft["identities"]
        teachers = [ModelIdentity.read(identity["models"]["teacher"]) for identity in identities]
        tokenizers = [TokenizerIdentity.read(identity["tokenizer"]) for identity in identities]
        return cls(
            data=data,
            how=document["how"],
            weights_digest=Digest(document["weights_digest"]),
            config_digest=Digest(document["config_digest"]),
            base=BaseModel.read(document["base"]) if "base" in document else None,
            sft_manifest=Manifest.from_json(sft["manifest"]),
            sft_artifact=ArtifactDocument.from_json(sft["artifact"]),
            sft_identities=tuple(canonical.encode(identity) for identity in identities),
            sft_teachers=tuple(_each_teacher(teachers)),
            sft_tokenizers=tuple(_each_tokenizer(tokenizers)),
        )

    @property
    def sft_manifest_digest(self) -> Digest:
        """The id of the sft artifact."""
        return self.sft_manifest.digest

    @property
    def sft_teacher(self) -> ModelIdentity:
        """The one model that wrote the sft rows. Raises ConsistencyError when there are more."""
        if len(self.sft_teachers) > 1:
            shown = ", ".join(teacher.weights_digest.short for teacher in self.sft_teachers)
            raise self._several("several-teachers", "one teacher", shown)
        return self.sft_teachers[0]

    @property
    def sft_tokenizer(self) -> TokenizerIdentity:
        """The one tokenizer of the sft rows. Raises ConsistencyError when there are more."""
        if len(self.sft_tokenizers) > 1:
            shown = ", ".join(tokenizer.core_digest.short for tokenizer in self.sft_tokenizers)
            raise self._several("several-tokenizers", "one tokenizer", shown)
        return self.sft_tokenizers[0]

    def _several(self, kind: str, expected: str, found: str) -> ConsistencyError:
        problem = Problem(kind, f"sft artifact {self.sft_manifest_digest.short}", expected, found)
        return ConsistencyError.of([problem], subject="stamp")


def _each_teacher(teachers: Sequence[ModelIdentity]) -> list[ModelIdentity]:
    """Each once: the files and the source of a model may differ, and its adapter may not."""
    found: dict[object, ModelIdentity] = {}
    for teacher in teachers:
        adapter = teacher.adapter.digest if teacher.adapter else None
        found.setdefault((teacher.weights_digest, teacher.config_digest, adapter), teacher)
    return list(found.values())


def _each_tokenizer(tokenizers: Sequence[TokenizerIdentity]) -> list[TokenizerIdentity]:
    """Each once, by the rule of TokenizerIdentity."""
    found: list[TokenizerIdentity] = []
    for one in tokenizers:
        if not any(_same_tokenizer(one, other) for other in found):
            found.append(one)
    return found


def _same_tokenizer(one: TokenizerIdentity, other: TokenizerIdentity) -> bool:
    behaves = (one.vocab_digest, one.probe_digest) == (other.vocab_digest, other.probe_digest)
    return one.core_digest == other.core_digest or behaves
