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
            if (wait := _wait(error, number)) is None:
                raise
            time.sleep(wait)
    return ask()


def _wait(error: Exception, number: int) -> float | None:
    """Seconds until it makes sense to ask again; None where it does not."""
    from huggingface_hub import errors

    later = _FIRST_WAIT * 2**number
    if not isinstance(error, errors.HfHubHTTPError):
        return None if "Connect" in type(error).__name__ else later
    if error.response.status_code not in _BUSY:
        return None
    said = str(error.response.headers.get("Retry-After", ""))
    return min(_LONGEST_WAIT, float(said)) if said.isascii() and said.isdigit() else later
