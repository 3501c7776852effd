"""The stamp: `lopd.json` beside a checkpoint's weights, saying which data taught it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeVar

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.document import Document
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.model import BaseModel, ModelIdentity
from lopd_store.documents.opd_run import OpdRun
from lopd_store.documents.part import json_object
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import ConsistencyError, Problem

_One = TypeVar("_One")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(Document):
    """Who a checkpoint is and which sft artifact taught it, as documents with checked digests.

    Attributes:
        data: the canonical bytes.
        how: `made` by the trainer that did the sft, or `asserted` by a person.
        weights_digest: of the checkpoint that carries the stamp.
        config_digest: of the checkpoint that carries the stamp.
        adapter_digest: of its LoRA adapter, if it is one; the weights are then those under it.
        base: the model that the sft was done on, if known.
        sft_manifest: the sft artifact's manifest; None when the sft data are not known.
        sft_artifact: the sft artifact's document; None when they are not known.
        sft_identities: the canonical bytes of the sft artifact's identity documents.
        sft_teachers: the models that wrote the sft rows, each once.
        sft_tokenizers: the tokenizers of the sft rows, each once.
        opd: the runs of on-policy distillation since, oldest first.
    """

    SCHEMA: ClassVar[str] = "stamp"

    how: str = field(compare=False)
    weights_digest: Digest = field(compare=False)
    config_digest: Digest = field(compare=False)
    adapter_digest: Digest | None = field(compare=False)
    base: BaseModel | None = field(compare=False)
    sft_manifest: Manifest | None = field(compare=False)
    sft_artifact: ArtifactDocument | None = field(compare=False, repr=False)
    sft_identities: tuple[bytes, ...] = field(compare=False, repr=False)
    sft_teachers: tuple[ModelIdentity, ...] = field(compare=False, repr=False)
    sft_tokenizers: tuple[TokenizerIdentity, ...] = field(compare=False, repr=False)
    opd: tuple[OpdRun, ...] = field(compare=False, repr=False)

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
        opd: Sequence[OpdRun] = (),
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
            opd: distillations that the base had been through.

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
            "opd": [run.to_json() for run in opd] or None,
        }
        return cls.from_json(json_object({}, fields))

    @classmethod
    def after_opd(cls, start: Self | None, *, model: ModelIdentity, run: OpdRun) -> Self:
        """The stamp of a checkpoint that `run` made: what `start` says of the sft, and the run.

        Args:
            start: the stamp of the checkpoint that the run started from, if it had one.
            model: the checkpoint that came out.
            run: the run.

        Raises:
            FormatError: a run that claims to be consistent with sft data that nobody knows.
        """
        history = start.json if start else {"format": media.STAMP_FORMAT, "how": "made"}
        history.pop("adapter_digest", None)
        fields = {
            "weights_digest": str(model.weights_digest),
            "config_digest": str(model.config_digest),
            "adapter_digest": str(model.adapter.digest) if model.adapter else None,
            "opd": [*history.get("opd", ()), run.to_json()],
        }
        return cls.from_json(json_object(history, fields))

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        sft, adapter = document.get("sft"), document.get("adapter_digest")
        identities = sft["identities"] if sft else ()
        teachers = [ModelIdentity.read(identity["models"]["teacher"]) for identity in identities]
        tokenizers = [TokenizerIdentity.read(identity["tokenizer"]) for identity in identities]
        return cls(
            data=data,
            how=document["how"],
            weights_digest=Digest(document["weights_digest"]),
            config_digest=Digest(document["config_digest"]),
            adapter_digest=Digest(adapter) if adapter is not None else None,
            base=BaseModel.read(document["base"]) if "base" in document else None,
            sft_manifest=Manifest.from_json(sft["manifest"]) if sft else None,
            sft_artifact=ArtifactDocument.from_json(sft["artifact"]) if sft else None,
            sft_identities=tuple(canonical.encode(identity) for identity in identities),
            sft_teachers=tuple(_each_teacher(teachers)),
            sft_tokenizers=tuple(_each_tokenizer(tokenizers)),
            opd=tuple(OpdRun.read(run) for run in document.get("opd", ())),
        )

    @property
    def sft_manifest_digest(self) -> Digest | None:
        """The id of the sft artifact; None when the sft data are not known."""
        return self.sft_manifest.digest if self.sft_manifest else None

    @property
    def sft_teacher(self) -> ModelIdentity:
        """The one model that wrote the sft rows. Raises ConsistencyError unless there is one."""
        shown = ", ".join(teacher.weights_digest.short for teacher in self.sft_teachers)
        return self._one(self.sft_teachers, "teacher", shown)

    @property
    def sft_tokenizer(self) -> TokenizerIdentity:
        """The one tokenizer of the sft rows. Raises ConsistencyError unless there is one."""
        shown = ", ".join(tokenizer.core_digest.short for tokenizer in self.sft_tokenizers)
        return self._one(self.sft_tokenizers, "tokenizer", shown)

    def _one(self, found: Sequence[_One], what: str, shown: str) -> _One:
        if len(found) == 1:
            return found[0]
        if self.sft_manifest is None:
            problem = Problem("unknown-sft", media.STAMP_FILE, "an sft artifact", "none")
        else:
            where = f"sft artifact {self.sft_manifest.digest.short}"
            problem = Problem(f"several-{what}s", where, f"one {what}", shown)
        raise ConsistencyError.of([problem], subject="stamp")


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
        if not any(one.gives_the_ids_of(other) for other in found):
            found.append(one)
    return found
