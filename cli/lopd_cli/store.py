"""`lopd-store`: the commands, in the order a person meets them."""

from importlib.metadata import version

import click

from lopd_cli.checking import fingerprint, fsck, stamp, verify
from lopd_cli.errors import Commands
from lopd_cli.exporting import export
from lopd_cli.importing import import_
from lopd_cli.keeping import gc, rm, tag
from lopd_cli.looking import diff, log, ls, show
from lopd_cli.making import build, generate
from lopd_cli.merging import merge
from lopd_cli.publishing import push
from lopd_cli.pulling import pull
from lopd_cli.querying import sql
from lopd_cli.serving import serve
from lopd_cli.signing import keygen, sign


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("lopd"), prog_name="lopd-store")
def main() -> None:
    """Teacher signals as artifacts: made, verified, kept, looked at, handed on.

    Exit codes: 0 ok, 1 unexpected, 2 usage, 3 integrity, 4 not found, 5 format,
    6 consistency, 7 engine.
    """


for command in (
    generate, build, verify, fingerprint, stamp, keygen, sign, ls, show, log, diff, sql, merge,
    import_, export, push, pull, serve, tag, rm, gc, fsck,
):  # fmt: skip
    main.add_command(command)
