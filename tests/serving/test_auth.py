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
    for odd in ("secret\n", " secret", "geheim\u00e4", "\udcff", "a\x1bb"):
        with pytest.raises(UsageError, match="expected printable ASCII") as caught:
            check_reach("127.0.0.1", odd)
        assert odd not in str(caught.value)
    with pytest.raises(UsageError, match="expected an address of this machine"):
        check_reach("no such host.invalid", None)


NEAR = (
    *("127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "[::1]", "192.0.2.7:80", "localhost:9000"),
    *("LOCALHOST", "gpu-box:8000", "a.localhost", "host.docker.internal:8000", ""),
)
FAR = (
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "1.2.3.4.5"),
    *("localhost.evil.example", "evil.example."),
)


@pytest.mark.parametrize("host", NEAR)
def test_without_a_token_addresses_and_local_names_are_answered(url: str, host: str) -> None:
    assert httpx.get(f"{url}/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", FAR)
def test_without_a_token_a_name_that_leads_here_is_not_answered(
    url: str, rows: list[Row], host: str
) -> None:
    """What a page in a browser can do once its owner's name has this machine's address."""
    for path in ("/v1/models", "/metrics", "/get_model_info"):
        said = httpx.get(url + path, headers={"host": host})
        assert said.status_code == 421
        assert "expected an address or localhost" in said.json()["error"]
        assert not any(name.startswith("x-lopd") for name in said.headers)
    assert ask(url, rows[0], [("host", host)]).status_code == 421
    assert httpx.get(f"{url}/health", headers={"host": host}).status_code == 200


def test_with_a_token_the_server_may_have_any_name(closed: str, rows: list[Row]) -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("host", "teacher.example")]
    assert ask(closed, rows[0], headers).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_page_elsewhere_can_post_nothing_without_asking_first(url: str, kind: str | None) -> None:
    """Browsers send these types to anybody; for JSON they ask first, and are told no."""
    headers = {"origin": "https://evil.example"} | ({"content-type": kind} if kind else {})
    said = httpx.post(f"{url}/generate", content=b'{"input_ids": [5]}', headers=headers)
    assert said.status_code == 400
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    said = httpx.options(f"{url}/generate", headers=asked)
    assert said.status_code == 405
    assert not any(name.startswith("access-control") for name in said.headers)
