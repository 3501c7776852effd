"""Locks: one holder at a time, said who, gone with its holder."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lopd_store.errors import IntegrityError, StoreError
from lopd_store.store.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from lopd_store.store.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_a_held_lock_is_refused_with_the_holders_process_id(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    try:
        with (
            pytest.raises(StoreError, match=f"held by process {holder.pid}"),
            exclusive(tmp_path / "lock", wait=False),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(tmp_path / "lock", wait=False):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_waiting_is_said_once_and_ends_with_the_holder(tmp_path: Path) -> None:
    holder = hold(tmp_path / "lock")
    said: list[str] = []
    threading.Timer(0.2, holder.kill).start()
    with exclusive(tmp_path / "lock", on_wait=said.append):
        assert said == [f"{tmp_path / 'lock'} is held by process {holder.pid}"]
    holder.wait()


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_an_exception_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    with exclusive(tmp_path / "lock", wait=False):
        pass


def test_a_link_is_not_locked_and_its_target_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    (tmp_path / "soft").symlink_to(tmp_path / "precious")
    (tmp_path / "hard").hardlink_to(tmp_path / "precious")
    for name, found in (("soft", "a symbolic link"), ("hard", "one of 2 names of a file")):
        with pytest.raises(IntegrityError, match=found), exclusive(tmp_path / name):
            pass
    assert (tmp_path / "precious").read_text() == "text"
