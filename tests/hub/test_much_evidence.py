"""Evidence that would cost a reader its day: more of it than anybody measures or signs."""

import hashlib
import json
from typing import Any

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import canonical, files_of
from tests.hub.pulled import assert_nothing_stays
from tests.hub.verifying import INDEX, card, verify
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

FOLDER = "lopd/default/train"


@pytest.fixture
def published(hub: Hub, signal: Store) -> Hub:
    """`org/data`, where a manifest of a few kB names five files of 64 MiB."""
    files = files_of(signal.root, "signal") | {"README.md": card()}
    path = next(path for path in files if "/evidence-" in path)
    evidence = json.loads(files[path])
    evidence["artifactType"] = "application/vnd.lopd.thoughts.v1"
    evidence["layers"] = [
        {**described(b"%d" % n, "application/octet-stream"), "size": 64 << 20} for n in range(5)
    ]
    data = canonical(evidence)
    entry = {**described(data, evidence["mediaType"]), "artifactType": evidence["artifactType"]}
    index = json.loads(files[INDEX])
    index["manifests"][1] = entry
    changed = {INDEX: canonical(index), f"{FOLDER}/evidence-{entry['digest'][7:19]}.json": data}
    hub.commit("org/data", files | changed)
    return hub


def described(data: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def test_a_pull_reads_none_of_it_and_nothing_stays(published: Hub, client: Client) -> None:
    said = client.lopd_store("pull", "org/data")
    assert said.code == 5, said.err
    assert "bytes of evidence" in said.err
    assert published.asked("/blob-[^4]") == []
    assert_nothing_stays(client)


def test_verify_says_so_and_goes_on(published: Hub, client: Client) -> None:
    said = verify(client, "org/data")
    assert said.code == 5, said.err
    assert "bytes of evidence" in said.out
    assert published.asked("/blob-[^4]") == []
    assert published.asked("/identity-") != []
