"""Who may ask: a token in the header, and an address that is this machine's own without one."""

from collections.abc import Iterator

import httpx
import pytest

from lopd_store.errors import UsageError
from lopd_store.serving.auth import OPEN, check_reach, is_loopback
from tests.serving.running import EVERYWHERE, Row, serving
from tests.train.signals_made import Made

TOKEN = "a token, of some length"  # noqa: S105 - it opens nothing


@pytest.fixture(scope="module")
def closed(made: Made) -> Iterator[str]:
    with serving(made.store.root, "signal", token=TOKEN) as address:
        yield address


def ask(url: str, row: Row, headers: list[tuple[str, str]]) -> httpx.Response:
    body = {"prompt": row.ids, "max_tokens": 1, "prompt_logprobs": 0}
    return httpx.post(f"{url}/v1/completions", json=body, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", TOKEN)],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {TOKEN}.")],
        [("authorization", f"Bearer {TOKEN[:-1]}")],
        [("authorization", f"Bearer  {TOKEN}")],
        [("authorization", f"Basic {TOKEN}")],
        [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
        [("x-api-key", TOKEN)],
    ],
    ids=str,
)
def test_another_header_than_the_token_gets_401(
    closed: str, rows: list[Row], headers: list[tuple[str, str]]
) -> None:
    said = ask(closed, rows[0], headers)
    assert said.status_code == 401
    assert said.json() == {"error": "Unauthorized"}
    assert said.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_opens_everything(closed: str, rows: list[Row], scheme: str) -> None:
    headers = [("authorization", f"{scheme} {TOKEN}")]
    assert ask(closed, rows[0], headers).status_code == 200
    for path in ("/v1/models", "/metrics", "/version", "/get_model_info"):
        assert httpx.get(closed + path).status_code == 401
        assert httpx.get(closed + path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_is_open_and_says_nothing_else(closed: str, path: str) -> None:
    said = httpx.get(closed + path)
    assert said.status_code == 200
    assert not any(name.startswith("x-lopd") for name in said.headers)
    assert said.text in {"", '{"status": "ok"}'}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        (EVERYWHERE, False),
        ("::", False),
        ("192.0.2.1", False),
    ],
)
def test_only_addresses_of_this_machine_alone_are_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_address_that_others_reach_takes_a_token() -> None:
    check_reach(EVERYWHERE, "secret")
    check_reach("127.0.0.1", None)
    with pytest.raises(UsageError, match="a token in LOPD_SERVE_TOKEN"):
        check_reach(EVERYWHERE, None)
    for blank in ("", "  "):
        with pytest.raises(UsageError, match="found blanks"):
            check_reach("127.0.0.1", blank)
    with pytest.raises(UsageError, match="expected an address of this machine"):
        check_reach("no such host.invalid", None)
