"""The command that makes one artifact of several: merge."""

from pathlib import Path

import click

from lopd_cli.errors import suggesting
from lopd_cli.options import open_store, store_option
from lopd_cli.output import Bar, as_json, echo, print_json
from lopd_store.merge import merge as merge_artifacts


@click.command()
@click.argument("names", metavar="REF REF...", nargs=-1, required=True)
@click.option("-o", "--output", "ref", required=True, metavar="NEW", help="The result's name.")
@store_option
@as_json
def merge(
    names: tuple[str, ...],
    ref: str,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Make NEW name all rows of several artifacts of one kind, one after another.

    Nothing is scored again, and shards stay what they are. A sample that several of them have is
    kept each time and numbered.
    """
    store = open_store(root)
    with Bar() as progress, suggesting(store, *names):
        merged = merge_artifacts(store, names, ref=ref, progress=progress)
    if json_wanted:
        print_json(merged.to_json() | {"ref": ref})
    else:
        echo(f"{ref} {merged.artifact}")
    echo(f"rows: {merged.rows:,}, response tokens: {merged.tokens:,}", err=True)
    if merged.duplicates:
        echo(f"rows that repeat an earlier sample, kept: {merged.duplicates:,}", err=True)
    if merged.identities > 1:
        echo(f"the rows have {merged.identities} identities: lopd-store show {ref}", err=True)
