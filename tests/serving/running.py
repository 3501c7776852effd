"""A real server on loopback, in a thread of this process; and the rows it answers from."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from lopd_store.serving.answers import Backend
from lopd_store.serving.app import create_app
from lopd_store.serving.limits import Limits
from lopd_store.serving.server import configuration
from lopd_store.serving.stored import OpenedSignals
from lopd_store.store import Store
from tests.building.chain import rows_in

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the tests ask for it


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stored row, as DuckDB reads it; `known` has None where the mask says nothing is known."""

    prompt: list[int]
    response: list[int]
    known: list[float | None]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.response

    @property
    def positions(self) -> list[float | None]:
        """A log-prob or None for each id."""
        return [*(None for _ in self.prompt), *self.known]


def stored_rows(store: Store, ref: str) -> list[Row]:
    """The rows of a signal by another reader."""
    rows = rows_in(store, ref).to_pylist()
    return [
        Row(
            prompt=row["prompt_ids"],
            response=row["response_ids"],
            known=[
                value if on else None
                for value, on in zip(
                    row["teacher_logprobs"],
                    row.get("loss_mask") or [True] * len(row["response_ids"]),
                    strict=True,
                )
            ],
        )
        for row in rows
    ]


@contextmanager
def running(app: Any, limits: Limits | None = None) -> Iterator[str]:
    """The URL of an application while it runs."""
    server = uvicorn.Server(configuration(app, limits or Limits()))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            assert server.started
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serving(root: Path, *refs: str, names: Sequence[str] = (), **options: Any) -> Iterator[str]:
    """The URL of a server that answers from signals of a store; `options` as `create_app` has."""
    opened = OpenedSignals.open(refs, root=root, names=names)
    app = create_app(opened.served, Backend(answers=opened.answers), **options)
    with running(app, options.get("limits")) as url:
        yield url
