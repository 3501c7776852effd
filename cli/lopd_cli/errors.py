"""Errors become exit codes and one message on stderr, in this one place."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Never

import click

from lopd_cli.output import echo_lines
from lopd_store.errors import HubError, LopdError, NotFoundError, UsageError
from lopd_store.hub import is_artifact_name
from lopd_store.store import Store

INTERRUPTED = 130  # what shells give for Ctrl-C
TERMINATED = 143  # what shells give for SIGTERM


LEAVING = "lopd_cli.leaving"
"""In a command's `meta`: stopped, it waits for no thread, as what these do counts for nothing."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which schedulers send before they kill: stops as Ctrl-C does."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated within. Only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        # What libraries do at exit is not worth a traceback: Ctrl-C then ends it silently.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)


def _terminate(*_: object) -> Never:
    raise Terminated


class Commands(click.Group):
    """A group whose commands may raise any LopdError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit with the error's own code if it raises one."""
        try:
            with terminable():
                return super().invoke(ctx)
        except LopdError as error:
            echo_lines(f"error: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as stopped:
            click.echo(
                "stopped: what was finished is kept; the same command again goes on", err=True
            )
            code = TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED
            if ctx.meta.get(LEAVING):
                sys.stdout.flush()
                os._exit(code)
            ctx.exit(code)
        except BrokenPipeError:  # `lopd-store ls | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


@contextmanager
def suggesting(store: Store, *names: str, hub_too: bool = False) -> Iterator[None]:
    """What is raised within as `names` are not found also says what they are, or nearly are.

    Args:
        store: its refs may be spelled nearly so.
        names: what a person typed.
        hub_too: whether names on the Hub are looked for there; else people are told to pull them.
    """
    try:
        yield
    except (NotFoundError, HubError, UsageError) as error:
        hints = [] if isinstance(error, UsageError) else _spelled_nearly(store, names)
        hints += [] if hub_too else _on_hub(names)
        if not hints:
            raise
        raise type(error)("; ".join([str(error), *hints]), problems=error.problems) from error


def _spelled_nearly(store: Store, names: Sequence[str]) -> list[str]:
    refs = _refs_of(store)
    unknown = [name for name in names if name not in refs]
    close = [ref for name in unknown for ref in get_close_matches(name, refs, n=1)]
    return [f"did you mean {' or '.join(close)}?"] if close else []


def _on_hub(names: Sequence[str]) -> list[str]:
    """No ref has an @ in its name."""
    return [
        f"{name} is a name on the Hub: `lopd-store pull {name}` brings it here"
        for name in names
        if "@" in name and is_artifact_name(name)
    ]


def _refs_of(store: Store) -> list[str]:
    try:
        return list(store.refs.list())
    except NotFoundError:  # there is no store
        return []
