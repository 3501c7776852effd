"""Commands that say who stands behind an artifact: keygen, sign."""

from pathlib import Path

import click

from lopd_cli.errors import suggesting
from lopd_cli.options import open_store, store_option
from lopd_cli.output import as_json, echo, print_json
from lopd_store import keys, signing


@click.command()
@click.argument("key", type=click.Path(path_type=Path))
@as_json
def keygen(key: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Make a key pair: KEY is yours alone, KEY.pub is for those who verify."""
    public = keys.generate(key)
    shared = f"{key}{keys.PUBLIC_SUFFIX}"
    if json_wanted:
        print_json({"key": str(public.id), "private": str(key), "public": shared})
        return
    echo(f"key {public.id}")
    echo(f"{key} signs, and is for you alone; hand out {shared} by a way that people trust")


@click.command()
@click.argument("ref")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    required=True,
    metavar="KEY",
    help="Your private key (see keygen).",
)
@store_option
@as_json
def sign(ref: str, key: Path, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Sign REF: say with your key that you stand behind it. Verify it before you do."""
    store = open_store(root)
    private = keys.read_private(key)
    with suggesting(store, ref):
        artifact = store.refs.resolve(ref)
        evidence = signing.sign(store, str(artifact), private)
    if json_wanted:
        print_json(
            {
                "id": str(artifact),
                "key": str(private.public.id),
                "signature": str(evidence.digest),
            }
        )
        return
    echo(f"signed {ref} {artifact}")
    echo(f"key {private.public.id}")
