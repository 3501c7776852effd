"""`lopd.json` beside a checkpoint's weights: which data taught it, and whose it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.model import BaseModel, ModelIdentity
from lopd_store.documents.opd_run import OpdRun, SignalUsed
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import FormatError, Problem, UsageError
from lopd_store.identity import strangers
from lopd_store.identity.model import Fingerprint, fingerprint
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
    opd: Sequence[OpdRun] = (),
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
        opd: distillations that the base had been through: further sft does not undo them.

    Raises:
        FormatError: documents that do not belong together, or a broken checkpoint.
        UsageError: `folder` is a LoRA adapter, whose weights are not a whole model; or a person
            asserts what the trainer that made the checkpoint has stated already, or over the
            history of a checkpoint that was trained further.
        StoreError: the file cannot be written.
    """
    there = read_stamp(folder)
    if how == "asserted" and there is not None and (there.how == "made" or there.opd):
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
        opd=opd,
    )
    return _write(folder, stamp)


def write_opd_stamp(  # noqa: PLR0913 -- the run has this many facts, each named at the call
    folder: Path,
    *,
    start: Stamp | None,
    student: Fingerprint,
    signal_id: Digest | None,
    identities: Sequence[Identity],
    inconsistent: Sequence[Problem],
    cache: Path | None,
    content_digest: Digest | None = None,
    under: Path | None = None,
) -> Stamp:
    """Stamp the checkpoint in `folder` that on-policy distillation made, atomically.

    It inherits the sft lineage and the history of the stamp it started from. A stamp that is not
    of the start, as `check_stamp` says, is not inherited: its sft did not make these weights.

    Args:
        folder: the checkpoint, saved: a whole model, or a LoRA adapter. Its weights are read.
        start: the stamp of the checkpoint that training started from, if it had one.
        student: that checkpoint.
        signal_id: the id of the signal's artifact; None for shards that no manifest names.
        identities: who made the signal's rows.
        inconsistent: what the gate found, when training went on all the same; else empty.
        cache: remembered file digests, as for `fingerprint`.
        content_digest: of the signal's artifact, if known.
        under: the model under a LoRA adapter in `folder`; default, the folder of `student`.

    Raises:
        FormatError: a broken checkpoint; or no sft is known and nothing is `inconsistent`.
        UsageError: an adapter under which there is another adapter.
        StoreError: the file cannot be written.
    """
    model = fingerprint(str(folder), base=str(under or student.folder), cache=cache).model
    used = SignalUsed(
        identities=tuple(dict.fromkeys(identity.digest for identity in identities)),
        artifact=signal_id,
        content_digest=content_digest,
    )
    run = OpdRun(signal=used, start=BaseModel.of(student.model), inconsistent=tuple(inconsistent))
    inherited = start if start is not None and not check_stamp(start, student.model) else None
    return _write(folder, Stamp.after_opd(inherited, model=model, run=run))


def _write(folder: Path, stamp: Stamp) -> Stamp:
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
    adapter = model.adapter.digest if model.adapter else None
    if adapter != stamp.adapter_digest:
        expected, found = _on_top(stamp.adapter_digest), _on_top(adapter)
        kind = "stamp-of-other-adapter" if stamp.adapter_digest else "stamp-under-adapter"
        problems.append(Problem(kind, media.STAMP_FILE, expected, found))
    return problems


def _on_top(adapter: Digest | None) -> str:
    return f"adapter {adapter.short} on top" if adapter else "no adapter on top"
