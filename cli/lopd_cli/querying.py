"""The command that asks: sql."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from lopd_cli.answers import print_csv, print_json_rows, print_rows
from lopd_cli.options import store_option
from lopd_cli.output import as_json, echo
from lopd_store.errors import UsageError
from lopd_store.shard_sets import ShardSet, open_shard_set


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
    Queries read these artifacts and nothing else, and write nothing.
    """
    from lopd_store.sql.session import connect

    if sum((csv_wanted, json_wanted, parquet is not None)) > 1:
        raise UsageError("expected one of --json, --csv and --parquet, found more")
    connection = connect(dict(_attached(ref, others, root.expanduser())))
    if query is None and sys.stdin.isatty():
        from lopd_cli.prompt import Prompt

        Prompt(connection).run()
        return
    text = sys.stdin.read() if query is None else query
    answer = _answer(connection, text)
    if parquet is not None:
        _write(answer, parquet, overwrite=force)
    elif json_wanted:
        print_json_rows(answer)
    elif csv_wanted:
        print_csv(answer)
    else:
        print_rows(answer)


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


def _answer(connection: Any, text: str) -> Any:
    """The answer as a stream of Arrow batches."""
    from lopd_store.sql.session import ask, refusing

    with refusing():
        return ask(connection, text).to_arrow_reader()


def _write(answer: Any, path: Path, *, overwrite: bool) -> None:
    from lopd_store.adapters.writing import write_file

    size = write_file(iter(answer), path, file="parquet", note=b"{}", overwrite=overwrite)
    echo(f"{path}: {size:,} bytes", err=True)
