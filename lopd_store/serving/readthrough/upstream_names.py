"""What clients call the model of a live server: they go on calling it so when it is away."""

import asyncio
from pathlib import Path
from typing import Final

from lopd_store.errors import FormatError
from lopd_store.serving.readthrough.upstream import UpstreamClient
from lopd_store.serving.readthrough.upstream_http import UpstreamError, UpstreamOptions
from lopd_store.store import durable, regular

_FILE: Final = "model"
_LONGEST: Final = 4096  # bytes of a name


def name_there(upstream: UpstreamOptions, folder: Path) -> str | None:
    """The model's name at the upstream, and where it is away the one it had when last seen.

    Args:
        upstream: asked once.
        folder: where the name is kept, made if missing.

    Raises:
        UsageError: it has several models and none was named.
        StoreError: the disk is full or read-only.
    """
    try:
        name = asyncio.run(_ask(upstream))
    except UpstreamError:
        return upstream.model or _remembered(folder / _FILE)
    if name is not None:
        durable.make_folder(folder)
        durable.write(folder / _FILE, name.encode(), tmp=folder / "tmp")
    return name


async def _ask(upstream: UpstreamOptions) -> str | None:
    async with UpstreamClient(upstream) as client:
        return (await client.describe(tries=1)).model


def _remembered(path: Path) -> str | None:
    try:
        return regular.read(path, limit=_LONGEST).decode("utf-8", "replace")
    except (FileNotFoundError, FormatError):
        return None
