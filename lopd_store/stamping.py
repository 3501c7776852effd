"""`lopd.json` beside a checkpoint's weights: which sft artifact taught it, and whose it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lopd_store import canonical
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import FormatError, Problem, UsageError
from lopd_store.identity import strangers
from lopd_store.identity.model import fingerprint
from lopd_store.store import durable


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp of the checkpoint in `folder`; None where it has none.

    Raises:
        FormatError: a `lopd.json` that is too large, not canonical, or not a valid stamp.
    """
    path = folder / media.STAMP_FILE
    if not path.exists():
        return None
    if not path.is_file():
        raise FormatError(f"{path}: expected a file, found a folder, a pipe or a device")
    data = strangers.read_bytes(path, limit=canonical.MAX_DOCUMENT_BYTES)
    return Stamp.parse(data, what=str(path))


def write_stamp(
    folder: Path,
    *,
    how: Literal["made", "asserted"],
    base: ModelIdentity | None,
    manifest: Manifest,
    artifact: ArtifactDocument,
    identities: Sequence[Identity],
    cache: Path | None,
) -> Stamp:
    """Stamp the checkpoint in `folder` with the sft artifact that taught it, atomically.

    Args:
        folder: a whole model, saved; its weights are read.
        how: `made` by the trainer that wrote the weights, or `asserted` by a person.
        base: the model it was trained from, if known.
        manifest: the sft artifact's manifest.
        artifact: the sft artifact's document.
        identities: its identity documents, in the manifest's order.
        cache: remembered file digests, as for `fingerprint`.

    Raises:
        FormatError: documents that do not belong together, or a broken checkpoint.
        UsageError: `folder` is a LoRA adapter, whose weights are not a whole model; or a person
            asserts what the trainer that made the checkpoint has stated already.
        StoreError: the file cannot be written.
    """
    there = read_stamp(folder)
    if how == "asserted" and there is not None and there.how == "made":
        raise UsageError(
            f"{folder}: expected no stamp of the trainer that made it, found one;"
            f" remove {media.STAMP_FILE} to assert another"
        )
    model = fingerprint(str(folder), cache=cache).model
    if model.adapter is not None:
        raise UsageError(f"{folder}: expected a whole model, found a LoRA adapter: merge it first")
    stamp = Stamp.of(
        how=how,
        weights_digest=model.weights_digest,
        config_digest=model.config_digest,
        base=base,
        manifest=manifest,
        artifact=artifact,
        identities=identities,
    )
    durable.write(folder / media.STAMP_FILE, stamp.encode(), tmp=folder)
    return stamp


def check_stamp(stamp: Stamp, model: ModelIdentity) -> list[Problem]:
    """Why `stamp` is not the stamp of `model`, such as weights trained on since; else empty."""
    pairs = (
        ("stamp-of-other-weights", "weights", stamp.weights_digest, model.weights_digest),
        ("stamp-of-other-config", "config", stamp.config_digest, model.config_digest),
    )
    problems = [
        Problem(kind, media.STAMP_FILE, f"{what} {expected.short}", f"{what} {found.short}")
        for kind, what, expected, found in pairs
        if expected != found
    ]
    if model.adapter is not None:
        adapter = f"adapter {model.adapter.digest.short} on top of it"
        problems.append(
            Problem("stamp-under-adapter", media.STAMP_FILE, "the stamped model", adapter)
        )
    return problems
