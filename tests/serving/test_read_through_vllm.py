"""The real vLLM server behind a store: the first run pays, the second needs no teacher."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.live_server import NAME, vllm_server
from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions
from lopd_store.identity.model import fingerprint
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.models import save_model
from tests.serving.caching_server import REF, caching_server, sequences
from tests.serving.live_teacher import LiveTeacher

pytestmark = pytest.mark.engine

ECHO = {"echo": True, "logprobs": 0, "max_tokens": 0}
OBJECTS = {"prompt_logprobs": 0, "max_tokens": 1}


def complete(url: str, prompt: list[list[int]], form: dict[str, int]) -> list[Any]:
    body = {"model": NAME, "prompt": prompt, "temperature": 0, **form}
    said = httpx.post(f"{url}/v1/completions", json=body, timeout=120)
    assert said.status_code == 200, said.text
    return list(said.json()["choices"])


def entries(choice: Any) -> list[float]:
    return [next(iter(entry.values()))["logprob"] for entry in choice["prompt_logprobs"][1:]]


def test_the_first_run_pays_and_with_vllm_stopped_the_second_has_the_same_numbers(
    tmp_path: Path,
) -> None:
    model = save_model(tmp_path / "teacher", seed=1)
    pool = [list(ids) for ids in sequences(12, seed=1)]
    store = tmp_path / "store"
    with vllm_server(model, tmp_path / "log") as url:
        vllm = LiveTeacher(url=url)
        live = [entries(complete(url, [ids], OBJECTS)[0]) for ids in pool]
        with caching_server(store, model, vllm) as (cache, _):
            first = [complete(cache, [ids], OBJECTS)[0] for ids in pool[:6]]
            first += [complete(cache, [ids], ECHO)[0] for ids in pool[6:]]
    with caching_server(store, model, vllm) as (cache, _):
        second = complete(cache, pool, OBJECTS)
    assert [entries(choice) for choice in first[:6]] == live[:6]
    assert [choice["logprobs"]["token_logprobs"][1:] for choice in first[6:]] == live[6:]
    assert [entries(choice) for choice in second] == live
    (identity,) = load(Store.open(store), REF).identities
    assert identity.imported is not None
    assert identity.imported.asserted.scoring["versions"].startswith("vllm 0.")
    depth = Depth(
        teacher=fingerprint(str(model)),
        rescore=12,
        engine=EngineOptions(engine="transformers", dtype="float32"),
    )
    assert verify_artifact(Store.open(store), REF, depth).problems == []
