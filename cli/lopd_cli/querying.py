"""The command that asks: sql."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click

from lopd_cli.errors import INTERRUPTED, TERMINATED, Terminated, suggesting
from lopd_cli.options import store_option
from lopd_cli.output import as_json
from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.store import Store

_MAX_QUERY: Final = 1 << 20  # characters on stdin


@click.command()
@click.argument("ref")
@click.argument("query", required=False)
@click.option(
    "--attach",
    "others",
    multiple=True,
    metavar="NAME=REF",
    help="A further artifact as the schema NAME; REF's own is `a`. Several are allowed.",
)
@click.option("--csv", "csv_wanted", is_flag=True, help="Print CSV on stdout.")
@click.option(
    "--parquet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the rows as Parquet.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@store_option
@as_json
def sql(
    ref: str,
    query: str | None,
    others: Sequence[str],
    csv_wanted: bool,  # noqa: FBT001 - a flag
    parquet: Path | None,
    force: bool,  # noqa: FBT001 - a flag
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Ask REF in SQL: views `signals`, `rollouts` and `tokens`, and macros (docs/sql.md).

    Without QUERY it is read from stdin, or from you: statements end with `;`, `.help` helps.
    REF may also be a shard, a folder of shards, or org/dataset[@rev]. Queries read what is attached
    and nothing else, and write nothing.
    """
    from lopd_cli.answers import print_count, print_csv, print_json_rows, print_rows
    from lopd_store.sql.answers import answering, write_parquet
    from lopd_store.sql.session import connect

    forms = sum((csv_wanted, json_wanted, parquet is not None))
    if forms > 1:
        raise UsageError("expected one of --json, --csv and --parquet, found more")
    typed = query is None and sys.stdin.isatty()
    if typed and forms:
        raise UsageError("expected a query for --json, --csv or --parquet, found none")
    names = (ref, *(other.partition("=")[2] for other in others))
    with suggesting(Store(root.expanduser()), *names, hub_too=True):
        sets = dict(_attached(ref, others, root.expanduser()))
    with closing(connect(sets)) as connection, _stopping():
        if typed:
            from lopd_cli.prompt import Prompt

            Prompt(connection).run()
            return
        with answering(connection, _piped() if query is None else query) as answer:
            if parquet is not None:
                rows = write_parquet(answer, parquet, overwrite=force)
                print_count(rows)
            elif json_wanted:
                print_json_rows(answer)
            elif csv_wanted:
                print_csv(answer)
            else:
                print_rows(answer)


def _piped() -> str:
    """The query on stdin. Raises UsageError on one that no person or program writes."""
    text = sys.stdin.read(_MAX_QUERY + 1)
    if len(text) > _MAX_QUERY:
        raise UsageError(f"expected a query of at most {_MAX_QUERY:,} characters, found more")
    return text


@contextmanager
def _stopping() -> Iterator[None]:
    """Ctrl-C and SIGTERM leave nothing behind that the same command would go on with."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        click.echo("stopped", err=True)
        raise SystemExit(TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED) from None


def _attached(ref: str, others: Sequence[str], root: Path) -> Iterator[tuple[str, ShardSet]]:
    """The schemas and what is in them. Raises UsageError on a name given twice."""
    names = {"a"}
    yield "a", open_shard_set(ref, root=root)
    for other in others:
        name, is_pair, target = other.partition("=")
        if not is_pair or name in names:
            raise UsageError(f"--attach: expected NAME=REF with a name of its own, found {other!r}")
        names.add(name)
        yield name, open_shard_set(target, root=root)
