"""Files that load_dataset would take for an artifact's do not come with it, and that is said."""

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.pulled import pulled
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

APART = {"data/default/test-1.parquet": b"x", "data/default/train.txt": b"x", "README.md": b"x"}


@pytest.mark.parametrize("path", ["data/default/train-x.parquet", ".huggingface.yaml"])
def test_a_pull_says_what_is_not_the_artifacts(
    hub: Hub, client: Client, signal: Store, path: str
) -> None:
    hub.commit("org/data", files_of(signal.root, "signal") | APART)
    said = client.lopd_store("pull", "org/data", "--json")
    assert len(pulled(said)) == 1
    assert "not the artifact's" not in said.err
    commit = hub.commit("org/data", {path: b"x"})
    said = client.lopd_store("pull", "org/data", "--json")
    assert len(pulled(said)) == 1
    assert f"1 files of org/data are not the artifact's, {path} among them" in said.err
    assert f"lopd-store verify org/data/default/train@{commit}" in said.err
