"""A DuckDB over shard sets that reads nothing else and changes nothing."""

import atexit
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from lopd_store.cores import usable_cores
from lopd_store.errors import FormatError, UsageError
from lopd_store.shard_sets import ShardSet
from lopd_store.sql.attached import Attached
from lopd_store.sql.macros import macros
from lopd_store.sql.statements import readable
from lopd_store.sql.texts import TokenTexts
from lopd_store.sql.views import SHARDS, TEXT_OF, Lists, views

_SETTINGS: Final[Mapping[str, Any]] = {
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": "50%",  # then it spills: others work on this machine, too
    "parquet_metadata_cache": True,
    "python_enable_replacements": False,  # variables of the caller are no tables
}
_LOCK: Final = ("set enable_external_access = false", "set lock_configuration = true")
# What DuckDB says of a file, not of a query; its readers' own errors have no kind before them.
_UNREADABLE: Final = re.compile(
    r"(?![A-Z][A-Za-z ]+ Error: )|(IO|Serialization|INTERNAL|FATAL) Error: "
    r"|.*(Failed to read file|in Parquet file|executing the UDF)"
)
_open: "weakref.WeakSet[Any]" = weakref.WeakSet()


def query(
    shard_sets: Mapping[str, ShardSet], text: str, parameters: Any = None
) -> duckdb.DuckDBPyRelation:
    """The answer to one statement, as a DuckDB relation that has its own connection.

    Args:
        shard_sets: name of a schema → what is in it; the first is also the default.
        text: a statement that reads; see `statements.readable`.
        parameters: values for `?` and `$1` as a sequence, for `$name` as a mapping.

    Raises:
        UsageError: the statement is none, does more than read, or DuckDB refuses it.
        NotFoundError, IntegrityError, FormatError: as `connect`.
    """
    return ask(connect(shard_sets), text, parameters)


def ask(connection: Any, text: str, parameters: Any = None) -> duckdb.DuckDBPyRelation:
    """The answer to one statement on a connection of `connect`. Raises as `query`."""
    with refusing():
        return connection.sql(readable(text), params=parameters)


def connect(shard_sets: Mapping[str, ShardSet]) -> Any:
    """A locked DuckDB connection with a schema for each shard set; the first is the default.

    Raises:
        UsageError: no shard set, or a name that cannot be a schema's.
        NotFoundError, IntegrityError, FormatError: as `Attached.of`, for each of them.
    """
    return locked([Attached.of(name, shard_set) for name, shard_set in shard_sets.items()])


def locked(attached: Sequence[Attached]) -> Any:
    """A connection as of `connect`, over what is checked already."""
    if not attached:
        raise UsageError("expected at least one shard set to ask, found none")
    folder = Path(tempfile.mkdtemp(prefix="lopd-sql-"))
    connection = duckdb.connect()
    weakref.finalize(connection, _remove, folder, os.getpid())
    _open.add(connection)
    with refusing():
        _configure(connection, folder, attached)
        _fill(connection, folder, attached)
        for statement in _LOCK:
            connection.execute(statement)
    return connection


@contextmanager
def refusing() -> Iterator[None]:
    """DuckDB's errors as ours, in its words: UsageError, or FormatError for what is in shards.

    Through Arrow they come as Arrow's; an interrupted query stays what it is.
    """
    try:
        yield
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        message = str(error)
        if _UNREADABLE.match(message):
            raise FormatError(f"expected shards that DuckDB reads: {message}") from error
        raise UsageError(message) from error


def _configure(connection: Any, folder: Path, attached: Sequence[Attached]) -> None:
    """What may be read, and where to spill: a folder of the session's own."""
    settings = {
        **_SETTINGS,
        "threads": usable_cores(),
        "temp_directory": str(folder / "spill"),
        "allowed_paths": [path for each in attached for path in _links(folder, each)],
    }
    for name, value in settings.items():
        connection.execute(f"set {name} = $1", [value])


def _links(folder: Path, attached: Attached) -> list[str]:
    """Links to the shards, whose names say nothing to SQL: no pattern, no partition, no quote."""
    links = [folder / attached.name / f"{at}.parquet" for at in range(len(attached.shards))]
    if not links[0].parent.exists():
        links[0].parent.mkdir()
        for link, shard in zip(links, attached.shards, strict=True):
            link.symlink_to(shard.path.absolute())
    return [str(link) for link in links]


def _fill(connection: Any, folder: Path, attached: Sequence[Attached]) -> None:
    """Schemas with views and macros."""
    lists = {each.name: Lists.of(each) for each in attached}
    for each in attached:
        connection.execute(f"set variable {SHARDS}{each.name} = $1", [_links(folder, each)])
        if each.tokenizer is not None:
            texts = TokenTexts(each.tokenizer)
            options = {"type": "arrow", "null_handling": "special"}
            connection.create_function(
                f"{TEXT_OF}{each.name}", texts, ["INTEGER"], "VARCHAR", **options
            )
        for statement in views(each, lists[each.name]):
            connection.execute(statement)
    for each in attached:
        for statement in macros(each.name, lists):
            connection.execute(statement)
    connection.execute(f"use {attached[0].schema}")


def _remove(folder: Path, owner: int) -> None:
    """Take a session's folder away, unless this is a fork of the process that works in it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


@atexit.register
def _close_all() -> None:
    """DuckDB complains of functions that are still registered when Python ends."""
    for connection in list(_open):
        connection.close()


os.register_at_fork(after_in_child=_open.clear)  # DuckDB's threads stay behind: nothing would close
