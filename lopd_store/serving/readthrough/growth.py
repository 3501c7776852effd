"""A journal becomes rows of an artifact: what its ref held before, and then what is new.

The rows are written anew each time, so an artifact that grew in many steps is the artifact that
would have been made in one: the same shards, the same id.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lopd_store.artifacts import Artifact, load, point
from lopd_store.building.publish import Draft, store_artifact
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, Problem, RefMovedError
from lopd_store.serving.readthrough.growth_rows import (
    first_of_each,
    rows_in,
    rows_of,
    samples_in,
    samples_of,
)
from lopd_store.serving.readthrough.journal import Journal, folder_of, read_segment
from lopd_store.shards.writer import SHARD_TOKENS
from lopd_store.store import Store, durable

_TRIES: Final = 5  # another process may move the ref meanwhile


class Growth:
    """A ref of kind signal that grows by what its journal holds. Hold `journal.lock()`.

    Laws: after `publish`, every record that the journal held is a row of what the ref names, once;
    killed at any moment, each record is in the journal or in the artifact, and publishing again
    comes to the same artifact.

    Attributes:
        ref: its name.
        journal: where new records go.
    """

    def __init__(self, store: Store, ref: str, *, shard_tokens: int = SHARD_TOKENS) -> None:
        """The ref need not exist; `shard_tokens` is where shards are cut."""
        self.ref = ref
        self.journal = Journal(folder_of(store, ref))
        self._store = store
        self._shard_tokens = shard_tokens
        self._holds = self.journal.folder / "holds"

    def prepare(self, identity: Identity, tokenizer_blob: bytes) -> None:
        """Keep who will have given the records, before the first one is written.

        Raises:
            ConsistencyError: what the ref names has rows of another kind or identity.
            StoreError: the disk is full or read-only.
        """
        self._base(identity)
        self._hold_only([identity])
        self._store.blobs.put(identity.encode())
        self._store.blobs.put(tokenizer_blob)

    def publish(self) -> Digest | None:
        """Move what the journal holds into the artifact; its id, or None if there is none.

        Raises:
            IntegrityError: a segment's bytes have changed.
            ConsistencyError: see `prepare`.
            StoreError: the disk is full, or the ref would not hold still.
            Whatever it raises, no record is lost.
        """
        grown = None
        found = self._by_identity()
        if found:
            self._hold_only([identity for identity, _ in found])
        for identity, segments in found:
            grown = self._grow(identity, segments) or grown
            self.journal.drop(segments)
        return grown

    def release(self) -> None:
        """Let gc take what it was kept from; once the journal is empty nothing there needs it."""
        if not self.journal.roll():
            with durable.explained("cannot remove", self._holds):
                self._holds.unlink(missing_ok=True)

    def _by_identity(self) -> list[tuple[Identity, list[Path]]]:
        """The journal's segments; they differ in identity only after a crash and a new engine."""
        found: dict[Digest, list[Path]] = {}
        for path in self.journal.roll():
            found.setdefault(read_segment(path)[0], []).append(path)
        blobs = self._store.blobs
        return [(Identity.parse(blobs.get(digest)), paths) for digest, paths in found.items()]

    def _grow(self, identity: Identity, segments: Sequence[Path]) -> Digest | None:
        """Publish on top of what the ref names, and again if it has moved meanwhile."""
        told = samples_of(rows_of(segments))
        for _ in range(_TRIES):
            before = self._store.refs.get(self.ref)
            base = self._base(identity)
            new = told.difference(*(samples_in(base) if base else ()))
            if not new:
                return base.id if base else None
            artifact = self._store_with(base, identity, first_of_each(rows_of(segments), new))
            try:
                point(self._store, self.ref, artifact, expected=before)
            except RefMovedError as error:
                moved = error
            else:
                return artifact
        raise moved

    def _base(self, identity: Identity) -> Artifact | None:
        """What the ref names now: nothing, or rows of this identity and no other."""
        if self._store.refs.get(self.ref) is None:
            return None
        base = load(self._store, self.ref)
        problems = [p for other in base.identities for p in _differences(identity.json, other.json)]
        if problems:
            what = f"{self.ref} has rows of another identity: name another ref for new rows"
            raise ConsistencyError.of(problems, subject=what)
        return base

    def _store_with(
        self, base: Artifact | None, identity: Identity, new: Iterator[pa.RecordBatch]
    ) -> Digest:
        blob = identity.tokenizer_blob
        draft = Draft(
            identity=identity,
            tokenizer_blob=self._store.blobs.get(blob) if blob else None,
            lineage=base.document.lineage if base else (),
            skipped=(),
            shard_tokens=self._shard_tokens,
        )
        rows = chain(rows_in(base) if base else (), new)
        scratch = self.journal.scratch
        return store_artifact(self._store, draft, rows, scratch=scratch, hold=self._hold).digest

    def _hold(self, blob: Digest) -> None:
        with durable.explained("cannot write", self._holds), self._holds.open("a") as file:
            file.write(f"{blob}\n")

    def _hold_only(self, identities: Sequence[Identity]) -> None:
        """Hold who gave the records; a crash may have cut the last line of what was held short."""
        blobs = [digest for one in identities for digest in (one.digest, one.tokenizer_blob)]
        lines = "".join(f"{digest}\n" for digest in blobs if digest)
        durable.write(self._holds, lines.encode(), tmp=self.journal.scratch)


def _differences(wanted: Any, found: Any, where: str = "") -> list[Problem]:
    """Where two JSON documents differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted(wanted.keys() | found.keys())
        return [
            problem
            for name in names
            for problem in _differences(wanted.get(name), found.get(name), f"{where}/{name}")
        ]
    if wanted == found:
        return []
    return [Problem("other-identity", where, f"{wanted!r:.80}", f"{found!r:.80}")]
