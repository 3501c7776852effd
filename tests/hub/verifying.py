"""What is verified at a distance, and what a report says."""

import hashlib

from tests.cli.runner import Said
from tests.hub.clients import Client
from tests.hub_server import Hub

INDEX = "lopd/default/train/index.json"


def card(*places: str) -> bytes:
    """A README whose globs are those of schemas/hub.md; each place `config/split`."""
    lines = ["---", "configs:"]
    for place in places or ("default/train",):
        config, split = place.split("/")
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [f"  - split: {split}", f"    path: data/{config}/{split}-*.parquet"]
    return "\n".join([*lines, "---", "# rows", ""]).encode()


def shards_of(files: dict[str, bytes]) -> list[str]:
    return sorted(path for path in files if path.endswith(".parquet"))


def asked_for_shards(hub: Hub, files: dict[str, bytes]) -> list[str]:
    """Requests for them at either of the Hub's hosts, of any method."""
    digests = [hashlib.sha256(files[path]).hexdigest() for path in shards_of(files)]
    return [str(one) for one in hub.asked("|".join([r"\.parquet", *digests]))]


def told(said: Said) -> str:
    """All problems and notes of a report, to look for words in."""
    report = said.json
    return "\n".join([*(str(problem) for problem in report["problems"]), *report["notes"]])


def verify(client: Client, name: str, *words: object) -> Said:
    return client.lopd_store("verify", name, "--json", *words)
