"""What a long job tells whoever is waiting for it."""

from typing import Protocol


class Progress(Protocol):
    """Receives counts and messages; must not raise.

    A job calls `begin` once, then `advance` after each chunk; `say` may come at any time.
    """

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        """A job of `total_tokens` starts, `done_tokens` of them done by an earlier run."""

    def advance(self, tokens: int) -> None:
        """`tokens` more are safely on disk."""

    def say(self, message: str) -> None:
        """Something a person wants to know, in one line."""


class Silence:
    """A Progress that shows nothing."""

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        """See Progress."""

    def advance(self, tokens: int) -> None:
        """See Progress."""

    def say(self, message: str) -> None:
        """See Progress."""
