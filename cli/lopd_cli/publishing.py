"""The command that publishes: push."""

import sys
from pathlib import Path
from typing import Any

import click

from lopd_cli.errors import LEAVING, suggesting
from lopd_cli.options import open_store, store_option
from lopd_cli.output import Bar, as_json, echo, print_json, size_text
from lopd_store import keys
from lopd_store.publishing.destination import Destination
from lopd_store.publishing.prepare import PushOptions, prepared
from lopd_store.publishing.push import Push
from lopd_store.publishing.pushed import Pushed
from lopd_store.publishing.savings import savings
from lopd_store.rows.precision import Precision

ROUNDING = Precision.parse("2^-12")  # what every trainer of log-probs we know of can live with


@click.command()
@click.argument("ref")
@click.argument("name", metavar="ORG/NAME[/CONFIG[/SPLIT]][@VERSION]")
@click.option("--no-text", is_flag=True, help="Do not add prompt_text and response_text.")
@click.option("--max-error", help="Round log-probs before they are published, such as 2^-12.")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Sign what is published with this private key.",
)
@click.option("--license", help="For the card, such as apache-2.0.")
@click.option(
    "--private/--public",
    default=None,
    help="Of a repository that is made now. [default: as the organisation has it]",
)
@click.option("--dry-run", is_flag=True, help="Make and count everything, send nothing.")
@store_option
@as_json
@click.pass_context
def push(
    context: click.Context,
    /,
    ref: str,
    name: str,
    dry_run: bool,  # noqa: FBT001 - a flag
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Publish REF on the Hugging Face Hub: a dataset that anybody can load, and verify.

    VERSION is a git tag of the repository. Text is added beside the ids, so what is published is
    another artifact than REF, with another id; --no-text publishes REF itself.
    """
    context.meta[LEAVING] = True  # files under way
    store, destination = open_store(root), Destination.parse(name)
    options = _options(**given, dry_run=dry_run)
    with (
        Bar() as bar,
        suggesting(store, ref),
        prepared(store, ref, destination, options, bar) as ready,
    ):
        _announce(ready)
        if dry_run:
            _say_dry(ready, json_wanted=json_wanted)
            return
        if ready.license is None and not ready.stated_license and sys.stdin.isatty():
            ready.license = _ask_license()
        made = ready.run(bar)
    _say(made, json_wanted=json_wanted)


def _options(
    *,
    no_text: bool,
    max_error: str | None,
    key: Path | None,
    license: str | None,  # noqa: A002 - the Hub's word
    private: bool | None,
    dry_run: bool,
) -> PushOptions:
    return PushOptions(
        texts=not no_text,
        precision=Precision.parse(max_error) if max_error else None,
        key=keys.read_private(key) if key and not dry_run else None,
        license=license,
        private=private,
    )


def _announce(ready: Push) -> None:
    """What goes, and what would go if it were rounded; before anything does."""
    if ready.artifact != ready.source:
        echo(
            f"what is published is {ready.artifact.short}, made of {ready.source.short}: text"
            " beside the ids and rounding are part of an id (--no-text adds none)",
            err=True,
        )
    total, missing = ready.total_bytes, ready.missing_bytes
    echo(
        f"{ready.destination}: {len(ready.missing)} of {len(ready.contents.files)} files,"
        f" up to {size_text(missing)} of {size_text(total)} to send; and the card",
        err=True,
    )
    saved = savings(ready.facts.artifact, ROUNDING)
    if saved.then < saved.now:
        echo(
            f"--max-error {ROUNDING.text} would make its log-probs {size_text(saved.then)} instead"
            f" of {size_text(saved.now)}{'' if saved.is_exact else ' (estimated)'}",
            err=True,
        )
    if ready.license is None and not ready.stated_license:
        echo("the card states no license: --license apache-2.0 would", err=True)


def _ask_license() -> str | None:
    return click.prompt("License (apache-2.0, cc-by-4.0, …; empty for none)", default="") or None


def _say_dry(ready: Push, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(ready.to_json())
        return
    for file in ready.missing:
        echo(f"would send {size_text(file.size):>10}  {file.path}")
    for path in ready.stale:
        echo(f"would remove {path} (it stays in the versions that have it)")


def _say(made: Pushed, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(made.to_json())
        return
    echo(f"{made.destination} {made.artifact}")
    here = f"; here it is called {made.ref}" if made.ref else ""
    echo(f"{made.url} commit {made.commit[:12]}{here}", err=True)
    pinned = f"{made.destination}@{made.artifact}"
    echo(f"to use exactly this one: {pinned}", err=True)
