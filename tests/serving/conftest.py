"""Tiny models and stores; a store with signals, and a server that answers from one of them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from benchmarks.live_server import vllm_server
from lopd_store.artifacts import load
from tests.building.chain import publish, rows_in
from tests.building.fixtures import built, models, origin, root, signal, store, student, teacher
from tests.models import MAX_POSITIONS
from tests.serving.running import Row, serving, stored_rows
from tests.train.signals_made import Made, make_signals

__all__ = ["built", "models", "origin", "root", "signal", "store", "student", "teacher"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """`signal`, whose every third position is masked; `shifted`, the same rows a nat lower."""
    made = make_signals(tmp_path_factory.mktemp("served"), rows=40, masked=True)
    batch = pa.concat_batches(rows_in(made.store, "signal").to_batches())
    index = batch.schema.get_field_index("teacher_logprobs")
    lower = [[value and value - 1 for value in row] for row in batch.column(index).to_pylist()]
    batch = batch.set_column(
        index, "teacher_logprobs", pa.array(lower, batch.schema.field(index).type)
    )
    identity = load(made.store, "signal").identities[0]
    assert made.teacher.tokenizer_blob is not None
    publish(made.store, "shifted", identity, [batch], tokenizer_blob=made.teacher.tokenizer_blob)
    return made


@pytest.fixture(scope="session")
def rows(made: Made) -> list[Row]:
    """The rows of `signal`."""
    return stored_rows(made.store, "signal")


@pytest.fixture(scope="session")
def url(made: Made) -> Iterator[str]:
    """A server of `signal`."""
    with serving(made.store.root, "signal") as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx.Client]:
    """Plain HTTP to it."""
    with httpx.Client(base_url=url, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="session")
def vllm(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real vLLM server of the teacher, in float32."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    with vllm_server(models["teacher"], log, max_model_len=MAX_POSITIONS) as address:
        yield address
