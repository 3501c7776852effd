"""/v1/completions through OpenAI's own client, against rows read by DuckDB."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import httpx
import openai
import pytest

from tests.serving.running import Row


@pytest.fixture(scope="module")
def stock(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def by_token(row: Row) -> list[dict[str, Any] | None]:
    """vLLM's prompt_logprobs with what is not stored left out."""
    return [
        None
        if value is None
        else {str(token): {"logprob": value, "rank": None, "decoded_token": None}}
        for token, value in zip(row.ids, row.positions, strict=True)
    ]


@pytest.mark.parametrize("likely", [0, 1, 20, -1])
def test_prompt_logprobs_are_the_stored_ones_and_null_where_nothing_is_known(
    stock: openai.OpenAI, rows: list[Row], likely: int
) -> None:
    for row in rows:
        said = stock.completions.create(
            model="signal",
            prompt=row.ids,
            max_tokens=1,
            temperature=0,
            extra_body={"prompt_logprobs": likely, "return_token_ids": True},
        )
        (choice,) = said.choices
        extra = choice.model_extra
        assert extra is not None
        assert extra["prompt_logprobs"] == by_token(row)
        assert (extra["prompt_token_ids"], extra["token_ids"]) == (row.ids, [])
        assert (choice.text, choice.finish_reason, choice.logprobs) == ("", "length", None)
        assert said.usage is not None
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (len(row.ids), 0)


@pytest.mark.parametrize("generated", [0, 1])
def test_echo_gives_the_lists_of_openai_with_a_null_for_a_token_that_clients_cut_off(
    stock: openai.OpenAI, rows: list[Row], generated: int
) -> None:
    for row in rows:
        said = stock.completions.create(
            model="signal", prompt=row.ids, max_tokens=generated, echo=True, logprobs=1
        )
        lists = said.choices[0].logprobs
        assert lists is not None
        assert lists.tokens is not None
        names = [f"token_id:{token}" for token in row.ids]
        assert lists.tokens == names + [""] * generated
        assert lists.token_logprobs == row.positions + [None] * generated
        assert (
            lists.top_logprobs
            == [
                None if value is None else {name: value}
                for name, value in zip(names, row.positions, strict=True)
            ]
            + [None] * generated
        )
        starts = [0, *accumulate(map(len, lists.tokens[:-1]))]
        assert lists.text_offset == starts


def test_several_prompts_are_answered_in_their_order(stock: openai.OpenAI, rows: list[Row]) -> None:
    wanted = [*rows[::-1], rows[0]]
    said = stock.completions.create(
        model="signal",
        prompt=[row.ids for row in wanted],
        max_tokens=1,
        extra_body={"prompt_logprobs": 0},
    )
    assert [choice.index for choice in said.choices] == list(range(len(wanted)))
    for choice, row in zip(said.choices, wanted, strict=True):
        assert choice.model_extra is not None
        assert choice.model_extra["prompt_logprobs"] == by_token(row)


def test_an_answer_says_whose_numbers_it_has_and_that_they_are_stored(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, prompt=rows[0].ids)
    card = client.get("/v1/models").json()["data"][0]
    assert said.headers["x-lopd-stored"] == "1"
    assert said.headers["x-lopd-teacher"] == card["lopd"]["teacher"]["weights_digest"]
    assert said.headers["x-lopd-artifacts"] == card["lopd"]["artifacts"][0]["id"]
    assert (card["id"], card["object"], card["lopd"]["rows"]) == ("signal", "model", len(rows))


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "signal", "max_tokens": 1, "prompt_logprobs": 0, **fields}
    return client.post("/v1/completions", json=body)


def test_a_model_that_is_not_served_is_refused_as_vllm_does(
    stock: openai.OpenAI, client: httpx.Client, rows: list[Row]
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        stock.completions.create(
            model="other", prompt=rows[0].ids, max_tokens=1, extra_body={"prompt_logprobs": 0}
        )
    assert caught.value.body == {
        "message": "The model `other` does not exist. Valid aliases: signal.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    assert ask(client, prompt=rows[0].ids, model=None).json()["model"] == "signal"


def test_an_unknown_sequence_gets_404_with_its_longest_stored_prefix(
    client: httpx.Client, rows: list[Row]
) -> None:
    said = ask(client, prompt=[rows[0].ids, rows[1].ids[:-1]])
    assert said.status_code == 404
    error = said.json()["error"]
    assert (error["type"], error["code"]) == ("NotFoundError", 404)
    assert (error["sequence"], error["longest_prefix"]) == (1, len(rows[1].ids) - 1)
    assert "x-lopd-stored" not in said.headers


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 2},
        {"max_tokens": None},
        {"prompt_logprobs": None},
        {"prompt_logprobs": None, "logprobs": 1},
        {"logprobs": 1},
        {"stream": True},
        {"n": 2},
        {"use_beam_search": True},
        {"prompt_embeds": "AAAA"},
    ],
    ids=str,
)
def test_what_needs_a_live_model_gets_501(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any]
) -> None:
    said = ask(client, prompt=rows[0].ids, **fields)
    assert said.status_code == 501
    assert said.json()["error"]["type"] == "NotImplementedError"
    assert "only a live model" in said.json()["error"]["message"]


def test_a_chat_gets_501(stock: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        stock.chat.completions.create(model="signal", messages=[{"role": "user", "content": "?"}])
    assert caught.value.status_code == 501


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": "text"}, "tokenise it and send the ids"),
        ({"prompt": ["text", "more"]}, "tokenise it and send the ids"),
        ({"prompt": []}, "at least one sequence"),
        ({"prompt": None}, "expected a list"),
        ({"prompt": [[5], []]}, "expected a list of token ids, found a list of 0"),
        ({"prompt": [[5], 5]}, "expected a list of token ids, found 5"),
        ({"prompt": [5, [5]]}, "expected integers only"),
        ({"prompt": [5, True]}, "expected integers only, found true"),
        ({"prompt": [5, 6.0]}, "expected integers only, found 6.0"),
        ({"prompt": [5, -1]}, "token id -1 is out of vocabulary: expected 0 to 319"),
        ({"prompt": [5, 320]}, "token id 320 is out of vocabulary"),
        ({"prompt": [5, 2**63]}, "token id 9223372036854775808 is out of vocabulary"),
        ({"prompt": [5, 10**300]}, "token id a huge integer is out of vocabulary"),
        ({"prompt": [[5]] * 5000}, "at most 4096 sequences"),
        ({"prompt": {"a": 1}}, "found an object"),
        ({"prompt_logprobs": -2}, "prompt_logprobs: expected an integer from -1 on, found -2"),
        ({"prompt_logprobs": "0"}, "prompt_logprobs: expected an integer"),
        ({"prompt_logprobs": True}, "prompt_logprobs: expected an integer"),
        ({"max_tokens": -1}, "max_tokens: expected an integer from 0 on"),
        ({"max_tokens": 1.0}, "max_tokens: expected an integer"),
        ({"echo": 1}, "echo: expected true or false"),
        ({"model": 3}, "model: expected a string"),
        ({"truncate_prompt_tokens": 3}, "truncate_prompt_tokens: expected none"),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_malformed_request_gets_400_in_the_shape_of_openai(
    client: httpx.Client, rows: list[Row], fields: dict[str, Any], says: str
) -> None:
    said = ask(client, **({"prompt": rows[0].ids} | fields))
    assert said.status_code == 400
    error = said.json()["error"]
    assert says in error["message"]
    assert (error["type"], error["param"], error["code"]) == (
        "BadRequestError",
        next(iter(fields)),
        400,
    )
