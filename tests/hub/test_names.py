"""What the page says takes a name on the Hub, takes one; and it says nothing else."""

import json
import re
import signal as signals
from pathlib import Path

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.verifying import card
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

NAME = "org/data@v1"
PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
TRAIN = "from lopd_cli.train import main; main()"
ASKED = {
    "show": ["--json"],
    "ls": ["--json"],
    "sql": ["select count(*) as rows from signals", "--json"],
    "export": ["--format", "trl", "-o", "rows.parquet", "--json"],
    "verify": ["--json"],
}
BY_ITSELF = {"serve", "lopd-train opd"}


@pytest.fixture
def published(hub: Hub, signal: Store) -> Hub:
    """`org/data` with the signal at v1."""
    hub.commit("org/data", files_of(signal.root, "signal") | {"README.md": card()})
    hub.tag("org/data", "v1")
    return hub


def test_these_are_the_commands_that_the_page_lists() -> None:
    (said,) = re.findall(r"Nothing has to be pulled to be used: (.*?) take ", PAGE.read_text())
    assert set(re.findall(r"`([^`]+)`", said)) - {"open_signal"} == {*ASKED, *BY_ITSELF}


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("command", ASKED)
def test_a_command_takes_the_name(client: Client, tmp_path: Path, command: str) -> None:
    words = [str(tmp_path / word) if word.endswith(".parquet") else word for word in ASKED[command]]
    said = client.lopd_store(command, NAME, *words)
    assert said.code == 0, said.err
    assert said.json
    assert not client.store.exists()


@pytest.mark.usefixtures("published")
def test_serve_takes_the_name(client: Client) -> None:
    with client.start("serve", NAME, "--port", "0", "--json") as running:
        assert running.stdout is not None
        try:
            ready = json.loads(running.stdout.readline())
        finally:
            running.send_signal(signals.SIGTERM)
    assert ready["url"].startswith("http://")


@pytest.mark.usefixtures("published")
def test_training_takes_the_name(client: Client, models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    where = ["--signal", NAME, "--model", models["student"], "-o", tmp_path / "trained"]
    short = ["--steps", 1, "--batch", 2, "--allow-inconsistent-teacher"]
    client.python(TRAIN, "opd", *where, *short)
    assert (tmp_path / "trained" / "lopd.json").exists()
