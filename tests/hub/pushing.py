"""Pushes in tests: who pushes what, what a repository has then, and what travelled."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cli.runner import Said
from tests.hub.clients import Account, Client
from tests.hub.scripts import shown
from tests.hub_server import TOKEN, Hub

_SEVERAL = """
import json, sys
from tests.cli.runner import run
for words in json.loads(sys.argv[1]):
    said = run(*words)
    print("said", json.dumps([said.code, said.out, said.err]))
"""


def person(hub: Hub, folder: Path, store: Path, *, token: str | None = TOKEN) -> Client:
    """Somebody on the loopback Hub, with a copy of a store."""
    folder.mkdir(parents=True, exist_ok=True)
    client = Client(folder, hub.environment(folder / "cache", token=token))
    return having(client, store)


def having(client: Client, store: Path) -> Client:
    """The client, once its store is a copy of another."""
    shutil.copytree(store, client.store)
    return client


def pushed(said: Said) -> Any:
    """What `push --json` says that it did."""
    assert said.code == 0, said.err
    return said.json


def several(client: Client, *commands: Sequence[object], **environment: str) -> list[Said]:
    """Commands one after another in one process, which takes less time."""
    words = [[str(word) for word in command] for command in commands]
    said = client.python(_SEVERAL, json.dumps(words), **environment)
    lines = [line[5:] for line in said.out.splitlines() if line.startswith("said ")]
    return [Said(*json.loads(line)) for line in lines]


def snapshot(account: Account, repo: str, revision: str = "main") -> dict[str, bytes]:
    """All files of a repository at a revision, as its client downloads them."""
    code = "show(api.snapshot_download(repo, revision=sys.argv[2], **where))"
    (found,) = shown(account.client("reader"), code, repo, revision)
    folder = Path(found)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def uploaded(hub: Hub) -> int:
    """Bytes of large files that reached the Hub."""
    return sum(request.received for request in hub.asked("^PUT "))


def changes(hub: Hub) -> list[str]:
    """The requests that change what others see, or send files."""
    return [str(one) for one in hub.asked(r"^(PUT|DELETE) |^POST .*/(commit|tag|branch|create)\b")]
