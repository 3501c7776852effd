"""The samples that two artifacts share, as a DuckDB session over both: schemas `a` and `b`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from lopd_store.artifacts import Artifact
from lopd_store.errors import FormatError
from lopd_store.shard_sets import as_named


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two artifacts, attached.

    Attributes:
        connection: locked; see `sql.session`.
        columns: of each, the columns of log-probs that all of its shards have.
    """

    connection: Any
    columns: tuple[frozenset[str], frozenset[str]]

    def answer(self, query: str) -> Any:
        """The one row that a query of ours comes to."""
        (row,) = self.connection.execute(query).fetchall()
        return row


@contextmanager
def attached(a: Artifact, b: Artifact) -> Iterator[Pair]:
    """Both artifacts for queries of ours, joined by `sample_id`.

    Raises:
        FormatError: a name stands twice in an artifact; whatever DuckDB raises.
        NotFoundError, IntegrityError, FormatError: as `Artifact.open_shards` and `as_named` do.
    """
    import duckdb

    from lopd_store.sql.attached import Attached
    from lopd_store.sql.session import locked

    sides = [
        Attached.checked(name, map(as_named, artifact.open_shards(), artifact.shards))
        for name, artifact in (("a", a), ("b", b))
    ]
    with closing(locked(sides)) as connection:
        pair = Pair(connection=connection, columns=(sides[0].logprobs, sides[1].logprobs))
        try:
            for counts in map(pair.answer, _COUNTS):
                _refuse_repeated(*counts)
            yield pair
        except duckdb.Error as error:
            raise FormatError(f"expected shards that DuckDB reads: {error}") from error


def _refuse_repeated(rows: int, names: int) -> None:
    """A name that stands a million times would be joined a million times a million."""
    if rows != names:
        raise FormatError(f"expected {rows} rows of as many names, found {names} sample_id")


_COUNTS: Final = (
    "select count(*), count(distinct sample_id) from a.signals",
    "select count(*), count(distinct sample_id) from b.signals",
)
