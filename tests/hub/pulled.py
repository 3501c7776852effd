"""What pulls give back and leave behind."""

import hashlib
from typing import Any

from lopd_store.store import Store
from tests.cli.runner import Said
from tests.hub.clients import Client
from tests.hub_server import Hub

SHARDS = r"GET /.*\.parquet"  # at the Hub itself, which sends clients to its other host
BYTES = r"GET /datasets/[^/]+/[^/]+/[0-9a-f]{64}"  # of large files, there


def pulled(said: Said) -> list[dict[str, Any]]:
    """The artifacts of a pull that ended well."""
    assert said.code == 0, said.err
    found: list[dict[str, Any]] = said.json["pulled"]
    return found


def sent(hub: Hub) -> int:
    """Bytes of large files that left the Hub."""
    return sum(request.sent for request in hub.asked(BYTES) if request.status in {200, 206})


def damage(hub: Hub, data: bytes, other: bytes) -> None:
    """Send other bytes for a file that is listed as it was."""
    hub.damaged[hashlib.sha256(data).hexdigest()] = other


def flipped(data: bytes, at: int) -> bytes:
    """With one bit at a place the other way."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def assert_nothing_stays(client: Client) -> None:
    """No blob, no ref, no stage, nothing held."""
    here = Store.open(client.store)
    assert list(here.blobs.all()) == []
    assert here.refs.list() == {}
    assert list(here.tmp.iterdir()) == []
    assert list(here.builds.iterdir()) == []
