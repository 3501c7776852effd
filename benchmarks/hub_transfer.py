"""How many bytes travel to the Hub and from it, next to what people do today?

    python benchmarks/hub_transfer.py [--tokens 4000000]

A signal is published, then its next version with a tenth more rows; it is fetched, in whole and in
part, and verified. The Hub is the tests' own on loopback, whose log counts the bytes of every body;
all clients are the real ones, in processes of their own. Beside it, the same rows published by
`datasets.push_to_hub`, and as one Parquet file by `huggingface_hub.upload_folder`; fetched by
`snapshot_download`. Seconds are of one run each, process start included, on loopback.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import figures
from benchmarks.signal_artifact import make_artifact
from lopd_store.artifacts import load, point
from lopd_store.merge import merge
from lopd_store.store import Store
from tests.hub.clients import Client
from tests.hub_server import TOKEN, Hub, running

TOKENS: Final = 4_000_000
MORE: Final = 10  # of which one part is added

PUSH_TO_HUB: Final = """
import sys, glob, datasets
files = sorted(glob.glob(sys.argv[1] + "/*.parquet"))
datasets.Dataset.from_parquet(files, cache_dir=sys.argv[3]).push_to_hub(sys.argv[2])
"""
UPLOAD: Final = """
import sys, glob, pathlib, pyarrow.parquet as pq, pyarrow as pa
from huggingface_hub import HfApi
files = sorted(glob.glob(sys.argv[1] + "/*.parquet"))
folder = pathlib.Path(sys.argv[3]); folder.mkdir(exist_ok=True)
pq.write_table(pa.concat_tables(pq.read_table(file) for file in files), folder / "train.parquet")
api = HfApi(); api.create_repo(sys.argv[2], repo_type="dataset", exist_ok=True)
api.upload_folder(repo_id=sys.argv[2], folder_path=folder, repo_type="dataset")
"""
DOWNLOAD: Final = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], repo_type="dataset")
"""


class Counted:
    """A Hub that says how many bytes of bodies went by, and how long it took."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.rows: list[dict[str, Any]] = []

    def ours(self, what: str, client: Client, *words: object) -> None:
        """Run `lopd-store`."""
        how = "lopd-store " + " ".join(
            str(word) for word in words if word in {words[0], "--columns", "--deep"}
        )
        self._run(what, how, lambda: _command(client, *words))

    def theirs(self, what: str, how: str, client: Client, code: str, *words: object) -> None:
        """Run a program of the Hub's own libraries."""
        self._run(what, how, lambda: client.python(code, *words))

    def _run(self, what: str, how: str, work: Callable[[], object]) -> None:
        before, start = len(self._hub.requests), time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        new = self._hub.requests[before:]
        self.rows.append(
            {
                "what": what,
                "how": how,
                "sent": sum(request.received for request in new),
                "fetched": sum(request.sent for request in new),
                "requests": len(new),
                "seconds": seconds,
            }
        )


def main(arguments: argparse.Namespace) -> None:
    """Publish twice, fetch in three ways, verify in two; then the others."""
    with tempfile.TemporaryDirectory() as name, running(Hub()) as hub:
        folder, counted = Path(name), Counted(hub)
        client = Client(folder, hub.environment(folder / "cache", token=TOKEN))
        _make_versions(client.store, arguments.tokens)
        for version in ("v1", "v2"):
            _publish(counted, client, version)
        fresh = Client(folder / "fresh", hub.environment(folder / "far", token=TOKEN))
        fresh.folder.mkdir()
        Store.open(fresh.store, create=True)
        part = ("--columns", "teacher_logprobs", "-o", "part")
        counted.ours("verify at a distance", fresh, "verify", "org/ours@v2")
        counted.ours("fetch v2, fewest columns", fresh, "pull", "org/ours@v2", *part)
        counted.ours("fetch v2", fresh, "pull", "org/ours@v2")
        counted.theirs("fetch v2", "snapshot_download", fresh, DOWNLOAD, "org/ours")
        counted.ours("verify every byte", fresh, "verify", "org/ours@v2", "--deep")
    figures.show(
        "hub_transfer",
        _table(counted.rows),
        {"rows": counted.rows},
        arguments,
        libraries=("huggingface_hub", "datasets", "pyarrow"),
    )


def _publish(counted: Counted, client: Client, version: str) -> None:
    """A version in three ways, each in a repository of its own."""
    folder, what = client.folder / version, f"publish {version}"
    counted.ours(what, client, "push", version, f"org/ours@{version}", "--no-text")
    folder.mkdir()
    for number, shard in enumerate(load(Store.open(client.store), version).open_shards()):
        (folder / f"{number:05d}.parquet").symlink_to(shard.path)
    for how, code, repo in (
        ("datasets.push_to_hub", PUSH_TO_HUB, "org/datasets"),
        ("upload_folder", UPLOAD, "org/folder"),
    ):
        counted.theirs(what, how, client, code, folder, repo, client.folder / how)


def _make_versions(root: Path, tokens: int) -> None:
    """`v1`, and `v2` with a tenth more rows behind it."""
    store = Store.open(root, create=True)
    for ref, count, seed in (("v1", tokens, 0), ("more", tokens // MORE, 1)):
        made = make_artifact(root, tokens=count, seed=seed)
        point(store, ref, made, expected=None)
    merge(store, ["v1", "more"], ref="v2")


def _command(client: Client, *words: object) -> None:
    said = client.lopd_store(*words)
    if said.code != 0:
        raise SystemExit(f"{words}: {said.err}")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | with | MB sent | MB fetched | requests | seconds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['what']} | `{row['how']}` | {row['sent'] / 1e6:.2f} | {row['fetched'] / 1e6:.2f} |"
        f" {row['requests']} | {row['seconds']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = figures.parser(__doc__ or "")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="response tokens of v1")
    main(parser.parse_args(sys.argv[1:]))
