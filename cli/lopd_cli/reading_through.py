"""serve --upstream: a live teacher behind a store, which grows by what that says."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from lopd_cli.options import open_store
from lopd_cli.output import echo
from lopd_store.errors import UsageError
from lopd_store.identity.model import fingerprint
from lopd_store.serving.answers import Backend
from lopd_store.serving.served import Served, model_names

TOKEN: Final = "LOPD_UPSTREAM_TOKEN"  # noqa: S105 - the variable's name

Command = TypeVar("Command", bound=Callable[..., Any])


def upstream_options(command: Command) -> Command:
    """Options of a server in front of a live teacher; read them with `read_through_of`."""
    for option in reversed(
        (
            click.option(
                "--upstream",
                metavar="URL",
                help="A live teacher, such as http://gpu:8000, that is asked for what is not"
                f" stored; a token for it stands in {TOKEN}.",
            ),
            click.option(
                "--teacher",
                help="With --upstream, the model it runs: a folder, or org/name[@revision];"
                " recorded as asserted.",
            ),
            click.option(
                "-o", "--output", "ref", metavar="REF", help="With --upstream, the ref that grows."
            ),
            click.option(
                "--upstream-model",
                metavar="NAME",
                help="What the upstream calls the model; default its only one.",
            ),
            click.option(
                "--upstream-dtype",
                metavar="DTYPE",
                help="What the upstream is said to run in, such as bfloat16; recorded as asserted.",
            ),
            click.option(
                "--upstream-timeout",
                type=click.FloatRange(0, min_open=True),
                default=600.0,
                show_default=True,
                metavar="SECONDS",
                help="How long the upstream is waited for.",
            ),
            click.option(
                "--publish-every",
                type=click.IntRange(1),
                default=16_000_000,
                show_default=True,
                metavar="TOKENS",
                help="Kept ids, prompts included, after which they become rows of the ref.",
            ),
        )
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A read-through cache to be served.

    Attributes:
        served: what the server says of itself.
        opening: gives where its numbers come from; what is kept is published when it closes.
    """

    served: Served
    opening: AbstractAsyncContextManager[Backend]


def read_through_of(
    given: dict[str, Any], *, refs: Sequence[str], names: Sequence[str], root: Path
) -> Cache | None:
    """The cache that a command's parameters ask for; None without --upstream."""
    url, model, ref = given["upstream"], given["teacher"], given["ref"]
    if url is None:
        _refuse_without_upstream(given)
        return None
    if model is None or ref is None:
        absent = "--teacher" if model is None else "-o REF"
        raise UsageError(f"--upstream: expected {absent} with it, found none")
    from lopd_store.serving.readthrough.journal import folder_of
    from lopd_store.serving.readthrough.opening import open_read_through, served_with
    from lopd_store.serving.readthrough.upstream_http import UpstreamOptions
    from lopd_store.serving.readthrough.upstream_identity import Teacher
    from lopd_store.serving.readthrough.upstream_names import name_there

    store = open_store(root, create=True)
    upstream = UpstreamOptions(
        url=url,
        token=os.environ.get(TOKEN),
        model=given["upstream_model"],
        timeout=given["upstream_timeout"],
    )
    dtype = given["upstream_dtype"]
    teacher = Teacher(
        fingerprint=fingerprint(model, cache=store.fingerprints),
        stated={"dtype": dtype} if dtype else {},
    )
    there = name_there(upstream, folder_of(store, ref))
    known = model_names(names, [*refs, ref], teacher.fingerprint.model)
    # The upstream's own name first: by it requests that generate are understood there, too.
    called = [*([there] if there and not names else []), *known]

    @asynccontextmanager
    async def opening() -> AsyncIterator[Backend]:
        async with open_read_through(
            store,
            ref,
            upstream=upstream,
            teacher=teacher,
            beside=refs,
            publish_tokens=given["publish_every"],
            say=lambda line: echo(f"WARNING: {line}", err=True),
        ) as cache:
            yield Backend(answers=cache, upstream=cache)

    return Cache(
        served=served_with(store, ref, teacher=teacher, beside=refs, names=called),
        opening=opening(),
    )


def _refuse_without_upstream(given: dict[str, Any]) -> None:
    for name, word in (
        ("teacher", "--teacher"),
        ("ref", "-o"),
        ("upstream_model", "--upstream-model"),
    ):
        if given[name] is not None:
            raise UsageError(f"{word}: expected --upstream URL with it, found none")
