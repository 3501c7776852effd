"""Ctrl-C and SIGTERM wait for the end of a step, so that nothing that was computed is lost."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Patience:
    """While open, the first signal is noted; a second one stops at once, as if not here.

        with Patience() as patience:
            for _ in steps:
                if patience.asked:
                    save(); patience.stop()

    Only the main thread can listen; elsewhere nothing is ever asked.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether somebody wants this process to stop."""
        return self._asked is not None

    def stop(self) -> None:
        """Do what the signal would have done. Raises what the handler before raises."""
        self.__exit__()
        signal.raise_signal(self._asked or signal.SIGINT)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler: Callable[[int, FrameType | None], None] = self._note
            self._before = {one: signal.signal(one, handler) for one in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before if before is not None else signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            self.stop()
        self._asked = number
