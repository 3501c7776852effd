"""The real vLLM server behind a store: the first run pays, the second needs no teacher."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.live_server import NAME, free_port
from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
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


def test_the_first_run_pays_and_the_second_has_the_same_numbers_without_a_server(
    tmp_path: Path, vllm: str, models: dict[str, Path], teacher: Fingerprint
) -> None:
    pool = [list(ids) for ids in sequences(12, seed=1)]
    store = tmp_path / "store"
    live = [entries(complete(vllm, [ids], OBJECTS)[0]) for ids in pool]
    with caching_server(store, models["teacher"], LiveTeacher(url=vllm)) as (url, _):
        first = [complete(url, [ids], OBJECTS)[0] for ids in pool[:6]]
        first += [complete(url, [ids], ECHO)[0] for ids in pool[6:]]
    nobody = LiveTeacher(url=f"http://127.0.0.1:{free_port()}")
    with caching_server(store, models["teacher"], nobody) as (url, _):
        second = complete(url, pool, OBJECTS)
    assert [entries(choice) for choice in first[:6]] == live[:6]
    assert [choice["logprobs"]["token_logprobs"][1:] for choice in first[6:]] == live[6:]
    assert [entries(choice) for choice in second] == live
    (identity,) = load(Store.open(store), REF).identities
    assert identity.imported is not None
    assert identity.imported.asserted.scoring["versions"].startswith("vllm 0.")
    depth = Depth(
        teacher=teacher,
        rescore=12,
        engine=EngineOptions(engine="transformers", dtype="float32"),
    )
    assert verify_artifact(Store.open(store), REF, depth).problems == []
