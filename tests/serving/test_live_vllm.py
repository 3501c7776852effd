"""The real vLLM server and the replay server, asked the same: the documented nulls differ alone.

The signal is what that server said of each row, one request a row. Asked again in the same way it
says the same to the last bit, so nothing here needs a tolerance but batches: which sequences share
a step moves the last bits of a live answer.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from benchmarks.live_server import NAME
from lopd_store.engines.protocol import Floats, Sequences
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import Arithmetic, build_signal, publish_rollouts, random_rows
from tests.serving.running import Row, serving, stored_rows
from tests.serving.test_trl import array

pytestmark = pytest.mark.engine

ROWS = 12
BATCHED = 1e-4  # nats, float32: which sequences share a step


@dataclass
class FromServer(Arithmetic):
    """A scorer that asks a live server, one sequence a request."""

    url: str = ""

    def score(self, sequences: Sequences) -> list[Floats]:
        found = []
        for number in range(len(sequences)):
            ids = sequences.ids(number).tolist()
            start = len(ids) - int(sequences.response_lengths[number])
            entries = complete(self.url, prompt=ids, prompt_logprobs=0)["prompt_logprobs"]
            pairs = zip(ids[start:], entries[start:], strict=True)
            values = [entry[str(token)]["logprob"] for token, entry in pairs]
            found.append(np.array(values, np.float32))
        return found


def complete(url: str, **fields: Any) -> Any:
    body = {"max_tokens": 1, "temperature": 0, **fields}
    said = httpx.post(f"{url}/v1/completions", json=body, timeout=120)
    assert said.status_code == 200, said.text
    (choice,) = said.json()["choices"]
    return choice


@dataclass(frozen=True, kw_only=True)
class Both:
    """A live server, the replay server of what it said, stock clients of both, and the rows."""

    live_url: str
    replay_url: str
    live: openai.OpenAI
    replay: openai.OpenAI
    rows: list[Row]


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, vllm: str, teacher: Fingerprint, student: Fingerprint
) -> Iterator[Both]:
    store = Store.open(tmp_path_factory.mktemp("live") / "store", create=True, sync=no_sync)
    publish_rollouts(store, student, [random_rows(ROWS, seed=3, longest=60)])
    with ExitStack() as open_until:
        build_signal(store, teacher, scorer=FromServer(url=vllm))
        replay_url = open_until.enter_context(serving(store.root, "signal", names=[NAME]))
        live, replay = (
            open_until.enter_context(
                openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            )
            for url in (vllm, replay_url)
        )
        yield Both(
            live_url=vllm,
            replay_url=replay_url,
            live=live,
            replay=replay,
            rows=stored_rows(store, "signal"),
        )


def only_the_token_itself(entry: dict[str, Any] | None, token: int) -> dict[str, Any] | None:
    """A live position as the replay server documents it: no rank, no text, no other tokens."""
    if entry is None:
        return None
    value = entry[str(token)]["logprob"]
    return {str(token): {"logprob": value, "rank": None, "decoded_token": None}}


def with_documented_nulls(choice: dict[str, Any], row: Row) -> dict[str, Any]:
    """A live choice with everything null that docs/serving.md says is not stored."""
    found = dict(choice)
    start, end = len(row.prompt), len(row.ids)
    tail = zip(found["prompt_logprobs"][start:], row.response, strict=True)
    found["prompt_logprobs"] = [None] * start + [only_the_token_itself(*pair) for pair in tail]
    if found["token_ids"] is not None:
        found["token_ids"] = []
    if found["logprobs"] is not None:
        lists = dict(found["logprobs"])
        generated = len(lists["tokens"]) - end
        lists["tokens"] = lists["tokens"][:end] + [""] * generated
        known = lists["token_logprobs"][start:end]
        lists["token_logprobs"] = [None] * start + known + [None] * generated
        names = lists["tokens"][start:end]
        top = [{name: value} for name, value in zip(names, known, strict=True)]
        lists["top_logprobs"] = [None] * start + top + [None] * generated
        found["logprobs"] = lists
    found["text"] = ""
    del found["routed_experts"]
    return found


@pytest.mark.parametrize("likely", [0, 3])
def test_prompt_logprobs_are_the_same_through_the_stock_client(both: Both, likely: int) -> None:
    for row in both.rows:
        said = [
            client.completions.create(
                model=NAME,
                prompt=row.ids,
                max_tokens=1,
                temperature=0,
                extra_body={"prompt_logprobs": likely, "return_token_ids": True},
            )
            for client in (both.live, both.replay)
        ]
        live, replay = (one.choices[0].model_dump() for one in said)
        assert replay == with_documented_nulls(live, row)
        assert live["prompt_logprobs"] != replay["prompt_logprobs"]
        prompts = [one.usage.prompt_tokens for one in said if one.usage]
        assert prompts == [len(row.ids), len(row.ids)]


@pytest.mark.parametrize("generated", [0, 1])
@pytest.mark.parametrize("likely", [0, 2])
def test_echoed_logprobs_are_the_same_through_the_stock_client(
    both: Both, generated: int, likely: int
) -> None:
    for row in both.rows:
        live, replay = (
            client.completions.create(
                model=NAME,
                prompt=row.ids,
                max_tokens=generated,
                temperature=0,
                echo=True,
                logprobs=likely,
                extra_body={"return_tokens_as_token_ids": True},
            )
            .choices[0]
            .model_dump()
            for client in (both.live, both.replay)
        )
        assert replay == with_documented_nulls(live, row)


def test_a_batch_has_the_same_numbers_up_to_the_noise_of_batching(both: Both) -> None:
    live, replay = (
        client.completions.create(
            model=NAME,
            prompt=[row.ids for row in both.rows],
            max_tokens=1,
            temperature=0,
            extra_body={"prompt_logprobs": 0},
        ).choices
        for client in (both.live, both.replay)
    )
    for row, one, other in zip(both.rows, live, replay, strict=True):
        assert one.index == other.index
        expected, found = (response_values(choice.model_extra, row) for choice in (one, other))
        np.testing.assert_allclose(found, expected, atol=BATCHED, rtol=0)


def response_values(extra: dict[str, Any] | None, row: Row) -> list[float]:
    assert extra is not None
    entries = extra["prompt_logprobs"][len(row.prompt) :]
    pairs = zip(entries, row.response, strict=True)
    return [entry[str(token)]["logprob"] for entry, token in pairs]


def test_sglangs_and_trls_clients_get_the_numbers_of_the_live_server(both: Both) -> None:
    """Both serve vLLM's or their own prompt log-probs; here their wire formats carry vLLM's."""
    for row in both.rows:
        entries = complete(both.live_url, prompt=row.ids, prompt_logprobs=0)
        live = response_values(entries, row)
        scoring = {"sampling_params": {"max_new_tokens": 0}, "return_logprob": True}
        said = httpx.post(
            f"{both.replay_url}/generate",
            json={"input_ids": row.ids, "logprob_start_len": 0, **scoring},
        ).json()
        triples = said["meta_info"]["input_token_logprobs"][1:][-len(row.response) :]
        assert [entry[0] for entry in triples] == live
        arrays = httpx.post(
            f"{both.replay_url}/get_sequence_logprobs/",
            json={
                "sequences": [row.ids],
                "prompt_lengths": [len(row.prompt)],
                "top_logprobs": 1,
                "temperature": 1.0,
                "response_format": "binary",
            },
        ).json()
        values = array(arrays, "actual_logprobs_b64", "<f4", 1)[0, :, 0]
        np.testing.assert_array_equal(values, np.array(live, np.float32))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"prompt": [5, 320]},
        {"prompt": [5, -1]},
        {"prompt": []},
        {"prompt": [[5], []]},
        {"prompt": None},
        {"prompt_logprobs": -2},
        {"prompt_logprobs": "0"},
        {"echo": []},
    ],
    ids=str,
)
def test_both_refuse_the_same_requests_with_the_same_status_and_shape(
    both: Both, fields: dict[str, Any]
) -> None:
    body = {"prompt": both.rows[0].ids, "max_tokens": 1, "prompt_logprobs": 0, **fields}
    live, replay = (
        httpx.post(f"{url}/v1/completions", json=body, timeout=60)
        for url in (both.live_url, both.replay_url)
    )
    assert replay.status_code == live.status_code
    assert replay.json()["error"].keys() == live.json()["error"].keys()
    for said in (live, replay):
        assert said.json()["error"]["code"] == said.status_code


def test_the_models_page_is_understood_by_the_stock_client(both: Both) -> None:
    live, replay = (client.models.list().data for client in (both.live, both.replay))
    assert [card.id for card in live] == [card.id for card in replay] == [NAME]


def test_both_are_healthy_in_the_same_way(both: Both) -> None:
    for url in (both.live_url, both.replay_url):
        said = httpx.get(f"{url}/health")
        assert (said.status_code, said.content) == (200, b"")
        assert isinstance(httpx.get(f"{url}/version").json()["version"], str)
