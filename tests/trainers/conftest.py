"""A signal whose student is its teacher, for every trainer."""

import pytest

from lopd_store.signals import Signal
from tests.adapters.alike import Model, make_alike


@pytest.fixture(scope="session")
def alike(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signal, Model]:
    """A signal whose student is its teacher."""
    return make_alike(tmp_path_factory.mktemp("alike"))
