"""Asking again where the Hub is busy, or breaks off: what only reads may be asked any time."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeVar

Answer = TypeVar("Answer")

_BUSY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
_TRIES: Final = 5
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0
_NOT_TODAY: Final = 600.0  # who is told to wait longer than this is told so, and does not wait


def patiently(ask: Callable[[], Answer]) -> Answer:
    """What the client answers to a question that changes nothing, asked again after a while.

    As long as the Hub says (`Retry-After`), else twice as long each time. Raises what the client
    raises: at once where asking again would not help, and where nothing can be reached at all.
    """
    from huggingface_hub import errors

    for number in range(_TRIES - 1):
        try:
            return ask()
        except errors.HTTPError as error:
            if (wait := seconds_until_again(error, number)) is None:
                raise
            time.sleep(wait)
    return ask()


def seconds_until_again(error: Exception, number: int) -> float | None:
    """How long to wait before asking again, for the n-th time; None where it makes no sense."""
    from huggingface_hub import errors

    later: float = _FIRST_WAIT * 2**number
    if not isinstance(error, errors.HfHubHTTPError):
        return None if "Connect" in type(error).__name__ else later
    if error.response.status_code not in _BUSY:
        return None
    said = seconds_told(error)
    if said is None:
        return later
    return None if said > _NOT_TODAY else min(_LONGEST_WAIT, said)


def seconds_told(error: BaseException) -> float | None:
    """How long the Hub says to wait (`Retry-After`); None where it does not say."""
    said = str(getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", ""))
    return float(said[:20]) if said.isascii() and said.isdigit() else None
