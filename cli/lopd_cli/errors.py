"""Errors become exit codes and one message on stderr, in this one place."""

import os
import sys
from typing import Any

import click

from lopd_cli.output import echo_lines
from lopd_store.errors import LopdError

INTERRUPTED = 130  # what shells give for Ctrl-C


class Commands(click.Group):
    """A group whose commands may raise any LopdError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit with the error's own code if it raises one."""
        try:
            return super().invoke(ctx)
        except LopdError as error:
            echo_lines(f"error: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(
                "stopped: what was finished is kept; the same command again goes on", err=True
            )
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # `lopd-store ls | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
