"""Rollouts become a signal: a teacher's log-prob of every response token, kept as an artifact."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.building import noise
from lopd_store.building.complete import with_column
from lopd_store.building.estimate import measure
from lopd_store.building.job import Job
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.outcome import Built, Goal, work_through
from lopd_store.building.plan import Plan, cut_chunks
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.publish import Draft, attach_noise, store_artifact
from lopd_store.building.run import run_chunks
from lopd_store.building.score import ScoreChunk
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity, Imported, Scoring, SignalColumn
from lopd_store.engines.parallel import ParallelScorer
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.errors import ConsistencyError
from lopd_store.identity.compare import same_tokenizer
from lopd_store.identity.model import Fingerprint
from lopd_store.inputs.source import RowSource
from lopd_store.rows import flat
from lopd_store.rows.precision import EXACT, Precision
from lopd_store.store import Store


def build(
    store: Store,
    rollouts: RowSource,
    teacher: Fingerprint,
    *,
    ref: str,
    precision: Precision = EXACT,
    engine: EngineOptions | None = None,
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> Built:
    """Score `rollouts` with `teacher` and make `ref` name the result.

    Killed at any moment and run again, it goes on where it was and comes to the same artifact.

    Raises:
        ConsistencyError: the teacher's tokenizer is not the rollouts'.
        FormatError: a row that cannot be scored, with `on_error="fail"`; no row left; or a teacher
            without tokenizer files.
        EngineError: the engine failed or answered badly.
        RefMovedError: somebody moved `ref` meanwhile; the artifact is stored all the same.
        StoreError: the disk is full or read-only; what was done is kept.
    """
    engine, options = engine or EngineOptions(), options or JobOptions()
    progress = progress or Silence()
    goal = Goal.of(store, ref)
    check_tokenizers(rollouts, teacher)
    with engine.scorer(teacher.folder) as scorer:
        job = Job(store, plan_of(rollouts, teacher, scorer, precision, options))
        return work_through(
            store,
            job,
            goal,
            share=options.share,
            progress=progress,
            work=lambda: _score(job, rollouts, scorer, options, progress),
            publish=lambda: _publish(store, job, rollouts, teacher, scorer, precision),
        )


def dry_run(
    rollouts: RowSource,
    teacher: Fingerprint,
    *,
    precision: Precision,
    engine: EngineOptions,
    options: JobOptions,
) -> dict[str, int]:
    """What `build` would take, measured on a few rows; nothing is written. Raises as it does."""
    check_tokenizers(rollouts, teacher)
    with engine.scorer(teacher.folder) as scorer:
        plan = plan_of(rollouts, teacher, scorer, precision, options)
        return measure(plan, rollouts, _chunk_work(plan, scorer), scorer)


def check_tokenizers(rollouts: RowSource, teacher: Fingerprint) -> None:
    """Refuse a teacher that reads the rollouts' ids as other text, or has no tokenizer files.

    Raises ConsistencyError and FormatError.
    """
    tokenizer = teacher.require_tokenizer().identity
    sampled = rollouts.identity.tokenizer if rollouts.identity else None
    if sampled is None:
        return
    if problems := same_tokenizer(sampled, tokenizer):
        raise ConsistencyError.of(problems, subject="the teacher's tokenizer is not the rollouts'")


def plan_of(
    rollouts: RowSource,
    teacher: Fingerprint,
    scorer: Scorer,
    precision: Precision,
    options: JobOptions,
) -> Plan:
    """The plan of a build: who will have made the rows, and how they are cut into chunks."""
    chunk_tokens = options.chunk_tokens_on(scorer.scoring["device"])
    scoring = Scoring.from_json({**scorer.scoring, "chunk_tokens": chunk_tokens})
    return Plan(
        source=rollouts.digest,
        identity=signal_identity(rollouts, teacher, scoring, precision),
        on_error=options.on_error,
        shard_tokens=options.shard_tokens,
        chunks=cut_chunks(rollouts, _tokens_of_rows, chunk_tokens=chunk_tokens),
    )


def signal_identity(
    rollouts: RowSource, teacher: Fingerprint, scoring: Scoring, precision: Precision
) -> Identity:
    """Who will have made the rows: what the rollouts say of themselves, and the teacher."""
    source = rollouts.identity
    scored = SignalColumn(
        column="teacher_logprobs", role="teacher", model="teacher", scoring="teacher"
    )
    if source is None:
        return Identity.of(
            kind="signal",
            models={"teacher": teacher.model},
            tokenizer=teacher.require_tokenizer().identity,
            scorings={"teacher": scoring},
            signals=(scored,),
            precision=precision.text,
            imported=Imported(digest=rollouts.digest, retokenised=rollouts.retokenised),
        )
    policy = source.models.get("teacher" if source.kind == "sft" else "policy")
    sampling = source.scorings.get("sampling")
    sampled = SignalColumn(
        column="rollout_logprobs", role="policy", model="policy", scoring="sampling"
    )
    return Identity.of(
        kind="signal",
        models={"teacher": teacher.model} | ({"policy": policy} if policy else {}),
        tokenizer=source.tokenizer or teacher.require_tokenizer().identity,
        scorings={"teacher": scoring} | ({"sampling": sampling} if sampling else {}),
        signals=(sampled, scored) if policy and sampling else (scored,),
        precision=precision.text,
        sampling=source.sampling,
        prompts=source.prompts,
        imported=source.imported.scored() if source.imported else None,
        policy_stamp=source.policy_stamp,
    )


def _tokens_of_rows(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    return flat.lengths(rows.column("prompt_ids")) + flat.lengths(rows.column("response_ids"))


def _score(
    job: Job, rollouts: RowSource, scorer: Scorer, options: JobOptions, progress: Progress
) -> None:
    run_chunks(
        job,
        rollouts,
        share=options.share,
        progress=progress,
        prepare=_chunk_work(job.plan, scorer).prepare,
        answer=_answers(scorer),
    )


def _answers(scorer: Scorer) -> Callable[[Iterable[Sequences]], Iterator[list[Floats]]]:
    return scorer.map if isinstance(scorer, ParallelScorer) else partial(map, scorer.score)


def _chunk_work(plan: Plan, scorer: Scorer) -> ScoreChunk:
    return ScoreChunk(
        vocab_size=min(scorer.vocab_size, plan.identity.vocab_size),
        max_tokens=scorer.max_tokens,
        on_error=plan.on_error,
        eos=plan.identity.eos,
    )


def _publish(
    store: Store,
    job: Job,
    rollouts: RowSource,
    teacher: Fingerprint,
    scorer: Scorer,
    precision: Precision,
) -> Digest:
    draft = Draft(
        identity=job.plan.identity,
        tokenizer_blob=rollouts.tokenizer_blob or teacher.require_tokenizer().blob,
        lineage=rollouts.lineage,
        skipped=tuple(job.skipped()),
        shard_tokens=job.plan.shard_tokens,
    )
    rounded = (_rounded(rows, precision) for rows in job.rows())
    artifact = store_artifact(store, draft, rounded, scratch=job.scratch, hold=job.hold)
    measured = noise.measure(scorer, job.rows(), name="teacher")
    attach_noise(store, artifact, measured, hold=job.hold)
    return artifact.digest


def _rounded(rows: pa.RecordBatch, precision: Precision) -> pa.RecordBatch:
    for name in ("teacher_logprobs", "rollout_logprobs"):
        if name in rows.schema.names:
            rows = with_column(rows, name, precision.round_lists(rows.column(name)))
    return rows
