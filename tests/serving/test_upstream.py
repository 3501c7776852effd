"""A live teacher on the wire: asked in each protocol, waited for, believed only when it can be."""

import asyncio
import base64
import gzip
import json
import pickle
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest

from lopd_store.errors import UsageError
from lopd_store.serving.answers import Asked
from lopd_store.serving.readthrough.upstream import UpstreamClient
from lopd_store.serving.readthrough.upstream_http import (
    UpstreamError,
    UpstreamOptions,
    UpstreamTimeoutError,
)
from lopd_store.serving.readthrough.upstream_wire import (
    Question,
    Wanted,
    ask_openai,
    ask_openai_echo,
    ask_sglang,
    ask_trl,
)
from tests.building.chain import arithmetic
from tests.serving.live_teacher import LiveTeacher, running

T = TypeVar("T")
Ask = Callable[[list[Wanted]], Question]

PROTOCOLS: dict[str, Ask] = {
    "prompt_logprobs": lambda wanted: ask_openai(wanted, "teacher-model"),
    "echo": lambda wanted: ask_openai_echo(wanted, "teacher-model"),
    "sglang": ask_sglang,
    "trl": ask_trl,
}
SECRET, WRONG = "not-for-the-log", "nor-is-this"  # made up


@pytest.fixture
def live() -> Iterator[LiveTeacher]:
    with running(LiveTeacher()) as teacher:
        yield teacher


def with_client(
    live: LiveTeacher, work: Callable[[UpstreamClient], Awaitable[T]], **options: Any
) -> T:
    quick = {"first_wait": 0.0, "tries": 3} | options

    async def run() -> T:
        async with UpstreamClient(UpstreamOptions(url=live.url, **quick)) as client:
            return await work(client)

    return asyncio.run(run())


def wanted(*pairs: tuple[list[int], int]) -> list[Wanted]:
    return [Wanted(ids=np.array(ids, np.int32), first=first) for ids, first in pairs]


SOME = wanted(([5, 6, 7, 8], 1), ([9, 5, 300, 2, 2], 3), ([4, 4], 1))


def score(live: LiveTeacher, ask: Ask, what: list[Wanted] = SOME, **options: Any) -> list[Any]:
    return with_client(live, lambda client: client.score(ask(what), what), **options)


@pytest.mark.parametrize("ask", PROTOCOLS.values(), ids=PROTOCOLS)
def test_each_protocol_gives_the_values_of_the_wanted_positions(
    live: LiveTeacher, ask: Ask
) -> None:
    found = score(live, ask)
    for one, values in zip(SOME, found, strict=True):
        assert values.dtype == np.float32
        assert values.tolist() == arithmetic(one.ids.tolist(), one.first).tolist()
    assert len(live.requests) == 1


def test_a_server_that_generates_behind_the_echo_and_knows_no_ids_is_understood(
    live: LiveTeacher,
) -> None:
    def other(answer: Any) -> Any:
        for choice in answer["choices"]:
            lists = choice["logprobs"]
            lists["tokens"] = [f" t{n}" for n, _ in enumerate(lists["tokens"])] + [" more"]
            lists["token_logprobs"].append(-0.5)
        answer["choices"].reverse()
        return answer

    live.spoil = other
    found = score(live, PROTOCOLS["echo"])
    assert found[1].tolist() == arithmetic([9, 5, 300, 2, 2], 3).tolist()


def at(*path: str | int, value: Any) -> Callable[[Any], Any]:
    """An answer with one thing in it changed; a function changes what was there."""

    def spoil(answer: Any) -> Any:
        place = answer
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return answer

    return spoil


def packed(change: Callable[[Any], Any], dtype: str) -> Callable[[str], str]:
    def repack(text: str) -> str:
        array = np.frombuffer(base64.b64decode(text), dtype).copy()
        return base64.b64encode(change(array).tobytes()).decode()

    return repack


def set_first(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[0] = value
        return array

    return change


VLLM = ("choices", 1, "prompt_logprobs")
ECHO = ("choices", 1, "logprobs")
SGLANG = (1, "meta_info", "input_token_logprobs")
DISHONEST: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("prompt_logprobs", "NaN", at(*VLLM, 3, "2", value={"logprob": float("nan")}), "not-finite"),
    ("prompt_logprobs", "-9999", at(*VLLM, 3, "2", "logprob", value=-9999.0), "minus-infinity"),
    ("prompt_logprobs", "above 0", at(*VLLM, 3, "2", "logprob", value=0.01), "above-zero"),
    ("prompt_logprobs", "text", at(*VLLM, 3, "2", "logprob", value="x"), "another shape"),
    ("prompt_logprobs", "null", at(*VLLM, 3, value=None), "another shape"),
    ("prompt_logprobs", "false", at(*VLLM, 3, "2", "logprob", value=False), "expected a number"),
    ("prompt_logprobs", "digits", at(*VLLM, 3, "2", "logprob", value="-1"), "expected a number"),
    ("prompt_logprobs", "other id", at(*VLLM, 3, value={"7": {"logprob": -1.0}}), "shape"),
    ("prompt_logprobs", "short", at(*VLLM, value=lambda entries: entries[:-1]), "positions"),
    ("prompt_logprobs", "long", at(*VLLM, value=lambda entries: [*entries, {}]), "positions"),
    ("prompt_logprobs", "one less", at("choices", value=lambda c: c[:-1]), "3 answers, found 2"),
    ("prompt_logprobs", "twice", at("choices", 1, "index", value=0), "another shape"),
    ("prompt_logprobs", "no choices", lambda _: {"object": "list"}, "another shape"),
    ("prompt_logprobs", "a list", lambda _: [1, 2], "another shape"),
    ("prompt_logprobs", "null alone", lambda _: None, "another shape"),
    ("prompt_logprobs", "no JSON", lambda _: b"<html>", "expected JSON"),
    ("prompt_logprobs", "nested", lambda _: b"[" * 100_000, "expected JSON"),
    ("prompt_logprobs", "huge", lambda _: b" " * (3 << 20), "expected at most"),
    ("prompt_logprobs", "no UTF-8", lambda _: b'{"choices": "\xff"}', "expected JSON"),
    ("echo", "other id", at(*ECHO, "tokens", 4, value="token_id:9"), "wrong-id"),
    ("echo", "short", at(*ECHO, "token_logprobs", value=lambda v: v[:-1]), "wrong-length"),
    ("echo", "false", at(*ECHO, "token_logprobs", 3, value=False), "expected a number"),
    ("echo", "null", at(*ECHO, "token_logprobs", 3, value=None), "another shape"),
    ("echo", "a number", at(*ECHO, "tokens", 4, value=5), "another shape"),
    ("sglang", "other id", at(*SGLANG, 1, 1, value=9), "wrong-id"),
    ("sglang", "half an id", at(*SGLANG, 1, 1, value=lambda token: token + 0.5), "expected ids"),
    ("sglang", "false", at(*SGLANG, 1, 0, value=False), "expected a number"),
    ("sglang", "short", at(*SGLANG, value=lambda entries: entries[:-1]), "wrong-length"),
    ("sglang", "infinite", at(*SGLANG, 1, 0, value=float("-inf")), "not-finite"),
    ("sglang", "enormous", at(*SGLANG, 1, 0, value=-(10**400)), "another shape"),
    ("sglang", "an error", lambda _: {"error": {"message": "no"}}, "found 1"),
    ("trl", "-inf", at("actual_logprobs_b64", value=packed(set_first(-np.inf), "<f4")), "finite"),
    ("trl", "other id", at("actual_token_ids_b64", value=packed(set_first(1), "<i4")), "wrong-id"),
    ("trl", "cut", at("actual_logprobs_b64", value=lambda text: text[:-4]), "another shape"),
    ("trl", "no base64", at("actual_logprobs_b64", value="%%%"), "another shape"),
    ("trl", "lengths", at("completion_lengths", 1, value=1), "2 positions"),
    ("trl", "negative", at("completion_lengths", 1, value=-1), "2 positions"),
    ("trl", "shape", at("shape", value=[3, 10**9, 1]), "another shape"),
    ("trl", "lists", lambda _: {"logprobs": [], "logprob_token_ids": []}, "another shape"),
]


@pytest.mark.parametrize(
    ("protocol", "spoil", "says"),
    [(protocol, spoil, says) for protocol, _, spoil, says in DISHONEST],
    ids=[f"{protocol} {name}" for protocol, name, _, _ in DISHONEST],
)
def test_an_answer_that_cannot_be_right_is_refused(
    live: LiveTeacher, protocol: str, spoil: Callable[[Any], Any], says: str
) -> None:
    live.spoil = spoil
    with pytest.raises(UpstreamError, match=says):
        score(live, PROTOCOLS[protocol])


def test_compressed_answers_are_not_unpacked(live: LiveTeacher) -> None:
    live.headers = {"Content-Encoding": "gzip"}
    live.spoil = lambda answer: gzip.compress(json.dumps(answer).encode())
    with pytest.raises(UpstreamError, match="found compressed"):
        score(live, PROTOCOLS["trl"])


def test_a_redirect_is_not_followed_and_the_token_stays_here(live: LiveTeacher) -> None:
    with running(LiveTeacher()) as far:
        live.refusals = [307]
        live.headers = {"Location": f"{far.url}/v1/completions"}
        with pytest.raises(UpstreamError, match="redirect") as caught:
            score(live, PROTOCOLS["prompt_logprobs"], token=SECRET)
        assert far.requests == []
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503, 0], ids=["too many", "busy", "connection lost"])
def test_what_may_pass_is_tried_again(live: LiveTeacher, status: int) -> None:
    live.refusals = [status, status]
    found = score(live, PROTOCOLS["prompt_logprobs"])
    assert found[2].tolist() == arithmetic([4, 4], 1).tolist()
    assert len(live.requests) == 3


@pytest.mark.parametrize(
    ("status", "says"), [(503, "found status 503"), (0, "found none in 3 tries")]
)
def test_what_does_not_pass_is_given_up_after_so_many_tries(
    live: LiveTeacher, status: int, says: str
) -> None:
    live.refusals = [status] * 9
    with pytest.raises(UpstreamError, match=says) as caught:
        score(live, PROTOCOLS["prompt_logprobs"])
    assert caught.value.http_status == 502
    assert len(live.requests) == 3


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_refusal_is_told_with_its_status_and_not_sent_again(
    live: LiveTeacher, status: int
) -> None:
    live.refusals = [status]
    with pytest.raises(UpstreamError, match=f"found status {status} .*busy"):
        score(live, PROTOCOLS["prompt_logprobs"])
    assert len(live.requests) == 1


def test_a_server_that_does_not_answer_in_time_is_a_timeout(live: LiveTeacher) -> None:
    live.gate.clear()
    with pytest.raises(UpstreamTimeoutError, match=r"expected an answer in 0\.2 s") as caught:
        score(live, PROTOCOLS["prompt_logprobs"], timeout=0.2)
    assert caught.value.http_status == 504


def test_an_answer_that_drips_is_a_timeout_however_often_a_byte_comes(live: LiveTeacher) -> None:
    live.drip = 0.01
    with pytest.raises(UpstreamTimeoutError, match=r"expected an answer in 0\.5 s"):
        score(live, PROTOCOLS["prompt_logprobs"], timeout=0.5)


def test_nobody_there_is_an_error_that_names_the_place() -> None:
    with running(LiveTeacher()) as gone:
        pass
    with pytest.raises(UpstreamError, match=f"the upstream at {gone.url}"):
        score(gone, PROTOCOLS["prompt_logprobs"])


def test_the_token_is_sent_and_a_wrong_one_is_told_without_it(live: LiveTeacher) -> None:
    live.token = SECRET
    score(live, PROTOCOLS["prompt_logprobs"], token=SECRET)
    with pytest.raises(UpstreamError, match="it wants another token") as caught:
        score(live, PROTOCOLS["prompt_logprobs"], token=WRONG)
    assert WRONG not in str(caught.value)
    options = UpstreamOptions(url=live.url, token=SECRET)
    assert SECRET not in repr(options)


def test_a_server_that_repeats_the_token_tells_it_to_nobody(live: LiveTeacher) -> None:
    live.refused_with = {"error": f"no such key: {WRONG}"}
    live.token = SECRET
    with pytest.raises(UpstreamError, match=r"no such key: \[token\]") as caught:
        score(live, PROTOCOLS["prompt_logprobs"], token=WRONG)
    assert WRONG not in str(caught.value)
    asked = Asked(protocol="openai", path="/v1/completions", body=b"{}", sequences=())
    reply = with_client(live, lambda client: client.relay(asked), token=WRONG)
    assert (reply.status, reply.body) == (401, b'{"error": "no such key: [token]"}')
    live.version, live.models = f"1 {SECRET}", [SECRET]
    described = with_client(live, lambda client: client.describe(), token=SECRET)
    assert (described.model, described.versions) == (None, {})


def test_a_type_that_no_header_can_say_is_not_handed_on(live: LiveTeacher) -> None:
    live.media_type = "text/pla\u00efn"
    body = b'{"prompt": [[5]]}'
    asked = Asked(protocol="openai", path="/v1/completions", body=body, sequences=())
    reply = with_client(live, lambda client: client.relay(asked))
    assert reply.media_type == "application/json"


@pytest.mark.parametrize("status", [520, 999])
def test_a_status_that_nobody_knows_is_not_handed_on(live: LiveTeacher, status: int) -> None:
    live.refusals = [status]
    asked = Asked(protocol="openai", path="/v1/completions", body=b"{}", sequences=())
    with pytest.raises(UpstreamError, match=f"found status {status}"):
        with_client(live, lambda client: client.relay(asked))


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "", "x" * 1001, 5, None])
def test_a_model_s_name_that_cannot_be_kept_is_none(live: LiveTeacher, name: Any) -> None:
    live.models = [name]
    assert with_client(live, lambda client: client.describe()).model is None


def test_no_proxy_of_the_environment_is_asked(
    live: LiveTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert len(score(live, PROTOCOLS["prompt_logprobs"])) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"url": "127.0.0.1:8000"},
        {"url": "ftp://host"},
        {"url": "http://user:secret@host"},
        {"url": "http://host?token=secret"},
        {"url": "http://"},
        {"url": "http://host:port"},
        {"url": "http://host", "timeout": 0},
        {"url": "http://host", "tries": 0},
        {"url": "http://host", "token": "two\nlines-secret"},
    ],
    ids=lambda options: " ".join(map(repr, options.values())),
)
def test_options_that_make_no_sense_are_refused_without_repeating_secrets(
    options: dict[str, Any],
) -> None:
    with pytest.raises(UsageError) as caught:
        UpstreamOptions(**options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_as_openai_clients_write_it(live: LiveTeacher, end: str) -> None:
    live.url += end
    assert len(score(live, PROTOCOLS["prompt_logprobs"])) == 3


def test_a_server_says_its_model_and_its_version(live: LiveTeacher) -> None:
    described = with_client(live, lambda client: client.describe())
    assert described.model == "teacher-model"
    assert described.versions == {"vllm": "0.32.0"}


def test_a_server_of_several_models_must_be_told_which(live: LiveTeacher) -> None:
    live.models = ["one", "two"]
    with pytest.raises(UsageError, match="one, two"):
        with_client(live, lambda client: client.describe())
    described = with_client(live, lambda client: client.describe(), model="two")
    assert described.model == "two"


def test_a_server_that_says_nothing_of_itself_is_described_by_nothing(live: LiveTeacher) -> None:
    live.models = live.version = None
    described = with_client(live, lambda client: client.describe())
    assert (described.model, described.versions) == (None, {})


@pytest.mark.parametrize("version", [5, "a\nb", "x" * 101, None])
def test_a_version_that_is_no_word_is_none(live: LiveTeacher, version: Any) -> None:
    live.version = version
    assert with_client(live, lambda client: client.describe()).versions == {}


def test_a_request_to_generate_is_handed_on_byte_for_byte(live: LiveTeacher) -> None:
    body = b'{"model": "teacher-model",  "prompt": [[5, 6]], "max_tokens": 9}'
    asked = Asked(protocol="openai", path="/v1/completions", body=body, sequences=())
    reply = with_client(live, lambda client: client.relay(asked))
    assert (reply.status, reply.stored) == (200, False)
    assert b"something generated" in reply.body
    assert live.requests == [("/v1/completions", json.loads(body))]


def test_errors_of_the_upstream_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UpstreamTimeoutError("late")))  # noqa: S301 - our own
    assert isinstance(error, UpstreamTimeoutError)
    assert (error.http_status, error.exit_code) == (504, 7)
