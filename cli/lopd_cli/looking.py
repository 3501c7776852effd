"""Commands that look: ls, show, log, diff."""

from pathlib import Path

import click

from lopd_cli.options import open_store, store_option
from lopd_cli.output import as_json, echo, echo_lines, line, print_json, print_table, size_text
from lopd_store import inspect


@click.command()
@store_option
@as_json
def ls(root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """List the refs of a store."""
    entries = inspect.ls(open_store(root))
    if json_wanted:
        print_json(entries)
        return
    shown = [
        entry | {"id": entry["id"][7:19], "size": size_text(entry.get("bytes", 0))}
        for entry in entries
    ]
    print_table(shown, ("ref", "kind", "rows", "tokens", "size", "id", "teacher", "policy"))
    for entry in entries:
        if "error" in entry:
            echo_lines(f"{entry['ref']}: {entry['error']}")


@click.command()
@click.argument("name", metavar="REF")
@store_option
@as_json
def show(name: str, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Show all that an artifact says of itself."""
    found = inspect.show(open_store(root), name)
    if json_wanted:
        print_json(found)
        return
    for key, value in found.items():
        if key == "shards":
            click.echo("shards:")
            print_table(value, ("digest", "rows", "tokens", "bytes"))
        elif value not in (None, [], {}):
            echo(f"{key}: {line(value)}")


@click.command()
@click.argument("ref")
@store_option
@as_json
def log(ref: str, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Show how REF moved, newest first."""
    entries = inspect.log(open_store(root), ref)
    if json_wanted:
        print_json(entries)
    else:
        print_table(entries, ("time", "from", "to", "message"))


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@store_option
@as_json
def diff(left: str, right: str, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Compare two artifacts: what made them, which samples they share, how far numbers differ."""
    found = inspect.diff(open_store(root), left, right)
    if json_wanted:
        print_json(found)
        return
    for change in found["documents"]:
        echo(f"{change['where']}: {line(change['left'])} | {line(change['right'])}")
    rows = found["rows"]
    click.echo(
        f"samples: {rows['common']:,} common, {rows['only_left']:,} only in A,"
        f" {rows['only_right']:,} only in B"
    )
    for column, numbers in found["columns"].items():
        click.echo(
            f"{column}: {numbers['differing']:,} of {numbers['tokens']:,} tokens differ,"
            f" mean {numbers['mean_abs']:.3g}, largest {numbers['max_abs']:.3g} nats"
        )
