"""A stranger's file becomes an artifact: read as a stream, checked row by row, published whole."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.adapters import adapter
from lopd_store.artifacts import load
from lopd_store.building.job import Job
from lopd_store.building.options import JobOptions
from lopd_store.building.outcome import Built, Goal, work_through
from lopd_store.building.plan import Plan, cut_chunks
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.publish import Draft, store_artifact
from lopd_store.building.run import run_chunks
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.errors import IntegrityError, UsageError
from lopd_store.importing.claims import KINDS, Claims
from lopd_store.importing.rows import ImportChunk, in_our_types, reasons
from lopd_store.inputs.source import RowSource
from lopd_store.rows import flat
from lopd_store.store import Store

CHUNK_TOKENS: Final = 1_000_000  # seconds of work, and some tens of megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What an import came to.

    Attributes:
        built: the artifact and its counts.
        identity: who made the rows, as far as anybody says.
        finish_reasons: why responses ended → how many; `unknown` where the file does not say.
    """

    built: Built
    identity: Identity
    finish_reasons: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        imported = self.identity.imported
        return self.built.to_json() | {
            "kind": self.identity.kind,
            "imported": imported.to_json() if imported else None,
            "finish_reasons": dict(self.finish_reasons),
        }


def import_file(
    store: Store,
    path: Path,
    *,
    format: str,  # noqa: A002 - the word of the command line
    ref: str,
    claims: Claims | None = None,
    kind: str = "signal",
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> Import:
    """Keep the rows of a file of another tool as an artifact, and make `ref` name it.

    The same bytes and the same claims give the same artifact. Killed at any moment and run again,
    it goes on where it was.

    Args:
        store: where to.
        path: the file.
        format: which adapter reads it, such as `lightning-opd`.
        ref: the result's name.
        claims: what the importer says of the rows; it is recorded as asserted.
        kind: `signal`; or `rollouts`, for a file without log-probs of a teacher.
        options: how the job is cut, and what becomes of bad rows.
        progress: is told what happens.

    Raises:
        NotFoundError: no such file.
        UsageError: no such format or kind; text and no tokenizer; claims that make no sense.
        FormatError: not a file of this format; a bad row, with `on_error="fail"`; or no row left.
        ConsistencyError: models were named that read ids as other text.
        IntegrityError: the file changed while it was read.
        RefMovedError: somebody moved `ref` meanwhile; the artifact is stored all the same.
        StoreError: the disk is full or read-only; what was done is kept.
    """
    if kind not in KINDS:
        raise UsageError(f"expected kind {' or '.join(KINDS)}, found {kind!r}")
    claims, options, progress = claims or Claims(), options or JobOptions(), progress or Silence()
    goal = Goal.of(store, ref)
    tokenizer = claims.one_tokenizer()
    module = adapter(format, function="read")
    source: RowSource = module.read(path, tokenizer.renderer if tokenizer else None)
    identity = claims.identity(source, kind=kind, read_as=format)
    rows = in_our_types(source, kind=kind)
    job = Job(store, _plan(rows, identity, options))
    blob = tokenizer.reading.blob if tokenizer else None
    built = work_through(
        store,
        job,
        goal,
        share=options.share,
        progress=progress,
        work=lambda: _work(job, rows, options, progress),
        publish=lambda: _publish(store, job, path, blob),
    )
    return Import(built=built, identity=identity, finish_reasons=_finish_reasons(store, built))


def _plan(rows: RowSource, identity: Identity, options: JobOptions) -> Plan:
    return Plan(
        source=rows.digest,
        identity=identity,
        on_error=options.on_error,
        shard_tokens=options.shard_tokens,
        chunks=cut_chunks(rows, _tokens, chunk_tokens=options.chunk_tokens or CHUNK_TOKENS),
    )


def _tokens(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    return flat.lengths(rows.column("prompt_ids")) + flat.lengths(rows.column("response_ids"))


def _work(job: Job, rows: RowSource, options: JobOptions, progress: Progress) -> None:
    identity = job.plan.identity
    chunks = ImportChunk(
        vocab_size=identity.vocab_size, on_error=options.on_error, eos=identity.eos
    )
    run_chunks(
        job,
        rows,
        share=options.share,
        progress=progress,
        prepare=chunks.prepare,
        answer=iter,
    )


def _publish(store: Store, job: Job, path: Path, tokenizer_blob: bytes | None) -> Digest:
    now = Digest.of_file(path)
    if now != job.plan.source:
        raise IntegrityError(
            f"{path}: expected the file that was read, {job.plan.source}, found {now}: it was"
            " changed meanwhile; import it again"
        )
    draft = Draft(
        identity=job.plan.identity,
        tokenizer_blob=tokenizer_blob,
        lineage=(),
        skipped=tuple(job.skipped()),
        shard_tokens=job.plan.shard_tokens,
    )
    return store_artifact(store, draft, job.rows(), scratch=job.scratch, hold=job.hold).digest


def _finish_reasons(store: Store, built: Built) -> dict[str, int]:
    found: Counter[str] = Counter()
    for rows in _reasons_of(store, built.artifact):
        found.update(reasons(rows))
    return dict(sorted(found.items()))


def _reasons_of(store: Store, artifact: Digest | None) -> Iterator[pa.RecordBatch]:
    if artifact is not None:
        for shard in load(store, str(artifact)).open_shards():
            yield from shard.batches(["finish_reason"])
