"""Questions to the Hub that change nothing: bounded in bytes, pages and time, whatever it answers.

The client's own functions follow pages for ever, wait as long as they are told, unpack what is
packed, and take a header for the name of a file. So what is read is asked here, through the
client's session: its proxies, endpoint, token and errors count.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from lopd_store.errors import FormatError, HubError
from lopd_store.hub.client import LIBRARY
from lopd_store.hub.explaining import What
from lopd_store.hub.patience import patiently

SILENCE: Final = 30.0  # seconds without a byte
_BYTES: Final = 64 << 20  # of one answer in JSON
_PAGES: Final = 2000
_SECONDS: Final = 600.0  # for all pages of one question


@contextmanager
def answer(
    url: str, *, headers: Mapping[str, str] | None = None, token: bool = True
) -> Iterator[Any]:
    """What an address answers, its body not read yet. Raises what the client raises."""
    from huggingface_hub.utils import build_hf_headers, get_session

    asked = {
        **build_hf_headers(library_name=LIBRARY, token=None if token else False),
        "Accept-Encoding": "identity",
        **(headers or {}),
    }
    with get_session().stream("GET", url, headers=asked, timeout=SILENCE) as response:
        yield response


def raise_for_status(response: Any) -> None:
    """The client's error for an answer that says no; of its body nothing is read."""
    from huggingface_hub.utils import hf_raise_for_status

    if response.is_error:
        told = {key: one for key, one in response.headers.items() if not key.startswith("content-")}
        bare = type(response)(response.status_code, headers=told, request=response.request)
        hf_raise_for_status(bare)


def ask(path: str) -> Any:
    """What `/api/…` answers in JSON.

    Raises:
        FormatError: an answer that is none, or too long.
        HubError: it takes too long.
        Exception: what the client raises; see `explaining.reading`.
    """
    deadline = time.monotonic() + _SECONDS
    return patiently(lambda: _asked(_address(path), deadline))[0]


def entries(path: str, *, most: int) -> Iterator[dict[str, Any]]:
    """What `/api/…` lists, page by page. Raises as `ask`; FormatError for more than `most`."""
    deadline, url, count = time.monotonic() + _SECONDS, _address(path), 0
    for _ in range(_PAGES):
        page, following = patiently(lambda url=url: _asked(url, deadline))  # type: ignore[misc]
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
            raise FormatError(f"{path}: expected a list of objects, found {page!r:.80}")
        count += len(page)
        if count > most:
            raise FormatError(f"{path}: expected at most {most} entries, found more")
        yield from page
        if following is None:
            return
        if not page:
            raise FormatError(f"{path}: expected entries on each page, found one without any")
        url = following
    raise FormatError(f"{path}: expected at most {_PAGES} pages, found more")


def file_address(repo: str, path: str, *, what: What, commit: str) -> str:
    """Where the bytes of a file are."""
    from huggingface_hub import constants

    kind = "" if what == "model" else f"{what}s/"
    return f"{constants.ENDPOINT}/{kind}{repo}/resolve/{commit}/{quote(path)}"


def _address(path: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/api/{path}"


def _asked(url: str, deadline: float) -> tuple[Any, str | None]:
    """One answer, and the address of the page after it."""
    data = bytearray()
    with answer(url, token=_is_ours(url)) as response:
        raise_for_status(response)
        for block in response.iter_raw():
            data += block
            if len(data) > _BYTES:
                raise FormatError(f"{url}: expected at most {_BYTES} bytes, found more")
            if time.monotonic() > deadline:
                raise HubError(f"{url}: expected an answer in {_SECONDS:.0f} seconds, found none")
        following = response.links.get("next", {}).get("url")
    try:
        return json.loads(data), None if following is None else urljoin(url, following)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{url}: expected JSON, found {bytes(data[:40])!r}: {error}") from error


def _is_ours(url: str) -> bool:
    """Whether an address is at the endpoint, to which the token belongs."""
    from huggingface_hub import constants

    return urlsplit(url)[:2] == urlsplit(str(constants.ENDPOINT))[:2]
