"""Prompts become responses: a student's rollouts, or a teacher's SFT data, kept as an artifact."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.building.job import Job
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.outcome import Built, Goal, work_through
from lopd_store.building.plan import Plan, cut_chunks
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.publish import Draft, store_artifact
from lopd_store.building.run import run_chunks
from lopd_store.building.sample import PromptRequest, SampleChunk
from lopd_store.digest import Digest
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.identity import Identity, Prompts, Sampling, Scoring, SignalColumn
from lopd_store.documents.stamp import Stamp
from lopd_store.engines.protocol import Sampler, Samples
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.inputs.source import RowSource
from lopd_store.rows import flat
from lopd_store.stamping import check_stamp, read_stamp
from lopd_store.store import Store

ROLE_OF_KIND: Final = {"sft": "teacher", "rollouts": "policy"}


def generate(  # noqa: PLR0913 - each is named at the call
    store: Store,
    prompts: RowSource,
    model: Fingerprint,
    *,
    kind: str,
    ref: str,
    sampling: Sampling,
    engine: EngineOptions | None = None,
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> Built:
    """Sample `sampling.n` responses a prompt from `model` and make `ref` name the result.

    Kept are the exact ids that were sampled, end-of-sequence included, the sampler's own
    log-probs at temperature 1 and why each response ended. A student that carries a stamp hands it
    on to its rollouts.

    Raises:
        UsageError: a kind other than sft and rollouts.
        ConsistencyError: the model carries a stamp that was made for other weights.
        FormatError: a prompt that cannot be used, with `on_error="fail"`; none left; or a model
            without tokenizer files.
        EngineError: the engine failed or answered badly.
        RefMovedError: somebody moved `ref` meanwhile; the artifact is stored all the same.
        StoreError: the disk is full or read-only; what was done is kept.
    """
    engine, options = engine or EngineOptions(), options or JobOptions()
    progress = progress or Silence()
    if kind not in ROLE_OF_KIND:
        raise UsageError(f"expected kind sft or rollouts, found {kind!r}")
    model.require_tokenizer()
    goal = Goal.of(store, ref)
    stamp = _stamp_of(model) if kind == "rollouts" else None
    with engine.sampler(model.folder) as sampler:
        job = Job(store, plan_of(prompts, model, stamp, sampler, kind, sampling, options))
        return work_through(
            store,
            job,
            goal,
            share=options.share,
            progress=progress,
            work=lambda: _sample(job, prompts, sampler, sampling, options, progress),
            publish=lambda: _publish(store, job, model, stamp),
        )


def _publish(store: Store, job: Job, model: Fingerprint, stamp: Stamp | None) -> Digest:
    draft = Draft(
        identity=job.plan.identity,
        tokenizer_blob=model.require_tokenizer().blob,
        lineage=_lineage(stamp),
        skipped=tuple(job.skipped()),
        shard_tokens=job.plan.shard_tokens,
    )
    return store_artifact(store, draft, job.rows(), scratch=job.scratch, hold=job.hold).digest


def _stamp_of(model: Fingerprint) -> Stamp | None:
    stamp = read_stamp(model.folder)
    if stamp is not None and (problems := check_stamp(stamp, model.model)):
        raise ConsistencyError.of(problems, subject=f"the stamp in {model.folder}")
    return stamp


def _lineage(stamp: Stamp | None) -> tuple[Lineage, ...]:
    sft = stamp.sft_manifest_digest if stamp else None
    return () if sft is None else (Lineage(kind="sft", digest=sft),)


def plan_of(
    prompts: RowSource,
    model: Fingerprint,
    stamp: Stamp | None,
    sampler: Sampler,
    kind: str,
    sampling: Sampling,
    options: JobOptions,
) -> Plan:
    """The plan of a run: who will have made the rows, and how the prompts are cut into chunks."""
    chunk_tokens = options.chunk_tokens_on(sampler.scoring["device"])
    scoring = Scoring.from_json({**sampler.scoring, "chunk_tokens": chunk_tokens})
    role = ROLE_OF_KIND[kind]
    identity = Identity.of(
        kind=kind,
        models={role: model.model},
        tokenizer=model.require_tokenizer().identity,
        scorings={"sampling": scoring},
        signals=(
            SignalColumn(column="rollout_logprobs", role=role, model=role, scoring="sampling"),
        ),
        precision="exact",
        sampling=sampling,
        prompts=Prompts(digest=prompts.digest),
        policy_stamp=stamp,
    )

    def weigh(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
        return flat.lengths(rows.column("prompt_ids")) + sampling.n * sampling.max_tokens

    return Plan(
        source=prompts.digest,
        identity=identity,
        on_error=options.on_error,
        shard_tokens=options.shard_tokens,
        chunks=cut_chunks(prompts, weigh, chunk_tokens=chunk_tokens),
    )


def _sample(
    job: Job,
    prompts: RowSource,
    sampler: Sampler,
    sampling: Sampling,
    options: JobOptions,
    progress: Progress,
) -> None:
    work = SampleChunk(
        sampling=sampling,
        vocab_size=sampler.vocab_size,
        max_tokens=sampler.max_tokens - 1,
        on_error=options.on_error,
    )

    def answer(requests: Iterable[PromptRequest]) -> Iterator[Samples]:
        for request in requests:
            yield sampler.sample(request.prompts, sampling=sampling, seeds=request.seeds)

    run_chunks(
        job,
        prompts,
        share=options.share,
        progress=progress,
        prepare=work.prepare,
        answer=answer,
    )
