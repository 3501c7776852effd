"""Stores for tests, without fsync (tests/store/test_durable.py looks at that), and a publisher."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.store import Store
from lopd_store.store.durable import no_sync

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Publish(Protocol):
    """Puts a small artifact into a store: config, one layer a text, manifest."""

    def __call__(
        self, store: Store, *texts: str, subject: Descriptor | None = None
    ) -> Descriptor: ...


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True, sync=no_sync)


@pytest.fixture
def publish() -> Publish:
    return _publish


@pytest.fixture(scope="session")
def independent() -> Callable[[str], dict[str, Any]]:
    """`read` of independent_reader.py."""
    path = Path(__file__).with_name("independent_reader.py")
    spec = importlib.util.spec_from_file_location("independent_reader", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read: Callable[[str], dict[str, Any]] = module.read
    return read


def _publish(store: Store, *texts: str, subject: Descriptor | None = None) -> Descriptor:
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.lopd.signal.v1",
        "config": _put(store, b"{}", "application/vnd.oci.empty.v1+json").to_json(),
        "layers": [_put(store, text.encode(), "text/plain").to_json() for text in texts],
    }
    if subject is not None:
        manifest["artifactType"] = "application/vnd.lopd.noise.v1"
        manifest["subject"] = subject.to_json()
    return _put(store, json.dumps(manifest).encode(), MANIFEST)


def _put(store: Store, data: bytes, media_type: str) -> Descriptor:
    digest: Digest = store.blobs.put(data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
