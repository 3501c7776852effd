"""Signals to load, made once."""

from pathlib import Path

import pytest

from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A signal of several shards without a mask."""
    return make_signals(tmp_path_factory.mktemp("made"), rows=40, shard_tokens=150)


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A signal of one shard with a mask."""
    return make_signals(tmp_path_factory.mktemp("masked"), rows=30, masked=True)


@pytest.fixture
def small(tmp_path: Path) -> Made:
    """A signal to damage."""
    return make_signals(tmp_path / "small", rows=20, shard_tokens=150)
