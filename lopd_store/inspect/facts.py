"""What the documents of an artifact say, wherever they were read."""

from collections.abc import Sequence
from typing import Any, Protocol

from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.stamp import Stamp
from lopd_store.identity.compare import same_teacher


class Described(Protocol):
    """An artifact whose documents were read, and checked against their digests."""

    @property
    def id(self) -> Digest:
        """SHA-256 of the manifest."""
        ...

    @property
    def manifest(self) -> Manifest:
        """The OCI manifest."""
        ...

    @property
    def document(self) -> ArtifactDocument:
        """What came out."""
        ...

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Who made the rows."""
        ...


def in_short(artifact: Described) -> dict[str, Any]:
    """What stands in a line of a list."""
    document = artifact.document
    return {
        "id": str(artifact.id),
        "kind": document.kind,
        "rows": document.rows,
        "tokens": document.tokens,
        "bytes": sum(layer.size for layer in artifact.manifest.layers),
        "teacher": _short_name(artifact.identities[0], "teacher"),
        "policy": _short_name(artifact.identities[0], "policy"),
    }


def in_full(artifact: Described) -> dict[str, Any]:
    """All that the documents say but where the shards lie."""
    document, identity = artifact.document, artifact.identities[0]
    models = {role: model.to_json() for role, model in identity.models.items()}
    return {
        "kind": document.kind,
        "rows": document.rows,
        "tokens": document.tokens,
        "prompt_tokens": document.prompt_tokens,
        "duplicates": document.duplicates,
        "skipped": dict(document.skipped),
        "content_digest": str(document.content_digest),
        "teacher": models.get("teacher"),
        "policy": models.get("policy"),
        "sft_teacher": sft_teacher(artifact.identities),
        "tokenizer": identity.tokenizer.to_json() if identity.tokenizer else None,
        "sampling": identity.sampling.to_json() if identity.sampling else None,
        "scorings": {name: scoring.to_json() for name, scoring in identity.scorings.items()},
        "precision": identity.precision,
        "policy_stamp": identity.policy_stamp.json if identity.policy_stamp else None,
        "imported": identity.imported.to_json() if identity.imported else None,
        "identities": [str(digest) for digest in document.identities],
        "columns": [column.to_json() for column in document.columns],
        "lineage": [link.to_json() for link in document.lineage],
    }


def in_line(shard: Descriptor, path: str) -> dict[str, Any]:
    """A shard, and where it lies."""
    return {
        "digest": str(shard.digest),
        "rows": shard.rows,
        "tokens": shard.tokens,
        "bytes": shard.size,
        "path": path,
    }


def _short_name(identity: Identity, role: str) -> str | None:
    """A model in a few words; a question mark stands after what is only asserted."""
    known = identity.models.get(role)
    model = known or identity.claimed(role)
    if model is None:
        imported = identity.imported
        return "unknown" if imported and role in imported.not_known else None
    source = f"{model.source.repo}@{model.source.commit[:12]} " if model.source else ""
    return f"{source}{model.weights_digest.short}{'' if known else '?'}"


def sft_teacher(identities: Sequence[Identity]) -> str | None:
    """Whether the teacher that scored also wrote the SFT data of the policy, in one line.

    None in kind sft, whose rows no student wrote. Without a teacher that scored, who wrote the
    SFT data, as far as the stamp says.
    """
    answers = [_sft_teacher(identity) for identity in identities if identity.kind != "sft"]
    return "; ".join(dict.fromkeys(answers)) or None


def _sft_teacher(identity: Identity) -> str:
    stamp = identity.policy_stamp
    if stamp is None:
        missing = "carries no stamp" if "policy" in identity.models else "is not known"
        return f"unknown: the policy {missing}"
    teachers, scored_by = stamp.sft_teachers, identity.teacher
    named = ", ".join(teacher.weights_digest.short for teacher in teachers)
    said = f"(stamp {stamp.how}{_trained_since(stamp)})"
    if not teachers:
        return f"unknown: the policy's stamp names no SFT data {said}"
    if scored_by is None:
        return f"{named} {said}"
    if any(same_teacher(teacher, scored_by) for teacher in teachers):
        return f"ANOTHER: {named} {said}"
    return f"same as the scoring teacher {said}"


def _trained_since(stamp: Stamp) -> str:
    if not stamp.opd:
        return ""
    inconsistent = sum(bool(run.inconsistent) for run in stamp.opd)
    return f"; OPD runs since: {len(stamp.opd)}, inconsistent: {inconsistent}"
