"""The server around the protocols: its pages, its counts, and a teacher behind it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from lopd_store.errors import EngineError, StoreError, UsageError
from lopd_store.serving import metrics
from lopd_store.serving.answers import Asked, Backend, Missing, Reply, Scored, Sequence
from lopd_store.serving.app import create_app
from lopd_store.serving.metrics import Metrics
from lopd_store.serving.served import Served
from lopd_store.serving.stored import OpenedSignals
from tests.serving.running import Row, running, serving
from tests.train.signals_made import Made

IDS = [5, 6, 7]


@dataclass
class Nothing:
    """`Answers` of an empty store."""

    async def answer(self, sequence: Sequence) -> Scored | Missing:
        assert len(sequence.ids)
        return Missing(longest_prefix=0)


@dataclass
class Teacher:
    """An `Upstream` that knows every sequence; `fails` is raised instead."""

    asked: list[Asked] = field(default_factory=list)
    fails: Exception | None = None
    stored: bool = True

    async def scored(self, asked: Asked) -> list[Scored]:
        self.asked.append(asked)
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        return [
            Scored(
                prompt_length=1,
                logprobs=-np.arange(1, len(one.ids), dtype=np.float32),
                stored=self.stored,
            )
            for one in asked.sequences
        ]

    async def relay(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        return Reply(status=418, body=b"as it came", media_type="text/tea")


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


@pytest.fixture
def behind(teacher: Teacher) -> Iterator[httpx.Client]:
    """A client of a server with an empty store before that teacher."""
    served = Served(names=("m",), artifacts=(), teacher=None, vocab_size=100)
    with (
        running(create_app(served, Backend(answers=Nothing(), upstream=teacher))) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


def complete(client: httpx.Client, **fields: object) -> httpx.Response:
    body = {"prompt": IDS, "max_tokens": 1, "prompt_logprobs": 0, **fields}
    return client.post("/v1/completions", json=body)


def test_what_is_missing_is_asked_of_the_teacher_behind(
    behind: httpx.Client, teacher: Teacher
) -> None:
    said = complete(behind)
    assert said.status_code == 200
    assert said.headers["x-lopd-stored"] == "1"
    entries = said.json()["choices"][0]["prompt_logprobs"]
    assert [entry and entry["6" if entry.get("6") else "7"]["logprob"] for entry in entries] == [
        None,
        -1.0,
        -2.0,
    ]
    (asked,) = teacher.asked
    assert (asked.protocol, asked.path) == ("openai", "/v1/completions")
    assert b'"prompt_logprobs"' in asked.body


def test_what_is_not_safe_yet_is_not_called_stored(behind: httpx.Client, teacher: Teacher) -> None:
    teacher.stored = False
    said = complete(behind)
    assert said.status_code == 200
    assert "x-lopd-stored" not in said.headers


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/generate/"])
def test_what_generates_is_handed_on_and_the_answer_is_handed_back(
    behind: httpx.Client, teacher: Teacher, path: str
) -> None:
    said = behind.post(path, json={"prompt": IDS, "max_tokens": 9})
    assert (said.status_code, said.content) == (418, b"as it came")
    assert said.headers["content-type"].startswith("text/tea")
    assert "x-lopd-stored" not in said.headers
    assert teacher.asked[0].path == path
    assert teacher.asked[0].generates


@pytest.mark.parametrize(
    ("error", "status"),
    [(EngineError("away"), 502), (UsageError("no such id"), 400), (StoreError("full"), 500)],
    ids=str,
)
def test_whose_fault_it_was_decides_the_status(
    behind: httpx.Client, teacher: Teacher, error: Exception, status: int
) -> None:
    teacher.fails = error
    said = complete(behind)
    assert said.status_code == status
    assert said.json()["error"]["message"] == str(error)


def test_the_counts_are_those_of_what_was_asked(made: Made, rows: list[Row]) -> None:
    with serving(made.store.root, "signal") as url, httpx.Client(base_url=url) as client:
        complete(client, prompt=[rows[0].ids, rows[1].ids])
        complete(client, prompt=[rows[0].ids, [*rows[1].ids, 9]])
        complete(client, max_tokens=8)
        said = client.get("/metrics")
    assert said.headers["content-type"] == metrics.MEDIA_TYPE
    found = dict(line.rsplit(" ", 1) for line in said.text.splitlines() if line[0] != "#")
    assert found["lopd_rows"] == str(len(rows))
    for status in (200, 404, 501):
        assert found[f'lopd_requests_total{{protocol="openai",status="{status}"}}'] == "1"
    assert found['lopd_sequences_total{outcome="stored"}'] == "3"
    assert found['lopd_sequences_total{outcome="missing"}'] == "1"
    assert found['lopd_request_seconds_bucket{le="+Inf"}'] == found["lopd_request_seconds_count"]
    assert found["lopd_request_seconds_count"] == "3"


def test_times_are_counted_in_every_bucket_from_theirs_on() -> None:
    counted = Metrics(rows=0)
    for seconds in (0.0004, 0.001, 0.3, 99.0):
        counted.finished("openai", 200, seconds)
    found = dict(line.rsplit(" ", 1) for line in counted.text().splitlines() if line[0] != "#")
    ends = {end: found[f'lopd_request_seconds_bucket{{le="{end}"}}'] for end in ("0.001", "0.5")}
    assert ends == {"0.001": "2", "0.5": "3"}
    assert found['lopd_request_seconds_bucket{le="+Inf"}'] == "4"
    assert float(found["lopd_request_seconds_sum"]) == pytest.approx(99.3014)


def test_rows_of_a_file_that_names_no_teacher_are_served_as_such(made: Made) -> None:
    opened = OpenedSignals.open(["signal"], root=made.store.root)
    unknown = Served(names=("m",), artifacts=opened.served.artifacts, teacher=None, vocab_size=320)
    app = create_app(unknown, Backend(answers=opened.answers))
    with running(app) as url:
        said = httpx.get(f"{url}/get_model_info")
        assert said.json()["weight_version"] == "unknown"
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["lopd"]["teacher"] is None
        assert "x-lopd-teacher" not in said.headers
