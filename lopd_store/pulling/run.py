"""Pulling: from a name to artifacts of the store, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lopd_store.artifacts import point
from lopd_store.building.outcome import Goal
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.work import at_work
from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError
from lopd_store.hub import HubName
from lopd_store.hub.snapshot import Snapshot
from lopd_store.pulling.naming import refs_of
from lopd_store.pulling.stage import Stage
from lopd_store.pulling.whole import Whole
from lopd_store.remote.artifact import RemoteArtifact
from lopd_store.remote.layout import Place
from lopd_store.remote.resolving import resolve, sight
from lopd_store.remote.seen import Seen
from lopd_store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What one artifact of the Hub came to.

    Attributes:
        ref: names it now.
        id: what `ref` names.
        source: the id on the Hub; another than `id` where columns were left out.
        place: where in the repository it is.
        commit: of the repository.
        rows: how many.
        tokens: response tokens.
        size: bytes of all its files on the Hub.
        fetched: how many of them had to come.
        left_out: columns that did not come.
        moved: whether `ref` is new or named something else before.
    """

    ref: str
    id: Digest
    source: Digest
    place: Place
    commit: str
    rows: int
    tokens: int
    size: int
    fetched: int
    left_out: tuple[str, ...] = ()
    moved: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        return {
            "ref": self.ref,
            "id": str(self.id),
            "source": str(self.source),
            "config": self.place.config,
            "split": self.place.split,
            "commit": self.commit,
            "rows": self.rows,
            "tokens": self.tokens,
            "bytes": self.size,
            "fetched_bytes": self.fetched,
            "left_out": list(self.left_out),
            "moved": self.moved,
        }


def pull(
    store: Store,
    name: HubName,
    *,
    ref: str | None = None,
    columns: Sequence[str] | None = None,
    accept_moved: bool = False,
    progress: Progress | None = None,
) -> list[Pulled]:
    """Bring the artifacts that a name means into the store, each under a ref.

    Files are checked while they come, and get their names when all of an artifact is there and
    right. What the store has is not downloaded; what an interrupted run brought neither.

    Args:
        store: where to.
        name: without a config or a split, all artifacts of the repository.
        ref: the result's name, for exactly one; else see `naming.refs_of`.
        columns: the columns to have beside those that every artifact of the kind has; the result
            is another artifact, with another id. None takes all.
        accept_moved: whether a tag may have moved and a branch may have been rewound.
        progress: is told what happens, in bytes.

    Raises:
        NotFoundError: no such repository, revision, config, split or file; or no answer.
        IntegrityError: a file is not what its digest says, what is pinned is not there, or the Hub
            shows something else than before; nothing of the artifact stays in the store.
        FormatError: documents or shards that are not valid, or contradict each other; likewise.
        UsageError: no ref can have that name, one name for several, or a column that is not there.
        RefMovedError: somebody moved the ref meanwhile; the artifact is stored all the same.
        StoreError: no room, or a read-only store; what came is kept for the next run.
    """
    progress = progress or Silence()
    seen = Seen(store)
    artifacts = resolve(name, seen=seen, accept_moved=accept_moved)
    refs = refs_of(name, [artifact.place for artifact in artifacts], ref)
    goals = [Goal.of(store, one) for one in refs]
    snapshot = _snapshot(artifacts[0])
    shown = sight(snapshot, artifacts)
    done = []
    for artifact, goal in zip(artifacts, goals, strict=True):
        done.append(_pull_one(store, snapshot, artifact, goal, progress))
        seen.remember(replace(shown, artifacts={artifact.place: artifact.id}))
    return done


def _pull_one(
    store: Store, snapshot: Snapshot, artifact: RemoteArtifact, goal: Goal, progress: Progress
) -> Pulled:
    name = f"pull-{artifact.id.hex}"
    with at_work(store, name, progress=progress) as work:
        stage = Stage(store, name)
        task = Whole(store, snapshot, artifact, stage, work)
        try:
            fetched = task.bring(progress)
        except (IntegrityError, FormatError):
            stage.remove()
            raise
        made = task.install()
        point(store, goal.ref, made.digest, expected=goal.expected)
        task.attach()
        stage.remove()
    return Pulled(
        ref=goal.ref,
        id=made.digest,
        source=artifact.id,
        place=artifact.place,
        commit=snapshot.commit,
        rows=artifact.document.rows,
        tokens=artifact.document.tokens,
        size=sum(blob.size for blob, _ in (*artifact.shards(), *artifact.blobs())),
        fetched=fetched,
        moved=goal.expected is None or goal.expected.digest != made.digest,
    )


def _snapshot(artifact: RemoteArtifact) -> Snapshot:
    """The repository that an artifact was read from."""
    if not isinstance(artifact.files, Snapshot):
        raise TypeError(f"expected an artifact of the Hub, found one of {artifact.files}")
    return artifact.files
