"""Commands that keep a store in order: tag, rm, gc."""

import math
from dataclasses import asdict
from pathlib import Path

import click

from lopd_cli.errors import suggesting
from lopd_cli.options import open_store, store_option
from lopd_cli.output import as_json, print_json, size_text
from lopd_store.artifacts import point
from lopd_store.digest import Digest
from lopd_store.errors import UsageError
from lopd_store.inspect import kind_of
from lopd_store.store import Store
from lopd_store.store.gc import DAY, DECODED_SECONDS


@click.command()
@click.argument("name")
@click.argument("ref")
@click.option("--force", is_flag=True, help="Even where REF names an artifact of another kind.")
@store_option
def tag(name: str, ref: str, root: Path, force: bool) -> None:  # noqa: FBT001 - a flag
    """Make REF name the artifact that NAME (a ref or an id) names."""
    store = open_store(root)
    with suggesting(store, name):
        artifact = store.refs.resolve(name)
    before = store.refs.get(ref)
    if before and not force:
        _refuse_another_kind(store, ref, before.digest, artifact)
    point(store, ref, artifact, expected=before)
    was = f" (was {before.digest.short})" if before and before.digest != artifact else ""
    click.echo(f"{ref} {artifact}{was}")


def _refuse_another_kind(store: Store, ref: str, before: Digest, after: Digest) -> None:
    kinds = kind_of(store, before), kind_of(store, after)
    if None not in kinds and len(set(kinds)) > 1:
        raise UsageError(
            f"{ref}: expected another {kinds[0]}, as it names now ({before.short}), found"
            f" {kinds[1]} {after.short}; --force if you mean it"
        )


@click.command()
@click.argument("ref")
@store_option
def rm(ref: str, root: Path) -> None:
    """Take REF away. Its blobs stay until gc."""
    store = open_store(root)
    found = store.refs.get(ref)
    with suggesting(store, ref):
        store.refs.remove(ref, expected=found.digest if found else None)
    click.echo(f"removed {ref}" + (f", which named {found.digest}" if found else ""))


@click.command()
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=DAY / 3600,
    show_default=True,
    help="Hours; younger blobs stay.",
)
@click.option(
    "--decoded",
    is_flag=True,
    help="All decoded rows too, not only those unused for 30 days; loading makes them anew.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@store_option
@as_json
def gc(
    grace: float,
    root: Path,
    decoded: bool,  # noqa: FBT001 - a flag
    dry_run: bool,  # noqa: FBT001 - a flag
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Remove blobs that no ref, no evidence and no build needs."""
    report = open_store(root).gc(
        grace_seconds=grace * 3600,
        decoded_seconds=-math.inf if decoded else DECODED_SECONDS,
        dry_run=dry_run,
    )
    if json_wanted:
        listed = {
            "removed": list(map(str, report.removed)),
            "evidence": list(map(str, report.evidence)),
        }
        print_json(asdict(report) | listed)
        return
    verb = "would remove" if report.dry_run else "removed"
    click.echo(
        f"{verb} {len(report.removed):,} blobs ({size_text(report.removed_bytes)}),"
        f" {report.temporary:,} temporary files ({size_text(report.temporary_bytes)}) and the"
        f" decoded rows of {report.decoded:,} artifacts ({size_text(report.decoded_bytes)});"
        f" {report.kept:,} blobs stay, {report.young:,} of them for their age"
    )
