"""The samples that two artifacts share, as DuckDB reads them once their shards are checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from lopd_store.artifacts import Artifact
from lopd_store.errors import FormatError
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.shard_sets import as_named

MASK: Final = "loss_mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """An artifact's shards, digests and pages checked: DuckDB trusts what is checked here.

    Attributes:
        paths: of the shards in row order.
        columns: the columns of log-probs that all of them have.
        masked: whether any of them has a loss mask.
    """

    paths: list[str]
    columns: frozenset[str]
    masked: bool

    @classmethod
    def of(cls, artifact: Artifact) -> "Rows":
        """Check an artifact's shards. Raises as `Artifact.open_shards` and `as_named` do."""
        paths, columns, masked = [], frozenset(LOGPROB_COLUMNS), False
        for opened, layer in zip(artifact.open_shards(), artifact.shards, strict=True):
            shard = as_named(opened, layer)
            names = shard.schema.names
            columns &= set(names)
            masked |= MASK in names
            shard.check_pages(["sample_id", *columns, *({MASK} & set(names))])
            paths.append(str(shard.path))
        return cls(paths=paths, columns=columns, masked=masked)


@contextmanager
def connected(a: Rows, b: Rows) -> Iterator[Any]:
    """A DuckDB connection for queries over the paths of both, joined by `sample_id`.

    Raises FormatError where a name stands twice in an artifact, and for whatever DuckDB raises.
    """
    import duckdb

    try:
        with duckdb.connect() as connection:
            connection.execute("set autoinstall_known_extensions = false")
            for rows in (a, b):
                _refuse_repeated(connection.execute(_REPEATED, [rows.paths]).fetchone())
            yield connection
    except duckdb.Error as error:
        raise FormatError(f"expected shards that DuckDB reads: {error}") from error


def _refuse_repeated(counts: tuple[int, ...]) -> None:
    """A name that stands a million times would be joined a million times a million."""
    if counts[0] != counts[1]:
        raise FormatError(
            f"expected {counts[0]} rows of as many names, found {counts[1]} sample_id"
        )


_REPEATED: Final = "select count(*), count(distinct sample_id) from read_parquet($1)"
