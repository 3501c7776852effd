"""/generate as slime and the Lightning-OPD release ask it, against rows read by DuckDB."""

import json
import math
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.running import Row

# What slime and the Lightning-OPD release send, each field of it.
SCORING = {
    "sampling_params": {"temperature": 1.0, "max_new_tokens": 0, "skip_special_tokens": False},
    "return_logprob": True,
    "logprob_start_len": 0,
}


def ask(client: httpx.Client, path: str = "/generate", **fields: Any) -> httpx.Response:
    return client.post(path, json=SCORING | fields)


def triples(row: Row, start: int = 0) -> list[list[float | int | None]]:
    """SGLang's input_token_logprobs: the first one is null wherever it starts."""
    known = zip([None, *row.positions[start + 1 :]], row.ids[start:], strict=True)
    return [[value, token, None] for value, token in known]


def test_every_row_gets_its_stored_log_probs_and_null_where_nothing_is_known(
    client: httpx.Client, rows: list[Row]
) -> None:
    for row in rows:
        said = ask(client, input_ids=row.ids).json()
        meta = said["meta_info"]
        assert meta["input_token_logprobs"] == triples(row)
        assert (said["text"], said["output_ids"], meta["output_token_logprobs"]) == ("", [], [])
        assert (meta["prompt_tokens"], meta["completion_tokens"]) == (len(row.ids), 0)
        assert meta["finish_reason"] == {"type": "length", "length": 0}


def test_the_lightning_opd_client_gets_its_teacher_log_probs(
    client: httpx.Client, rows: list[Row]
) -> None:
    for row in rows:
        found = ask(client, input_ids=row.ids).json()["meta_info"]["input_token_logprobs"]
        assert [entry[0] for entry in found[1:]][-len(row.response) :] == row.known


def test_slime_makes_floats_of_all_positions_and_needs_nan_for_the_prompt(
    client: httpx.Client, rows: list[Row]
) -> None:
    for row in rows:
        said = ask(client, "/generate?unknown=nan", input_ids=row.ids)
        found = json.loads(said.content)["meta_info"]["input_token_logprobs"]
        floats = np.array([entry[0] for entry in found[1:]], np.float32)[-len(row.response) :]
        expected = [math.nan if value is None else value for value in row.known]
        np.testing.assert_array_equal(floats, np.array(expected, np.float32))


@pytest.mark.parametrize("start", [0, 1, 2, -1])
def test_log_probs_start_where_they_are_asked_to(
    client: httpx.Client, rows: list[Row], start: int
) -> None:
    for row in (row for row in rows if len(row.ids) > 2):
        found = ask(client, input_ids=row.ids, logprob_start_len=start).json()["meta_info"]
        expected = [] if start == -1 else triples(row, start)
        assert found["input_token_logprobs"] == expected


def test_several_sequences_are_answered_in_their_order_each_with_its_options(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(
        client,
        input_ids=[row.ids for row in rows],
        rid=[f"r{number}" for number, _ in enumerate(rows)],
        logprob_start_len=[number % 2 for number, _ in enumerate(rows)],
        top_logprobs_num=[number % 3 for number, _ in enumerate(rows)],
        return_logprob=[True] * len(rows),
        sampling_params=[{"max_new_tokens": 0}] * len(rows),
    ).json()
    for number, (answer, row) in enumerate(zip(said, rows, strict=True)):
        meta = answer["meta_info"]
        assert meta["id"] == f"r{number}"
        assert meta["input_token_logprobs"] == triples(row, number % 2)
        others = [None] * len(meta["input_token_logprobs"]) if number % 3 else None
        assert meta.get("input_top_logprobs") == others


def test_a_list_of_one_sequence_is_answered_with_a_list(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, input_ids=[rows[0].ids], rid="mine").json()
    assert [answer["meta_info"]["id"] for answer in said] == ["mine"]


def test_the_model_is_described_with_the_digest_of_its_weights(client: httpx.Client) -> None:
    for path in ("/get_model_info", "/model_info"):
        info = client.get(path).json()
        assert info["model_path"] == "signal"
        assert info["is_generation"] is True
        assert info["weight_version"] == info["lopd"]["teacher"]["weights_digest"]


def test_an_unknown_sequence_gets_404_with_its_longest_stored_prefix(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, input_ids=[*rows[3].ids, 5])
    assert said.status_code == 404
    error = said.json()["error"]
    assert (error["sequence"], error["longest_prefix"]) == (0, len(rows[3].ids))


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling_params": {"max_new_tokens": 1}},
        {"sampling_params": None},
        {"sampling_params": {}},
        {"sampling_params": [{"max_new_tokens": 0}, {"max_new_tokens": 2}]},
        {"sampling_params": {"max_new_tokens": 0, "n": 2}},
        {"return_logprob": False},
        {"return_logprob": None},
        {"return_logprob": [True, False]},
        {"stream": True},
    ],
    ids=str,
)
def test_what_needs_a_live_model_gets_501(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any]
) -> None:
    said = ask(client, input_ids=rows[0].ids, **fields)
    assert said.status_code == 501
    assert "only a live model" in said.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input_ids": None}, "input_ids: expected a list"),
        ({"input_ids": None, "text": "words"}, "tokenise it and send the ids"),
        ({"input_ids": [5, 320]}, "token id 320 is out of vocabulary"),
        ({"input_ids": [[5], "5"]}, "expected a list of token ids"),
        ({"image_data": ["x"]}, "image_data: expected token ids only"),
        ({"logprob_start_len": 99}, "logprob_start_len: expected at most"),
        ({"logprob_start_len": -2}, "logprob_start_len: expected an integer from -1 on"),
        ({"logprob_start_len": [0, 0]}, "logprob_start_len: expected 1 values, found 2"),
        ({"top_logprobs_num": "2"}, "top_logprobs_num: expected an integer"),
        ({"return_logprob": 1}, "return_logprob: expected true or false"),
        ({"sampling_params": "none"}, "sampling_params: expected an object"),
        ({"sampling_params": {"max_new_tokens": -1}}, "max_new_tokens: expected an integer"),
        ({"rid": 3}, "rid: expected a string"),
        ({"rid": ["a", "b"]}, "rid: expected a string, or 1 of them"),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_malformed_request_gets_400_in_the_shape_of_sglang(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any], says: str
) -> None:
    said = ask(client, **({"input_ids": rows[0].ids} | fields))
    assert said.status_code == 400
    assert says in said.json()["error"]["message"]


def test_another_spelling_of_the_unknown_is_refused(client: httpx.Client, rows: list[Row]) -> None:
    said = ask(client, "/generate?unknown=zero", input_ids=rows[0].ids)
    assert said.status_code == 400
    assert "expected null or nan, found zero" in said.json()["error"]["message"]
