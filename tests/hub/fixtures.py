"""A Hub to test against.

Plain behaviour is tested with `account`: each such test runs as `[loopback]` and, where a token is
given, as `[real-hub]` on the Hugging Face Hub itself (`make test-hub`). What needs faults or the
log takes `hub`, and runs on loopback only.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.clients import REAL, Account, Client
from tests.hub_server import TOKEN, Hub, running

__all__ = ["account", "client", "hub"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The loopback Hub, empty."""
    with running(Hub()) as started:
        yield started


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """Somebody who may write to `org` on the loopback Hub."""
    folder = tmp_path / "client"
    folder.mkdir()
    return Client(folder, hub.environment(folder / "cache", token=TOKEN))


@pytest.fixture(params=["loopback", "real-hub"])
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """A namespace on either Hub; what is made there is deleted."""
    if request.param == "loopback":
        with running(Hub()) as started:
            yield Account("org", tmp_path, started)
        return
    if missing := [name for name in REAL if not os.environ.get(name)]:
        pytest.skip(f"NOT TESTED on the real Hub: set {' and '.join(missing)}, then make test-hub")
    real = Account(os.environ[REAL[1]], tmp_path, None)
    try:
        yield real
    finally:
        real.clean()
