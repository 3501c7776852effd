"""What a protocol is to the server: request bytes in, reply text out, and nothing about HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lopd_store.serving.answers import Asked, Scored
from lopd_store.serving.protocols.refusal import Refusal
from lopd_store.serving.served import Served


class Question(Protocol):
    """A request that was understood, in its own protocol.

    Law: the reply has no number that `found` has not; what is not known is null, or whatever the
    protocol has for a number that is not there.
    """

    @property
    def asked(self) -> Asked:
        """What it asks for, in no protocol."""
        ...

    def reply(self, found: Sequence[Scored]) -> Iterator[str]:
        """The reply's JSON in parts, about one a sequence, so that others have a turn between.

        Args:
            found: for each of `asked.sequences`, in order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ForLiveModels:
    """A `Question` that nothing stored answers: `asked.generates` says why."""

    asked: Asked

    def reply(self, found: Sequence[Scored]) -> Iterator[str]:  # noqa: ARG002 - there is none
        """There is none."""
        raise AssertionError(self.asked.generates)


class Dialect(Protocol):
    """A protocol's file, as the server uses it."""

    def read(self, body: bytes, served: Served, query: str) -> Question:
        """Understand a request.

        Args:
            body: as it came.
            served: the model's names and vocabulary.
            query: what stood behind `?` in the address.

        Raises:
            RefusedError: it does not say what the protocol wants said.
        """
        ...

    def refuse(self, refusal: Refusal) -> str:
        """The JSON that clients of this protocol look into for what went wrong."""
        ...
