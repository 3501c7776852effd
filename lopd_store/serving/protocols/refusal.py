"""A request that gets no numbers, and why; each protocol says it in its own shape."""

from dataclasses import dataclass
from http import HTTPStatus

from lopd_store.errors import LopdError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An HTTP error in the making.

    Attributes:
        status: 400, 401, 404, 408, 413, 501, 502 or 503.
        message: what was expected and what was found.
        param: the field of the request that it is about, if one is.
        sequence: which sequence of the request is not stored, from 0.
        longest_prefix: the largest k such that its first k ids are those of a stored sequence.
    """

    status: HTTPStatus
    message: str
    param: str | None = None
    sequence: int | None = None
    longest_prefix: int | None = None


class RefusedError(LopdError):
    """A request cannot be answered; carries what is sent instead."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal

    def __reduce__(self) -> tuple[object, ...]:
        return RefusedError, (self.refusal,)


def malformed(message: str, *, param: str | None = None) -> RefusedError:
    """The error for a request that does not say what its protocol wants said."""
    return RefusedError(Refusal(status=HTTPStatus.BAD_REQUEST, message=message, param=param))


def missing(number: int, *, ids: int, longest_prefix: int) -> RefusedError:
    """The error for sequence `number` of a request, of so many ids, that nobody has stored."""
    return RefusedError(
        Refusal(
            status=HTTPStatus.NOT_FOUND,
            message=f"sequence {number} is not stored: of its {ids} ids, the first"
            f" {longest_prefix} begin a stored sequence",
            sequence=number,
            longest_prefix=longest_prefix,
        )
    )


def unable(why: str) -> RefusedError:
    """The error for a request that only a live model can answer."""
    return RefusedError(
        Refusal(
            status=HTTPStatus.NOT_IMPLEMENTED,
            message=f"only a live model can answer this, and this server reads a store: {why}",
        )
    )
