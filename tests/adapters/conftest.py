"""One signal whose student is its teacher, made once."""

import pytest

from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters.alike import Model, make_alike


@pytest.fixture(scope="session")
def alike(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signal, Model]:
    return make_alike(tmp_path_factory.mktemp("alike"))


@pytest.fixture(scope="session")
def unmasked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signal, Model]:
    return make_alike(tmp_path_factory.mktemp("unmasked"), masked=False)


@pytest.fixture(scope="session")
def rows(alike: tuple[Signal, Model]) -> DecodedRows:
    return DecodedRows.open(alike[0])
