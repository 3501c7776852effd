"""CPU seconds by what they were spent on, in one process and all its threads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up CPU seconds under names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count what happens inside under `name`."""
        started = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    @property
    def total(self) -> float:
        """Under all names."""
        return sum(self.seconds.values())
