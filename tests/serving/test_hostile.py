"""Requests that mean harm, or make no sense: refused in words, and the next one is answered."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.serving.limits import Limits
from lopd_store.serving.protocols import openai, sglang, trl
from lopd_store.serving.protocols.protocol import Dialect
from lopd_store.serving.protocols.refusal import RefusedError
from lopd_store.serving.served import Served
from tests.serving.running import Row, serving
from tests.train.signals_made import Made

PATHS: Final = {openai.PATH: "prompt", sglang.PATH: "input_ids", trl.PATH: "sequences"}
JSON: Final = {"content-type": "application/json"}
DEEP: Final = 100_000


def body_of(path: str, ids: str) -> bytes:
    """A request of that protocol with these characters where ids should stand."""
    more = {
        openai.PATH: '"max_tokens": 1, "prompt_logprobs": 0',
        sglang.PATH: '"return_logprob": true, "sampling_params": {"max_new_tokens": 0}',
        trl.PATH: '"prompt_lengths": [1], "top_logprobs": 0',
    }
    value = f"[{ids}]" if path == trl.PATH else ids
    return f'{{"{PATHS[path]}": {value}, {more[path]}}}'.encode()


@pytest.fixture(autouse=True)
def _still_answers(client: httpx.Client, rows: list[Row]) -> Iterator[None]:
    """After each test the server still gives a stored row's own numbers."""
    yield
    said = client.post(sglang.PATH, content=body_of(sglang.PATH, str(rows[0].ids)), headers=JSON)
    assert said.status_code == 200


def message(said: httpx.Response) -> str:
    """What went wrong, in whichever protocol's shape."""
    found = said.json()
    return str(found["detail"] if "detail" in found else found["error"]["message"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ("[" * DEEP + "]" * DEEP, "expected JSON"),
        ("[" * DEEP, "expected JSON"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "expected JSON"),
        ("[5, NaN]", "NaN is no number in JSON"),
        ("[5, -Infinity]", "-Infinity is no number in JSON"),
        ("[5, 1e400]", "expected integers only"),
        (f"[5, {'9' * 5000}]", "expected JSON"),
        (f"[5, {'9' * 4000}]", "token id a huge integer is out of vocabulary"),
        ("[5, -1]", "token id -1 is out of vocabulary"),
        ("[5, 2147483648]", "token id 2147483648 is out of vocabulary"),
        ("[5, null]", "expected integers only, found null"),
        ('[5, "6"]', 'expected integers only, found "6"'),
        ("[5, [6]]", "expected integers only, found a list of 1"),
        ('[5, {"a": 6}]', "expected integers only, found an object"),
        ("[5,]", "expected JSON"),
        ("[5] // ids", "expected JSON"),
        ("[5] 6", "expected JSON"),
    ],
    ids=lambda value: f"{value!s:.24}",
)
def test_what_are_no_ids_are_refused(client: httpx.Client, path: str, ids: str, says: str) -> None:
    said = client.post(path, content=body_of(path, ids), headers=JSON)
    assert said.status_code == 400
    assert says in message(said)
    assert len(said.content) < 1000


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "expected JSON in UTF-8"),
        (b"\xff\xfe{\x00}\x00", "expected JSON in UTF-8"),
        (b'{"prompt": "\xc3\x28"}', "expected JSON in UTF-8"),
        (b"[1, 2]", "expected a JSON object, found a list of 2"),
        (b'"words"', 'expected a JSON object, found "words"'),
        (b"null", "expected a JSON object, found null"),
        (b"{" + b" " * 100_000, "expected JSON in UTF-8"),
    ],
    ids=lambda value: f"{value!s:.24}",
)
def test_what_is_no_object_is_refused(
    client: httpx.Client, path: str, body: bytes, says: str
) -> None:
    said = client.post(path, content=body, headers=JSON)
    assert said.status_code == 400
    assert says in message(said)


@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_does_not_say_it_is_json_is_refused(
    client: httpx.Client, rows: list[Row], path: str
) -> None:
    body = body_of(path, str(rows[0].ids))
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "multipart/form-data"}):
        said = client.post(path, content=body, headers=headers)
        assert said.status_code == 400
        assert "content-type: expected application/json" in message(said)
    spelt = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post(path, content=body, headers=spelt).status_code == 200


def test_a_name_of_lone_surrogates_and_control_characters_is_said_back_as_json(
    client: httpx.Client,
) -> None:
    body = b'{"model": "\\ud800\\u0000\\n", "prompt": [5], "max_tokens": 1, "prompt_logprobs": 0}'
    said = client.post(openai.PATH, content=body, headers=JSON)
    assert said.status_code == 404
    assert "\ud800" in message(said)


def test_ten_megabytes_of_ids_get_the_longest_prefix(client: httpx.Client, rows: list[Row]) -> None:
    ids = ",".join(map(str, [*rows[0].ids, *[7] * 5_000_000]))
    body = body_of(sglang.PATH, f"[{ids}]")
    assert len(body) > 10_000_000
    said = client.post(sglang.PATH, content=body, headers=JSON)
    assert said.status_code == 404
    assert f"the first {len(rows[0].ids)} begin" in message(said)


def test_a_body_that_comes_in_chunks_without_a_length_is_read(
    client: httpx.Client, rows: list[Row]
) -> None:
    body = body_of(openai.PATH, str(rows[0].ids))
    chunks = (body[at : at + 7] for at in range(0, len(body), 7))
    said = client.post(openai.PATH, content=chunks, headers=JSON)
    assert said.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_and_paths_are_refused(client: httpx.Client, method: str) -> None:
    assert client.request(method, openai.PATH).status_code == 405
    assert client.request(method, "/v1/embeddings").status_code == 404
    assert client.request(method, "/../../etc/passwd").status_code == 404


@pytest.fixture(scope="module")
def small(made: Made) -> Iterator[str]:
    """A server with room for little."""
    limits = Limits(
        body_bytes=4096, bytes_at_once=6000, body_seconds=0.5, wait_seconds=0.2, idle_seconds=1
    )
    with serving(made.store.root, "signal", limits=limits) as address:
        yield address


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_gets_413(small: str, path: str, *, chunked: bool) -> None:
    body = body_of(path, "[" + "5," * 4000 + "5]")
    content = (body[at : at + 1000] for at in range(0, len(body), 1000)) if chunked else body
    said = httpx.post(f"{small}{path}", content=content, headers=JSON)
    assert said.status_code == 413
    assert "at most 4096 bytes" in message(said)


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def test_a_head_without_end_is_cut_off(url: str) -> None:
    with connected(url) as endless, pytest.raises(ConnectionError):
        send_fields(endless, 10_000)


def send_fields(connection: socket.socket, count: int) -> None:
    """The beginning of a request with so many fields of 4 KiB."""
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
    for number in range(count):
        connection.sendall(b"x-%d: " % number + b"a" * 4096 + b"\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ],
    ids=["negative", "twice", "huge", "TLS"],
)
def test_a_head_that_makes_no_sense_gets_400(url: str, head: bytes) -> None:
    with connected(url) as odd:
        odd.sendall(head)
        assert odd.recv(1000).startswith(b"HTTP/1.1 400 ")


BEGUN = {
    "nothing": b"",
    "a letter": b"P",
    "half a head": b"POST /generate HTTP/1.1\r\nHost: x\r\n",
    "a letter of the second": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nG",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN.keys())
def test_a_connection_on_which_no_request_comes_is_ended(small: str, begun: bytes) -> None:
    with connected(small) as idle:
        idle.sendall(begun)
        while found := idle.recv(1000):
            assert found.startswith(b"HTTP/1.1 200 ")


def test_a_body_that_drips_after_its_answer_is_ended(small: str) -> None:
    with connected(small) as slow:
        slow.sendall(half_of_a_request(1000).replace(b"application/json", b"text/plain"))
        assert slow.recv(1000).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(ConnectionError):
            drip(slow, 900)


def drip(connection: socket.socket, count: int) -> None:
    for _ in range(count):
        connection.sendall(b"x")
        time.sleep(0.02)


def half_of_a_request(length: int) -> bytes:
    return (
        f"POST {sglang.PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f'Content-Length: {length}\r\n\r\n{{"input'.encode()
    )


def test_a_body_that_does_not_come_gets_408(small: str) -> None:
    with connected(small) as slow:
        slow.sendall(half_of_a_request(1000))
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_ends_too_soon_costs_nobody_else_anything(small: str, rows: list[Row]) -> None:
    for _ in range(50):
        with connected(small) as gone:
            gone.sendall(half_of_a_request(4000))
    body = body_of(sglang.PATH, str(rows[0].ids))
    while httpx.post(f"{small}{sglang.PATH}", content=body, headers=JSON).status_code == 503:
        pass
    assert httpx.post(f"{small}{sglang.PATH}", content=body, headers=JSON).status_code == 200


def test_without_room_a_request_waits_and_then_gets_503(small: str, rows: list[Row]) -> None:
    body = body_of(sglang.PATH, str(rows[0].ids)).ljust(3000)
    with connected(small) as slow:
        slow.sendall(half_of_a_request(4000))
        said = httpx.post(f"{small}{sglang.PATH}", content=body, headers=JSON)
        assert said.status_code == 503
        assert "too many requests are under way" in message(said)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert httpx.post(f"{small}{sglang.PATH}", content=body, headers=JSON).status_code == 200


VALUES = st.recursive(
    st.sampled_from([None, True, False, "", "m", "binary", 0, 1, -1, 2, 9, 10, 1.5, 10**30]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)
FIELDS: Final = (
    "model", "prompt", "max_tokens", "echo", "logprobs", "prompt_logprobs", "n", "stream",
    "input_ids", "text", "sampling_params", "return_logprob", "logprob_start_len", "rid",
    "top_logprobs_num", "sequences", "prompt_lengths", "top_logprobs", "temperature",
    "response_format",
)  # fmt: skip
SERVED: Final = Served(names=("m",), artifacts=(), teacher=None, vocab_size=10)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_json_is_understood_or_refused(fields: dict[str, Any]) -> None:
    dialects: tuple[Dialect, ...] = (openai, sglang, trl)
    for dialect in dialects:
        try:
            asked = dialect.read(json.dumps(fields).encode(), SERVED, "").asked
        except RefusedError as error:
            said = json.loads(dialect.refuse(error.refusal))
        else:
            said = (
                [asked.generates] if asked.generates else [len(one.ids) for one in asked.sequences]
            )
        assert all(said)
