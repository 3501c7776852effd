"""`lopd-store serve --upstream`: the whole server, over HTTP, as a trainer meets it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.chain import arithmetic, rows_in
from tests.cli.runner import run
from tests.serving.caching_server import REF, caching_server
from tests.serving.live_teacher import LiveTeacher, running
from tests.serving.test_trl import array

ONE, TWO = [5, 6, 7, 8, 9], [11, 12, 13]
ONLY_SCORES = {"max_tokens": 1, "prompt_logprobs": 0}
TOKEN = "upstream-token"  # noqa: S105 - made up


@pytest.fixture
def live() -> Iterator[LiveTeacher]:
    with running(LiveTeacher(token=TOKEN)) as teacher:
        yield teacher


def complete(url: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json=fields, timeout=30)


def test_a_trainer_meets_the_teacher_once_and_the_store_ever_after(
    tmp_path: Path, models: dict[str, Path], live: LiveTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOPD_UPSTREAM_TOKEN", TOKEN)
    with caching_server(tmp_path / "store", models["teacher"], live) as (url, process):
        scored = complete(
            url, model="teacher-model", prompt=[ONE], lopd_prompt_lengths=[2], **ONLY_SCORES
        )
        assert scored.headers["x-lopd-stored"] == "1"
        listed = httpx.get(f"{url}/v1/models", timeout=30).json()["data"]
        assert [entry["id"] for entry in listed] == ["teacher-model", REF]
        generated = complete(url, model="teacher-model", prompt=[ONE], max_tokens=9)
        assert generated.json()["choices"][0]["text"] == "something generated"
        assert "x-lopd-stored" not in generated.headers
        sglang = {
            "input_ids": TWO,
            "sampling_params": {"max_new_tokens": 0},
            "return_logprob": True,
            "logprob_start_len": 1,
        }
        said = httpx.post(f"{url}/generate", json=sglang, timeout=30).json()
        triples = said["meta_info"]["input_token_logprobs"]
        assert triples == [[None, 12, None], [arithmetic(TWO, 2).tolist()[0], 13, None]]
        live.spoil = lambda _: {"object": "list"}
        wrong = complete(url, prompt=[[7, 7]], **ONLY_SCORES)
        assert (wrong.status_code, "another shape" in wrong.text) == (502, True)
        assert "x-lopd-stored" not in wrong.headers
        live.spoil = lambda answer: answer
        live.refusals = [400]
        assert "found status 400" in complete(url, prompt=[[7, 7]], **ONLY_SCORES).text
        assert complete(url, prompt=[[7, 7, 320]], **ONLY_SCORES).status_code == 400
        again = run_again(tmp_path, models["teacher"], live)
        assert (again.code, f"held by process {process.pid}" in again.err) == (1, True)
    assert process.returncode == 0
    store = Store.open(tmp_path / "store")
    rows = rows_in(store, REF).to_pylist()
    assert [(row["prompt_ids"], row["response_ids"]) for row in rows] == [
        (ONE[:2], ONE[2:]),
        (TWO[:2], TWO[2:]),
    ]
    live.refusals = [500] * 100
    asked = len(live.requests)
    with caching_server(tmp_path / "store", models["teacher"], live) as (url, _):
        stored = complete(url, prompt=[ONE], lopd_prompt_lengths=[2], **ONLY_SCORES)
        assert stored.json()["choices"] == scored.json()["choices"]
        trl = {"sequences": [ONE], "prompt_lengths": [3], "top_logprobs": 1}
        trl_reply = httpx.post(
            f"{url}/get_sequence_logprobs/", json=trl | {"response_format": "binary"}, timeout=30
        ).json()
        found = array(trl_reply, "actual_logprobs_b64", "<f4", 1)[0, :, 0]
        np.testing.assert_array_equal(found, arithmetic(ONE, 3))
    assert len(live.requests) == asked
    assert load(store, REF).document.rows == 2
    assert "what a live server answered" in run("show", "--store", tmp_path / "store", REF).out


def run_again(tmp_path: Path, teacher: Path, live: LiveTeacher) -> Any:
    words = ["--upstream", live.url, "--teacher", teacher, "-o", REF, "--port", 0]
    return run("serve", "--store", tmp_path / "store", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--upstream", "http://127.0.0.1:9"], "expected --teacher with it"),
        (["--upstream", "http://127.0.0.1:9", "--teacher", "x"], "expected -o REF with it"),
        (["signal", "--teacher", "x"], "--teacher: expected --upstream URL with it"),
        (["signal", "-o", "x"], "-o: expected --upstream URL with it"),
        ([], "expected at least one signal to serve"),
    ],
    ids=" ".join,
)
def test_options_that_belong_together_are_asked_for(
    tmp_path: Path, words: list[str], says: str
) -> None:
    Store.open(tmp_path / "store", create=True)
    said = run("serve", "--store", tmp_path / "store", *words)
    assert (said.code, says in said.err) == (2, True)
