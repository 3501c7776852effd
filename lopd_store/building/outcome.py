"""Working a job through to its artifact and its ref, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lopd_store.artifacts import load, point
from lopd_store.building.job import ALL, Job, Share
from lopd_store.building.progress import Progress
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a job came to.

    Attributes:
        artifact: the id; None while other shares of the job are still to be done.
        tokens: the whole work, in tokens.
        resumed_tokens: how much of it an earlier run had done.
        pending_chunks: chunks that other shares have still to do.
        rows: rows of the artifact.
        duplicates: rows that repeat an earlier sample; they are kept and numbered.
        skipped: reason → how many rows of the input are not in the artifact.
    """

    artifact: Digest | None
    tokens: int
    resumed_tokens: int
    pending_chunks: int = 0
    rows: int = 0
    duplicates: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        return {
            "id": str(self.artifact) if self.artifact else None,
            "tokens": self.tokens,
            "resumed_tokens": self.resumed_tokens,
            "pending_chunks": self.pending_chunks,
            "rows": self.rows,
            "duplicates": self.duplicates,
            "skipped": dict(self.skipped),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Where a job's artifact goes.

    Attributes:
        ref: the name it gets.
        expected: what had that name when the job was started; anything else then is not replaced.
    """

    ref: str
    expected: Descriptor | None

    @classmethod
    def of(cls, store: Store, ref: str) -> "Goal":
        """The goal of a job that starts now. Raises UsageError on a name that no ref can have."""
        return cls(ref=ref, expected=store.refs.get(ref))


def work_through(
    store: Store,
    job: Job,
    goal: Goal,
    *,
    share: Share,
    progress: Progress,
    work: Callable[[], None],
    publish: Callable[[], Digest],
) -> Built:
    """Do what is not done, publish when nothing is missing, move the ref.

    Args:
        store: where the job is at home.
        job: the state on disk; one process works on a share of it at a time.
        goal: the ref.
        share: this worker's.
        progress: told of waiting.
        work: does and keeps this share's missing chunks.
        publish: makes the artifact of all chunks.
    """
    with job.at_work(share, progress):
        tokens, resumed = job.plan.tokens, job.done_tokens
        if job.result is None:
            work()
        with job.publishing():
            if job.result is None:
                if pending := job.pending(ALL):
                    return Built(
                        artifact=None,
                        tokens=tokens,
                        resumed_tokens=resumed,
                        pending_chunks=len(pending),
                    )
                job.remember(publish())
            artifact = job.expect_result()
            point(store, goal.ref, artifact, expected=goal.expected)
            job.finish()
    document = load(store, str(artifact)).document
    return Built(
        artifact=artifact,
        tokens=tokens,
        resumed_tokens=resumed,
        rows=document.rows,
        duplicates=document.duplicates,
        skipped=document.skipped,
    )
