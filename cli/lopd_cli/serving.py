"""serve: a store in the place of a live teacher."""

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from lopd_cli.options import store_option
from lopd_cli.output import as_json, echo
from lopd_cli.reading_through import read_through_of, upstream_options
from lopd_store.errors import UsageError
from lopd_store.serving.answers import Answers, Backend
from lopd_store.serving.served import Served
from lopd_store.serving.stored import OpenedSignals

TOKEN: Final = "LOPD_SERVE_TOKEN"  # noqa: S105 - the variable's name


@click.command()
@click.argument("refs", nargs=-1, metavar="[REF…]")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help=f"Where to listen; an address that others can reach takes a token in {TOKEN}.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "--served-model-name",
    "names",
    multiple=True,
    metavar="NAME",
    help="What requests call the model; default the REFs and the teacher's name on the Hub.",
)
@upstream_options
@store_option
@as_json
def serve(
    refs: tuple[str, ...],
    host: str,
    port: int,
    names: tuple[str, ...],
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Answer from signals as their live teacher would, for trainers that score fixed rollouts.

    Speaks /v1/completions as vLLM and OpenAI do, SGLang's /generate and TRL's
    /get_sequence_logprobs/. A sequence is found by its exact token ids; where several REFs have
    it, the first one counts. What is not stored is null or refused, never made up.

    With --upstream it is a read-through cache: a live teacher is asked for what is not stored, and
    its answers are kept in the ref that -o names, so that the first run pays and later ones do not.
    """
    _check_installed(["httpx"] if given["upstream"] else [])
    from lopd_store.serving.server import Address
    from lopd_store.serving.server import serve as run

    address = Address(host=host, port=port, token=os.environ.get(TOKEN))
    if cache := read_through_of(given, refs=refs, names=names, root=root):
        served, opening = cache.served, cache.opening
    else:
        opened = OpenedSignals.open(refs, root=root.expanduser(), names=names)
        served, opening = opened.served, _stored(opened.answers)
    grows = f"{given['ref']} grows by what {given['upstream']} says" if given["upstream"] else None
    run(served, opening, address, ready=_announcing(served, grows, json_wanted=json_wanted))


@asynccontextmanager
async def _stored(answers: Answers) -> AsyncIterator[Backend]:
    """Answers from what is stored alone."""
    yield Backend(answers=answers)


def _announcing(served: Served, grows: str | None, *, json_wanted: bool) -> Callable[[str], None]:
    """What tells people, or whoever started the server, that it is there."""

    def announce(url: str) -> None:
        if json_wanted:
            echo(json.dumps({"url": url, **served.to_json()}))
            return
        echo(url)
        for artifact in served.artifacts:
            known = f", {artifact.id}" if artifact.id else ""
            echo(f"serving {artifact.rows:,} rows of {artifact.name}{known}", err=True)
        if grows:
            echo(grows, err=True)
        echo(f"scored by {_teacher(served)}; model {' or '.join(served.names)}", err=True)

    return announce


def _teacher(served: Served) -> str:
    if served.teacher is None:
        return "a teacher that is only asserted" if served.asserted else "an unknown teacher"
    source = served.teacher.source
    name = f"{source.repo}@{source.commit[:12]}, " if source else ""
    return f"{name}weights {served.teacher.weights_digest}"


def _check_installed(more: Sequence[str]) -> None:
    absent = [name for name in ("starlette", "uvicorn", *more) if find_spec(name) is None]
    if absent:
        raise UsageError(
            f"expected {' and '.join(absent)} to serve, found none: pip install 'lopd[serve]'"
        )
