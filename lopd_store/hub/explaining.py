"""The errors of the Hub's client as ours, each with what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, Literal

from lopd_store.errors import (
    FormatError,
    HubError,
    LopdError,
    NotFoundError,
    RefMovedError,
    UsageError,
)
from lopd_store.hub.patience import seconds_told

What = Literal["model", "dataset"]

_LOG_IN: Final = "log in with `hf auth login`, or set HF_TOKEN"
_AGAIN: Final = "run it again: what was sent is not sent twice"
_FULL: Final = (HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 507)
_QUOTA: Final = re.compile(r"quota|storage limit|storage.{0,20}exceed|billing", re.IGNORECASE)
_QUERY: Final = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")
_TOKEN: Final = re.compile(r"hf_[A-Za-z0-9]{6,}")


@contextmanager
def reading(name: str, repo: str, what: What) -> Iterator[None]:
    """Explain what goes wrong inside, where something is asked for.

    What is not there is a NotFoundError; a Hub that does not answer, or not to you, a HubError.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{name}: expected a name the Hub allows: {error}") from error
    except errors.GatedRepoError as error:
        raise NotFoundError(
            f"{name}: the Hub wants you to accept its terms: open its page, then log in with"
            " `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFoundError(f"{name}: the Hub has {repo} but no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"{name}: expected something here of that name or a {what} on the Hub, found neither;"
            " a private one needs `hf auth login`"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise NotFoundError(_unreachable(name)) from error
    except errors.EntryNotFoundError as error:
        raise NotFoundError(f"{name}: the Hub has {repo} but not this file of it") from error
    except (errors.HTTPError, OSError) as error:
        raise _no_answer(name, error) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # an answer as it came
        raise FormatError(
            f"{name}: expected an answer in the Hub's protocol, found another: {in_words(error)}"
        ) from error


def is_away(error: LopdError) -> bool:
    """Whether an error says that nobody could ask the Hub: what was asked for may well be there."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    asked_nobody = (LocalEntryNotFoundError, OfflineModeIsEnabled)
    return isinstance(error, HubError) or isinstance(error.__cause__, asked_nobody)


@contextmanager
def writing(repo: str) -> Iterator[None]:
    """Explain what goes wrong inside, where something is sent.

    A commit on another parent than the head becomes RefMovedError: fetch it, merge, try again.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{repo}: expected a name the Hub allows: {error}") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{repo}: HF_HUB_OFFLINE is set: unset it to publish") from error
    except errors.LocalTokenNotFoundError as error:
        raise HubError(
            f"{repo}: expected a token to publish with, found none: {_LOG_IN}"
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refusal(repo, error) from error
    except (errors.HTTPError, OSError) as error:
        said = in_words(error)
        raise HubError(
            f"{repo}: the Hub cannot be reached: {said}: check the network, then {_AGAIN}"
        ) from error
    except RuntimeError as error:  # what the client makes of any error while it sends a file
        said = "; ".join(in_words(one) for one in (error, error.__cause__) if one)
        raise _unsent(repo, said) from error
    except (KeyError, TypeError, ValueError) as error:  # also: one file of several is refused
        raise _unsent(repo, in_words(error)) from error


def _no_answer(name: str, error: Exception) -> HubError:
    said = in_words(error)
    if _status(error) == HTTPStatus.UNAUTHORIZED:
        return HubError(f"{name}: the Hub does not know your token: {_LOG_IN} ({said})")
    told = seconds_told(error)
    later = "a while" if told is None else f"{told:.0f} seconds, as the Hub says"
    return HubError(f"{name}: the Hub did not answer: {said}; run it again in {later}")


def _refusal(repo: str, error: Exception) -> LopdError:
    status, said = _status(error), in_words(error)
    if status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}:
        return RefMovedError(f"{repo}: somebody published there meanwhile: {said}")
    if status in _FULL or _QUOTA.search(said):
        return _no_room(repo, said)
    if status == HTTPStatus.UNAUTHORIZED:
        return HubError(f"{repo}: the Hub does not know who you are: {_LOG_IN} ({said})")
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return HubError(
            f"{repo}: your token may not write there: take one with write permission to"
            f" {repo.partition('/')[0]}, or name another organisation ({said})"
        )
    return _unsent(repo, said)


def _unsent(repo: str, said: str) -> LopdError:
    if _QUOTA.search(said):
        return _no_room(repo, said)
    return HubError(f"{repo}: the Hub refused or did not answer: {said}; {_AGAIN}")


def _no_room(repo: str, said: str) -> LopdError:
    return HubError(
        f"{repo}: the Hub has no room for this: {said}; free some space, ask for more, publish"
        " to another organisation, or send less (--max-error 2^-12, --no-text)"
    )


def _status(error: BaseException | None) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def in_words(error: BaseException) -> str:
    """What the client says, in one line; without tokens, links that stand for one, and escapes."""
    lines = (line.strip() for line in str(error).splitlines())
    said = "".join(
        one if one.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for one in "; ".join(line for line in lines if line)
    )
    return _QUERY.sub(r"\1?…", _TOKEN.sub("hf_…", said)) or type(error).__name__


def _unreachable(name: str) -> str:
    return (
        f"{name}: not in the local cache, and the Hub cannot be reached: unset HF_HUB_OFFLINE,"
        " check the network, or name something that is here"
    )
