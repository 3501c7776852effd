"""What a long job tells whoever is waiting for it."""

from typing import Protocol


class Progress(Protocol):
    """Receives counts and messages; must not raise.

    A stretch of work calls `begin` or `begin_transfer` once, then `advance` as it goes; `say` may
    come at any time.
    """

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        """A job of `total_tokens` starts, `done_tokens` of them done by an earlier run."""

    def begin_transfer(self, *, total_bytes: int, done_bytes: int) -> None:
        """A transfer of `total_bytes` starts, `done_bytes` of them done by an earlier run."""

    def advance(self, amount: int, /) -> None:
        """So many tokens, or bytes of a transfer, more are done, and will not be done again."""

    def say(self, message: str) -> None:
        """Something a person wants to know, in one line."""


class Silence:
    """A Progress that shows nothing."""

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        """See Progress."""

    def begin_transfer(self, *, total_bytes: int, done_bytes: int) -> None:
        """See Progress."""

    def advance(self, amount: int, /) -> None:
        """See Progress."""

    def say(self, message: str) -> None:
        """See Progress."""
