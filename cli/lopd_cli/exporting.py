"""The command that hands rows to other trainers: export."""

from pathlib import Path

import click

from lopd_cli.options import store_option
from lopd_cli.output import Bar, as_json, echo, print_json, size_text
from lopd_store.adapters import offering
from lopd_store.adapters.exporting import export as export_rows
from lopd_store.signals import open_signal


@click.command()
@click.argument("ref")
@click.option(
    "--format",
    "layout",
    required=True,
    type=click.Choice(offering("export")),
    help="Whose layout the file has; docs/adapters.md says what each holds.",
)
@click.option(
    "-o",
    "--output",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@store_option
@as_json
def export(
    ref: str,
    layout: str,
    path: Path,
    force: bool,  # noqa: FBT001 - a flag
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Write the rows of REF as another trainer's own loader reads them.

    REF may also be a shard, a folder of shards, or org/dataset[@rev].
    """
    signal = open_signal(ref, root=root.expanduser())
    with Bar() as bar:
        made = export_rows(signal, path, format=layout, overwrite=force, progress=bar)
    if json_wanted:
        print_json(made.to_json())
        return
    echo(
        f"{made.path}: {made.rows:,} rows, {made.tokens:,} tokens, {size_text(made.size)},"
        f" sha256 {made.digest.short}"
    )
    if made.left_out:
        echo(f"left out: {made.left_out:,} rows with nothing to train on (loss_mask)", err=True)
