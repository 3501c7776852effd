"""Keys that are known to everybody, tiny models, a signal, and a whole chain."""

from pathlib import Path

import pytest

from lopd_store.keys import PrivateKey, read_private
from tests.building.fixtures import (
    built,
    lineage,
    models,
    origin,
    origin_lineage,
    other,
    signal,
    student,
    teacher,
)
from tests.signing.pem import OTHER_PRIVATE, PRIVATE, PUBLIC


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The private key of RFC 8032's first test; its public key lies beside it."""
    path = tmp_path / "release"
    path.write_text(PRIVATE)
    path.with_name("release.pub").write_text(PUBLIC)
    return path


@pytest.fixture
def key(key_file: Path) -> PrivateKey:
    return read_private(key_file)


@pytest.fixture
def stranger(tmp_path: Path) -> PrivateKey:
    """Somebody else's key."""
    path = tmp_path / "stranger"
    path.write_text(OTHER_PRIVATE)
    return read_private(path)


__all__ = [
    "built",
    "key",
    "key_file",
    "lineage",
    "models",
    "origin",
    "origin_lineage",
    "other",
    "signal",
    "stranger",
    "student",
    "teacher",
]
