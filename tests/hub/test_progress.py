"""What a waiting person sees of bytes on their way: on a terminal, and in a log."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.building.fixtures import built, models, origin, student, teacher
from tests.hub.clients import Client
from tests.hub.pulled import BYTES
from tests.hub.pushing import having
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "student", "teacher"]

COMMAND = "from lopd_cli.store import main; main()"
RATE_AND_TIME_LEFT = re.compile(r"\d+%\|[^|]*\| [\d.]+k/[\d.]+k \[\d\d:\d\d<\d\d:\d\d, .*B/s\]")


@pytest.fixture
def slow(hub: Hub) -> Hub:
    """A bar is drawn of what takes longer than half a second."""
    hub.faults = [Fault(match=f"^PUT |{BYTES}", times=None, pause=0.7)]
    return hub


def on_a_terminal(client: Client, *words: str) -> str:
    """What a terminal shows of a command."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (40, 120))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=False,
        env={**client.environment, "LOPD_STORE": str(client.store)},
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert done.returncode == 0, shown
    return shown


@pytest.mark.usefixtures("slow")
def test_a_terminal_shows_rate_and_time_left(client: Client, built: Path) -> None:
    person = having(client, built)
    shown = on_a_terminal(person, "push", "signal", "org/data@v1", "--no-text")
    assert RATE_AND_TIME_LEFT.search(shown), shown
    other = Client(client.folder / "other", client.environment)
    other.folder.mkdir()
    shown = on_a_terminal(other, "pull", "org/data@v1")
    assert RATE_AND_TIME_LEFT.search(shown), shown


@pytest.mark.usefixtures("slow")
def test_in_a_log_the_hubs_client_draws_no_bars(client: Client, built: Path) -> None:
    hidden = "HF_HUB_DISABLE_PROGRESS_BARS"
    kept = {name: value for name, value in client.environment.items() if name != hidden}
    person = having(Client(client.folder, kept), built)
    said = person.lopd_store("push", "signal", "org/data@v1", "--no-text")
    assert said.code == 0
    assert "Upload" not in said.err
    assert "\r" not in said.err
