"""200 clients for a minute: no error, no wrong number, memory flat."""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving import replay_server, resident_mib
from benchmarks.serving_load import drive, request
from tests.serving.running import Row, stored_rows
from tests.train.signals_made import make_signals

pytestmark = pytest.mark.soak

CLIENTS = 200
SECONDS = 60
MOST_GROWTH_MIB = 16  # an allocator's slack; a leak of a kilobyte a request would be 30 and more

Answer = Callable[[bytes], Any]


def asked(url: str, row: Row, number: int) -> tuple[bytes, int, Any]:
    """A request about a row, the status it must get, and the numbers that must be in the reply."""
    unknown = [*row.ids, 5]
    cases: list[tuple[str, dict[str, Any], int, Any]] = [
        ("/v1/completions", {"prompt": row.ids, "prompt_logprobs": 0, "max_tokens": 1}, 200, row),
        (
            "/v1/completions",
            {"prompt": row.ids, "echo": True, "logprobs": 0, "max_tokens": 0},
            200,
            row,
        ),
        (
            "/generate",
            {
                "input_ids": row.ids,
                "return_logprob": True,
                "logprob_start_len": 0,
                "sampling_params": {"max_new_tokens": 0},
            },
            200,
            row,
        ),
        (
            "/get_sequence_logprobs/",
            {
                "sequences": [row.ids],
                "prompt_lengths": [len(row.prompt)],
                "top_logprobs": 1,
                "response_format": "binary",
            },
            200,
            row,
        ),
        (
            "/v1/completions",
            {"prompt": unknown, "prompt_logprobs": 0, "max_tokens": 1},
            404,
            len(row.ids),
        ),
        ("/v1/completions", {"prompt": row.ids, "max_tokens": 9}, 501, None),
        ("/v1/completions", {"prompt": [-1], "prompt_logprobs": 0, "max_tokens": 1}, 400, None),
    ]
    path, body, status, expected = cases[number % len(cases)]
    return request(url, path, body), status, expected


def said(body: bytes) -> list[float | None]:
    """The log-probs in a reply of any of the protocols, from the first id on where it says them."""
    found = json.loads(body)
    if "choices" in found:
        (choice,) = found["choices"]
        if choice["logprobs"] is not None:
            return list(choice["logprobs"]["token_logprobs"])
        entries = choice["prompt_logprobs"]
        return [entry and next(iter(entry.values()))["logprob"] for entry in entries]
    if "meta_info" in found:
        return [entry[0] for entry in found["meta_info"]["input_token_logprobs"]]
    values = np.frombuffer(base64.b64decode(found["actual_logprobs_b64"]), "<f4").tolist()
    return [None if value == -math.inf else value for value in values]


def test_two_hundred_clients_for_a_minute_get_no_error_and_no_wrong_number(tmp_path: Path) -> None:
    made = make_signals(tmp_path, rows=1000, longest=200, masked=True)
    rows = stored_rows(made.store, "signal")
    wrong: list[str] = []
    seen: Counter[int] = Counter()
    with replay_server(made.store.root, "signal") as (url, process):
        cases = [asked(url, row, number) for number, row in enumerate(rows)]

        def check(number: int, status: int, body: bytes) -> None:
            _, expected_status, expected = cases[number]
            seen[status] += 1
            if status != expected_status:
                wrong.append(f"{number}: {status} {body[:200]!r}")
            elif isinstance(expected, Row):
                found = said(body)
                if found != expected.positions[len(expected.ids) - len(found) :]:
                    wrong.append(f"{number}: {found}")
            elif expected is not None and json.loads(body)["error"]["longest_prefix"] != expected:
                wrong.append(f"{number}: {body[:200]!r}")

        requests = [case[0] for case in cases]
        drive(url, requests, clients=CLIENTS, seconds=SECONDS / 6, check=check)
        before = resident_mib(process)
        load = drive(url, requests, clients=CLIENTS, seconds=SECONDS, check=check)
        growth = resident_mib(process) - before
    print(f"\n{load.figures()} {dict(seen)}, memory {before:.0f} MiB and {growth:+.1f}")  # noqa: T201
    assert wrong == []
    assert load.broken == 0
    assert set(seen) == {200, 400, 404, 501}
    assert before > 0
    assert growth < MOST_GROWTH_MIB
