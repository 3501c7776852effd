"""Pulling: from a name to artifacts of the store, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lopd_store.artifacts import point
from lopd_store.building.outcome import Goal
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.work import at_work
from lopd_store.digest import Digest, tagged
from lopd_store.errors import FormatError, IntegrityError
from lopd_store.hub import HubName
from lopd_store.hub.snapshot import Snapshot
from lopd_store.pulling.naming import refs_of
from lopd_store.pulling.narrow import Narrow, columns_to_have
from lopd_store.pulling.stage import Stage
from lopd_store.pulling.whole import Whole
from lopd_store.remote.artifact import RemoteArtifact
from lopd_store.remote.layout import OVERRIDE, Place
from lopd_store.remote.resolving import resolve
from lopd_store.remote.seen import Seen
from lopd_store.rows.columns import ordered
from lopd_store.store import Store

_TAG: Final = "lopd.pull.v1"


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
        NotFoundError: no such repository, revision, config, split or file.
        HubError: no answer; what came is kept for the next run.
        IntegrityError: a file is not what its digest says, what is pinned is not there, or the Hub
            shows something else than before; nothing of the artifact stays in the store.
        FormatError: documents or shards that are not valid, or contradict each other; likewise.
        UsageError: no ref can have that name, one name for several, none for a part of the
            columns, or a column that is not there.
        RefMovedError: somebody moved the ref meanwhile; the artifact is stored all the same.
        StoreError: no room, or a read-only store; what came is kept for the next run.
    """
    progress = progress or Silence()
    seen = Seen(store)
    found = resolve(name, seen=seen, accept_moved=accept_moved)
    refs = refs_of(name, [artifact.place for artifact in found.artifacts], ref, columns=columns)
    goals = [Goal.of(store, one) for one in refs]
    done = []
    for artifact, goal in zip(found.artifacts, goals, strict=True):
        _say_strays(found.snapshot, artifact, progress)
        work = _Pull(store, found.snapshot, artifact, goal)
        done.append(work.run(columns, progress))
        seen.remember(replace(found.sight, artifacts={artifact.place: artifact.id}))
    return done


def _say_strays(snapshot: Snapshot, artifact: RemoteArtifact, progress: Progress) -> None:
    """What comes is right; who loads the repository without lopd gets more."""
    own = {path for _, path in artifact.shards()}
    files = sorted(snapshot.files)
    strays = [path for path in files if artifact.place.selects(path) and path not in own]
    if OVERRIDE in snapshot.files:
        strays.append(OVERRIDE)
    if strays:
        progress.say(
            f"{len(strays)} files of {snapshot.repo} are not the artifact's, {strays[0]} among"
            f" them: they do not come, but load_dataset would load other rows with them;"
            f" see lopd-store verify {snapshot.repo}/{artifact.place}@{snapshot.commit}"
        )


@dataclass(frozen=True)
class _Pull:
    """One artifact on its way to its ref."""

    store: Store
    snapshot: Snapshot
    artifact: RemoteArtifact
    goal: Goal

    def run(self, columns: Sequence[str] | None, progress: Progress) -> Pulled:
        """Bring it, all of it or some columns. Raises as `pull` does."""
        here = [column.name for column in self.artifact.document.columns]
        chosen = here if columns is None else columns_to_have(self.artifact.document, columns)
        left_out = tuple(ordered(set(here) - set(chosen)))
        name = self._name(chosen if left_out else [])
        with at_work(self.store, name, progress=progress) as work:
            stage = Stage(self.store, name)
            if not left_out:
                task = Whole(self.store, self.snapshot, self.artifact, stage, work)
                return self._finish(task, stage, progress)
            narrow = Narrow(self.store, self.snapshot, self.artifact, stage, work, columns=chosen)
            known = self.goal.expected.digest if self.goal.expected else None
            if known is not None and narrow.is_made(known):
                return self._pulled(known, 0, left_out)
            return self._finish(narrow, stage, progress, left_out)

    def _name(self, columns: Sequence[str]) -> str:
        """Of the work and its stage: what only some columns came of is of no use to another."""
        words = [str(self.artifact.id), *columns]
        key = tagged(_TAG, *(word.encode() for word in words)) if columns else self.artifact.id
        return f"pull-{key.hex}"

    def _finish(
        self,
        task: Whole | Narrow,
        stage: Stage,
        progress: Progress,
        left_out: tuple[str, ...] = (),
    ) -> Pulled:
        try:
            fetched = task.bring(progress)
        except (IntegrityError, FormatError):
            stage.remove()
            raise
        made = task.install().digest
        point(self.store, self.goal.ref, made, expected=self.goal.expected)
        task.attach()
        stage.remove()
        return self._pulled(made, fetched, left_out)

    def _pulled(self, made: Digest, fetched: int, left_out: tuple[str, ...]) -> Pulled:
        artifact, expected = self.artifact, self.goal.expected
        return Pulled(
            ref=self.goal.ref,
            id=made,
            source=artifact.id,
            place=artifact.place,
            commit=self.snapshot.commit,
            rows=artifact.document.rows,
            tokens=artifact.document.tokens,
            size=sum(blob.size for blob, _ in (*artifact.shards(), *artifact.blobs())),
            fetched=fetched,
            left_out=left_out,
            moved=expected is None or expected.digest != made,
        )
