"""Rows that can be read again from the start, and the name of the bytes they come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from lopd_store.digest import Digest
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.identity import Identity
from lopd_store.errors import IntegrityError
from lopd_store.remembered import FileState

PROBLEM: str = "lopd_problem"  # a row's own column: why the reader could not make sense of it


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """An input of a long job.

    Reading twice gives the same rows: the digest names them, and a job that resumes relies on it.

    Attributes:
        digest: of the artifact, or of the file's bytes.
        read: makes a new stream of batches in row order; memory does not grow with the rows.
        identity: who made the rows, when they come from an artifact.
        lineage: the artifacts the rows come from, nearest first.
        tokenizer_blob: the packed tokenizer of the artifact, when there is one.
        retokenised: token ids were made here from text, so they may not be the sampled ones.
    """

    digest: Digest
    read: Callable[[], Iterator[pa.RecordBatch]]
    identity: Identity | None = None
    lineage: tuple[Lineage, ...] = ()
    tokenizer_blob: bytes | None = None
    retokenised: bool = False

    @classmethod
    def of_file(
        cls,
        path: Path,
        read: Callable[[], Iterator[pa.RecordBatch]],
        *,
        retokenised: bool = False,
    ) -> Self:
        """The rows of a file. Reading raises IntegrityError once it is not the file it was.

        What a job has read it keeps under the digest, also for a later run that goes on.
        """
        before = FileState.of(path)
        return cls(
            digest=Digest.of_file(path),
            read=lambda: _while_it_is(path, before, read()),
            retokenised=retokenised,
        )


def _while_it_is(
    path: Path, before: FileState, rows: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        _expect(path, before)
        yield batch
    _expect(path, before)


def _expect(path: Path, before: FileState) -> None:
    try:
        is_same = FileState.of(path) == before
    except FileNotFoundError:
        is_same = False
    if not is_same:
        raise IntegrityError(
            f"{path}: expected the file as it was, found it changed meanwhile: start again"
        )
