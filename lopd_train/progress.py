"""How training goes, for whoever watches: a line on stderr."""

import math
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Final, Self

INCONSISTENT: Final = "INCONSISTENT TEACHER"
"""The head of every line of a run whose teacher is not its student's."""

_RECENT: Final = 20  # steps that the pace is taken over
_REDRAW: Final = 0.1  # seconds; faster nobody reads
_EVERY: Final = 30.0  # seconds between two lines off a terminal


def progress_line(
    *,
    step: int,
    steps: int,
    loss: float,
    advantage: float | None = None,
    kl: float | None = None,
    tokens_per_second: float | None = None,
    seconds_left: float | None = None,
    inconsistent: bool = False,
) -> str:
    """One line for people; what is None is left out.

    Args:
        step: steps done.
        steps: how many there will be.
        loss: of the last step.
        advantage: its mean, nats.
        kl: the estimate of KL(policy ‖ teacher), nats a token.
        tokens_per_second: trained ones.
        seconds_left: until the last step is done.
        inconsistent: begin with a warning.
    """
    parts = [INCONSISTENT] if inconsistent else []
    parts += [f"step {step:,}/{steps:,}", f"loss {loss:.4g}"]
    parts += [f"advantage {advantage:+.4f}"] if advantage is not None else []
    parts += [f"KL {kl:.4f}"] if kl is not None else []
    parts += [f"{tokens_per_second:,.0f} tok/s"] if tokens_per_second is not None else []
    parts += [f"{_clock(seconds_left)} left"] if seconds_left is not None else []
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Progress:
    """The progress line: rewritten in place on a terminal, else a line now and then."""

    def __init__(
        self,
        *,
        steps: int,
        done: int = 0,
        inconsistent: bool = False,
        stream: IO[str] | None = None,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            steps: how many there will be.
            done: of them, before this process began.
            inconsistent: every line begins with a warning.
            stream: where lines go; stderr.
            every: seconds between two lines off a terminal.
            clock: seconds from anywhere.
        """
        self._steps = steps
        self._inconsistent = inconsistent
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._pause = _REDRAW if self._terminal else every
        self._clock = clock
        self._recent: deque[tuple[float, int, int]] = deque([(clock(), done, 0)], _RECENT + 1)
        self._shown_at = -math.inf
        self._shown = ""  # what stands on the terminal's last line

    def update(
        self,
        step: int,
        *,
        tokens: int,
        loss: float,
        advantage: float | None = None,
        kl: float | None = None,
    ) -> None:
        """A step is done; `tokens` of it were trained. The first and the last are always shown."""
        now = self._clock()
        self._recent.append((now, step, self._recent[-1][2] + tokens))
        if now - self._shown_at < self._pause and step < self._steps:
            return
        self._shown_at = now
        rate, left = self._pace()
        self._show(
            progress_line(
                step=step,
                steps=self._steps,
                loss=loss,
                advantage=advantage,
                kl=kl,
                tokens_per_second=rate,
                seconds_left=left,
                inconsistent=self._inconsistent,
            )
        )

    def say(self, message: str) -> None:
        """A message above the progress line; what strangers wrote may stand in it."""
        head = f"{INCONSISTENT}  " if self._inconsistent else ""
        self._clear()
        for line in message.split("\n"):
            self._stream.write(f"{head}{_harmless(line)}\n")
        self._draw()

    def close(self) -> None:
        """Leave the last line standing."""
        if self._shown:
            self._stream.write("\n")
        self._shown = ""
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pace(self) -> tuple[float, float]:
        """Tokens a second and seconds left, by the last steps."""
        (began, first, before), (now, step, tokens) = self._recent[0], self._recent[-1]
        elapsed = max(now - began, 1e-9)
        return (tokens - before) / elapsed, elapsed / max(1, step - first) * (self._steps - step)

    def _show(self, text: str) -> None:
        if not self._terminal:
            self._stream.write(text + "\n")
            self._stream.flush()
            return
        self._clear()
        self._shown = text
        self._draw()

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap and stay
        self._stream.write(self._shown[:width])
        self._stream.flush()


def _harmless(text: str) -> str:
    """What moves a terminal's cursor or hides text is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
