"""The documents of an artifact, wherever they lie: each read, and whether they agree."""

from collections.abc import Callable
from dataclasses import dataclass

from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.skipped import parse_skipped
from lopd_store.errors import FormatError, IntegrityError, LopdError, Problem
from lopd_store.identity.tokenizer import blob_problems
from lopd_store.verify.report import Report

Read = Callable[[Descriptor], bytes]
"""The bytes of a part, their size and digest checked; raises LopdError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The documents of an artifact that could be read.

    Attributes:
        manifest: the OCI manifest.
        artifact: what came out.
        identities: who made the rows, by digest.
    """

    manifest: Manifest
    artifact: ArtifactDocument
    identities: dict[Digest, Identity]


def check_documents(manifest: Manifest, read: Read, report: Report) -> Documents | None:
    """Check everything but the shards. None when the artifact document is too damaged to go on."""
    try:
        artifact = ArtifactDocument.parse(read(manifest.config), what="artifact document")
    except LopdError as error:
        report.add_error(error, f"artifact {manifest.digest.short}")
        return None
    identities = {}
    for layer in manifest.identities:
        try:
            identities[layer.digest] = Identity.parse(read(layer), what="identity document")
        except LopdError as error:
            report.add_error(error, f"identity {layer.digest.short}")
    documents = Documents(manifest=manifest, artifact=artifact, identities=identities)
    report.add(FormatError, manifest.disagreements(artifact))
    _check_tokenizers(documents, read, report)
    skipped = _skipped_counts(documents, read, report)
    if skipped is not None and skipped != dict(artifact.skipped):
        problem = Problem("skipped-count", "artifact", str(artifact.skipped), str(skipped))
        report.add(FormatError, [problem])
    return documents


def _check_tokenizers(documents: Documents, read: Read, report: Report) -> None:
    tokenizers = [each.tokenizer for each in documents.identities.values() if each.tokenizer]
    named = {tokenizer.blob for tokenizer in tokenizers}
    for missing in named - {layer.digest for layer in documents.manifest.tokenizers}:
        problem = Problem("unnamed-blob", f"tokenizer {missing.short}", "a layer", "no such layer")
        report.add(FormatError, [problem])
    for layer in documents.manifest.tokenizers:
        described = [tokenizer for tokenizer in tokenizers if tokenizer.blob == layer.digest]
        try:
            report.add(IntegrityError, blob_problems(read(layer), described))
        except LopdError as error:
            report.add_error(error, f"tokenizer {layer.digest.short}")


def _skipped_counts(documents: Documents, read: Read, report: Report) -> dict[str, int] | None:
    layer = documents.manifest.skipped
    if layer is None:
        return {}
    try:
        rows = parse_skipped(read(layer))
    except LopdError as error:
        report.add_error(error, "skipped rows")
        return None
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.reason] = counts.get(row.reason, 0) + 1
    return counts
