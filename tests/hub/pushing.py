"""Pushes in tests: who pushes what, what a repository has then, and what travelled."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.cli.runner import Said
from tests.hub.clients import Account, Client
from tests.hub.published import NAMES, SHARD, short
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


def artifacts_in(files: Mapping[str, bytes]) -> dict[str, str]:
    """`config/split` → id, of a revision where everything is whole; after schemas/hub.md alone.

    A file that a manifest names is there in its own bytes; one that none names, is not.
    """
    found, expected = {}, {"README.md", ".gitattributes"}
    for path, data in files.items():
        if not (place := re.fullmatch(r"lopd/([^/]+)/([^/]+)/index\.json", path)):
            continue
        config, split = place.groups()
        folder = f"lopd/{config}/{split}"
        entry, *evidence = json.loads(data)["manifests"]
        names = [(f"{folder}/manifest-{short(entry)}.json", entry)]
        names += [(f"{folder}/evidence-{short(one)}.json", one) for one in evidence]
        shards = 0
        for manifest, _ in list(names):
            document = json.loads(files[manifest])
            for part in (document["config"], *document["layers"]):
                if part["mediaType"] == SHARD:
                    name = f"data/{config}/{split}-{shards:05d}-{short(part)}.parquet"
                    shards += 1
                else:
                    kind, suffix = NAMES.get(part["mediaType"], ("blob", ""))
                    name = f"{folder}/{kind}-{short(part)}{suffix}"
                names.append((name, part))
        for name, part in names:
            assert "sha256:" + hashlib.sha256(files[name]).hexdigest() == part["digest"], name
        expected |= {path, f"{folder}/columns.json"}
        expected |= {f"{folder}/histogram.svg"} & set(files)  # of log-probs, where there are any
        expected |= {name for name, _ in names}
        assert f"<!-- lopd:begin {config}/{split} -->" in files["README.md"].decode()
        found[f"{config}/{split}"] = str(entry["digest"])
    assert set(files) == expected
    return found


def versions(hub: Hub, repo: str) -> dict[str, dict[str, str]]:
    """Branches and tags → the artifacts there; every commit there ever was is whole."""
    if ("dataset", repo) not in hub.repositories:
        return {}
    repository = hub.repository(repo)
    whole = {
        commit: artifacts_in({"README.md": b"", **hub.files(repo, commit)})
        for commit in repository.commits
    }
    names = {**repository.branches, **repository.tags}
    return {name: whole[commit] for name, commit in names.items()}


def sent_again(hub: Hub) -> dict[str, int]:
    """The large files that arrived whole more than once."""
    whole = Counter(one.path for one in hub.asked("^PUT ") if one.status == HTTPStatus.OK)
    return {path: count for path, count in whole.items() if count > 1}
