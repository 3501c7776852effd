"""Rows that can be read again from the start, and the name of the bytes they come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from lopd_store.digest import Digest
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.identity import Identity

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
