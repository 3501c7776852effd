"""/get_sequence_logprobs/ decoded as TRL's client decodes it, against rows read by DuckDB."""

import base64
import math
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from tests.serving.running import Row

PATH = "/get_sequence_logprobs/"


def ask(client: httpx.Client, rows: list[Row], **fields: Any) -> httpx.Response:
    """What TRL's client sends."""
    body = {
        "sequences": [row.ids for row in rows],
        "prompt_lengths": [len(row.prompt) for row in rows],
        "top_logprobs": 1,
        "temperature": 0.9,
        "response_format": "binary",
    }
    return client.post(PATH, json=body | fields)


def array(said: dict[str, Any], name: str, dtype: str, width: int) -> npt.NDArray[Any]:
    """An array of [sequences, longest response, width], by the convention of TRL's wire format."""
    count, longest, _ = said["shape"]
    data = base64.b64decode(said[name], validate=True)
    return np.frombuffer(data, dtype).reshape(count, longest, width)


def missing(values: list[float | None]) -> npt.NDArray[np.float32]:
    return np.array([-math.inf if value is None else value for value in values], np.float32)


def test_the_arrays_have_the_stored_log_probs_and_minus_infinity_where_nothing_is_known(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, rows).json()
    longest = max(len(row.response) for row in rows)
    assert said["shape"] == [len(rows), longest, 1]
    assert said["completion_lengths"] == [len(row.response) for row in rows]
    logprobs = array(said, "actual_logprobs_b64", "<f4", 1)[..., 0]
    tokens = array(said, "actual_token_ids_b64", "<i4", 1)[..., 0]
    for row, values, ids in zip(rows, logprobs, tokens, strict=True):
        length = len(row.response)
        np.testing.assert_array_equal(values[:length], missing(row.known))
        assert ids[:length].tolist() == row.response
        assert (values[length:] == -math.inf).all()
        assert (ids[length:] == 0).all()


def test_likely_tokens_that_are_not_stored_have_an_id_no_tensor_can_be_indexed_with(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, rows[:3]).json()
    assert (array(said, "logprobs_b64", "<f4", 1) == -math.inf).all()
    assert (array(said, "token_ids_b64", "<i4", 1) == -1).all()


def test_the_lists_have_the_token_itself_alone(client: httpx.Client, rows: list[Row]) -> None:
    said = ask(client, rows, response_format="json", top_logprobs=0).json()
    for row, values, ids in zip(rows, said["logprobs"], said["logprob_token_ids"], strict=True):
        assert values == [[] if value is None else [value] for value in row.known]
        pairs = zip(row.response, row.known, strict=True)
        assert ids == [[] if value is None else [token] for token, value in pairs]


@pytest.mark.parametrize("format_", ["json", "binary"])
def test_no_sequences_and_sequences_that_are_all_prompt_have_nothing_to_look_up(
    client: httpx.Client, rows: list[Row], format_: str
) -> None:
    options = {"response_format": format_, "top_logprobs": 0}
    assert ask(client, [], **options).status_code == 200
    unstored = ask(
        client,
        [],
        sequences=[[5, 5], rows[0].ids],
        prompt_lengths=[2, len(rows[0].prompt)],
        **options,
    )
    assert unstored.status_code == 200
    if format_ == "binary":
        assert unstored.json()["completion_lengths"] == [0, len(rows[0].response)]
    else:
        assert unstored.json()["logprobs"][0] == []


def test_a_prompt_of_another_length_gets_what_is_known_after_it(
    client: httpx.Client, rows: list[Row]
) -> None:
    row = next(row for row in rows if len(row.prompt) > 1 and len(row.response) > 2)
    shorter, longer = len(row.prompt) - 1, len(row.prompt) + 1
    said = ask(
        client, [row, row], prompt_lengths=[shorter, longer], response_format="json", top_logprobs=0
    ).json()
    known = [[] if value is None else [value] for value in row.positions]
    assert said["logprobs"] == [known[shorter:], known[longer:]]
    assert said["logprobs"][0][0] == []


def test_the_health_of_trl_is_an_object(client: httpx.Client) -> None:
    assert client.get("/health/").json() == {"status": "ok"}


def test_an_unknown_sequence_gets_404_with_its_longest_stored_prefix(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, rows[:2], sequences=[rows[0].ids, [*rows[1].ids[:-1], 4]])
    assert said.status_code == 404
    assert (said.json()["sequence"], said.json()["longest_prefix"]) == (1, len(rows[1].ids) - 1)
    all_prompt, unknown = [5, 5], [*rows[1].ids[:-1], 4]
    said = ask(client, rows[:2], sequences=[all_prompt, unknown], prompt_lengths=[2, 0])
    assert (said.json()["sequence"], said.json()["longest_prefix"]) == (1, len(rows[1].ids) - 1)
    assert "not stored" in said.json()["detail"]


@pytest.mark.parametrize(
    "fields",
    [{"top_logprobs": 2}, {"top_logprobs": None}, {"response_format": "json", "top_logprobs": 1}],
    ids=str,
)
def test_likely_tokens_get_501(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any]
) -> None:
    said = ask(client, rows[:1], **fields)
    assert said.status_code == 501
    assert "likeliest tokens" in said.json()["detail"]


def test_text_gets_501(client: httpx.Client) -> None:
    assert client.post("/generate/", json={"prompts": ["?"]}).status_code == 501
    assert client.post("/chat/", json={"messages": []}).status_code == 501


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sequences": None}, "sequences: expected a list"),
        ({"sequences": "5 6"}, "sequences: expected a list"),
        ({"sequences": [5]}, "expected a list of token ids, found 5"),
        ({"sequences": [[5, 320]]}, "token id 320 is out of vocabulary"),
        ({"prompt_lengths": None}, "prompt_lengths: expected a list"),
        ({"prompt_lengths": []}, "expected one for each of 1 sequences, found 0"),
        ({"prompt_lengths": [-1]}, "prompt_lengths: expected integers from 0"),
        ({"prompt_lengths": [1000]}, "prompt_lengths: expected integers from 0"),
        ({"prompt_lengths": [True]}, "prompt_lengths: expected integers from 0"),
        ({"top_logprobs": -1}, "top_logprobs: expected an integer from 0 on"),
        ({"temperature": -1}, "temperature: expected a number from 0 on"),
        ({"temperature": "warm"}, "temperature: expected a number from 0 on"),
        ({"temperature": True}, "temperature: expected a number from 0 on"),
        ({"response_format": 1}, "response_format: expected a string"),
        (
            {"sequences": [[5] * 40_000, *[[5]] * 4000], "prompt_lengths": [0] * 4001},
            "send long ones apart",
        ),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_malformed_request_gets_400_in_the_shape_of_trl(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any], says: str
) -> None:
    said = ask(client, rows[:1], **fields)
    assert said.status_code == 400
    assert says in said.json()["detail"]
