"""A program at a real terminal: what it shows, and what one types."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Final, Self

SECONDS: Final = 60.0
_PROGRAM: Final = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C comes from there
from lopd_cli.store import main
main()"""
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """`lopd-store WORDS` in a pseudo-terminal of 120 columns."""

    def __init__(self, *words: object, folder: Path) -> None:
        """Start it, with `cat` for a pager."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        command = [sys.executable, "-c", _PROGRAM]
        self._process = subprocess.Popen(
            [*command, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=os.environ | {"TERM": "xterm", "PAGER": "cat", "INPUTRC": os.devnull},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        """Keys, as a person presses them."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """What was shown up to and with `text`, since the last call."""
        end = time.monotonic() + SECONDS
        while text not in self.shown:
            if time.monotonic() > end or not self._read(end - time.monotonic()):
                raise AssertionError(f"expected {text!r} at the terminal, found {self.shown!r}")
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def interrupt(self, until: str) -> None:
        """Ctrl-C, until something is shown: Python may wait for a key to hear it."""
        end = time.monotonic() + SECONDS
        while until not in self.shown and time.monotonic() < end:
            self.type("\x03")
            while self._read(1.0) and until not in self.shown:
                pass
        self.wait_for(until)

    def end(self) -> tuple[int, str]:
        """The exit code, and what was shown until then."""
        while self._read(SECONDS):
            pass
        return self._process.wait(SECONDS), self.shown

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody is at the other end
            return False
        self.shown += _ESCAPES.sub("", data.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
