"""The command that fetches from the Hub: pull."""

from dataclasses import replace
from pathlib import Path

import click

from lopd_cli.options import open_store, store_option
from lopd_cli.output import Bar, as_json, echo, print_json, size_text
from lopd_store.errors import UsageError
from lopd_store.hub import HubName
from lopd_store.pulling import Pulled
from lopd_store.pulling import pull as pull_artifacts


@click.command()
@click.argument("name", metavar="ORG/NAME[/CONFIG[/SPLIT]][@REVISION][@sha256:ID]")
@click.option(
    "-o",
    "--output",
    "ref",
    metavar="REF",
    help="The result's name. [default: NAME:REVISION or NAME:main]",
)
@click.option(
    "--columns",
    metavar="A,B",
    help="Only these, and those that every artifact has: another artifact, which takes -o.",
)
@click.option("--config", help="One of several artifacts in the repository.")
@click.option("--split", help="One of several splits of a config.")
@click.option(
    "--accept-moved",
    is_flag=True,
    help="Take a tag that has moved, or a branch that was rewound, since it was last seen.",
)
@store_option
@as_json
def pull(
    name: str,
    ref: str | None,
    columns: str | None,
    config: str | None,
    split: str | None,
    accept_moved: bool,  # noqa: FBT001 - a flag
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Bring artifacts from the Hugging Face Hub into the store, under the same ids.

    Every file is checked before it gets its name in the store. Interrupted, the same command goes
    on where it was.
    """
    wanted = _placed(HubName.parse(name), config, split)
    store = open_store(root, create=True)
    with Bar() as progress:
        made = pull_artifacts(
            store,
            wanted,
            ref=ref,
            columns=columns.split(",") if columns is not None else None,
            accept_moved=accept_moved,
            progress=progress,
        )
    if json_wanted:
        print_json({"name": str(wanted), "pulled": [one.to_json() for one in made]})
        return
    for one in made:
        _say(one)


def _placed(name: HubName, config: str | None, split: str | None) -> HubName:
    """The name with a config and a split said once, in it or beside it."""
    for option, inside, beside in (
        ("--config", name.config, config),
        ("--split", name.split, split),
    ):
        if inside and beside and inside != beside:
            raise UsageError(f"{name}: expected {option} {inside} or none, found {beside!r}")
    return replace(name, config=config or name.config, split=split or name.split)


def _say(made: Pulled) -> None:
    echo(f"{made.ref} {made.id}")
    came = f"{size_text(made.fetched)} of {size_text(made.size)} downloaded"
    here = "" if made.moved else "; it was here already"
    echo(f"{made.rows:,} rows, {made.tokens:,} tokens; {came}{here}", err=True)
    if made.left_out:
        echo(
            f"without {', '.join(made.left_out)} it is another artifact than {made.source}, which"
            " its lineage names",
            err=True,
        )
