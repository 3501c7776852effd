"""How fast are stored log-probs served, next to the live vLLM server they stand in for?

    python benchmarks/serving.py [--clients 200 --seconds 30]

One teacher, random and tiny, so that the live server has next to nothing to compute: a real teacher
makes its side of the table slower by orders of magnitude, and ours not at all. Its signal on random
rollouts of 500 ids is built first. Then the same clients send the same requests, one sequence each,
to vLLM's server on this machine's CPU and to `lopd-store serve`, each in a process of its own, one
after the other; server and clients share the cores. Our own protocols follow.
Columns: requests a second, the median and the 99th of 100 of their times, resident memory of our
server after the run, and the largest difference between what both said, in nats.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pyarrow.parquet as pq

from benchmarks import figures, random_model
from benchmarks.live_server import NAME, vllm_server
from benchmarks.serving_load import drive, request
from lopd_store.build import build
from lopd_store.building.options import EngineOptions
from lopd_store.identity.model import fingerprint
from lopd_store.inputs.rollouts import rollouts_from_file
from lopd_store.store import Store

VOCABULARY: Final = 2048
PROMPT: Final = 100
RESPONSE: Final = 400
ROWS: Final = 256
LONGEST: Final = 512

Body = dict[str, Any]
Results = list[dict[str, Any]]


def openai(ids: list[int]) -> Body:
    """What a client of vLLM's server asks for."""
    return {"model": NAME, "prompt": ids, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}


def sglang(ids: list[int]) -> Body:
    """What slime asks for."""
    return {
        "input_ids": ids,
        "sampling_params": {"max_new_tokens": 0},
        "return_logprob": True,
        "logprob_start_len": 0,
    }


def trl(ids: list[int]) -> Body:
    """What TRL's trainer asks for."""
    return {
        "sequences": [ids],
        "prompt_lengths": [PROMPT],
        "top_logprobs": 1,
        "response_format": "binary",
    }


PROTOCOLS: Final = {
    "openai": ("/v1/completions", openai),
    "sglang": ("/generate", sglang),
    "trl": ("/get_sequence_logprobs/", trl),
}


def make(folder: Path) -> list[list[int]]:
    """A teacher, rollouts, and the signal in a store; the ids of each row."""
    model = random_model.save(folder / "model", vocabulary=VOCABULARY, hidden=64, layers=2)
    file = random_model.save_rollouts(
        folder / "rollouts.parquet",
        rows=ROWS,
        prompt=PROMPT,
        response=(RESPONSE, RESPONSE + 1),
        vocabulary=VOCABULARY,
    )
    store = Store.open(folder / "store", create=True)
    rollouts = rollouts_from_file(file)
    engine = EngineOptions(engine="transformers", dtype="float32")
    build(store, rollouts, fingerprint(str(model)), ref=NAME, engine=engine)
    rows = pq.read_table(file, columns=["prompt_ids", "response_ids"]).to_pylist()
    return [row["prompt_ids"] + row["response_ids"] for row in rows]


@contextmanager
def replay_server(store: Path, ref: str) -> Iterator[tuple[str, int]]:
    """`lopd-store serve` in a process of its own: its URL, and the process's number."""
    command = [sys.executable, "-c", "from lopd_cli.store import main; main()", "serve", ref]
    command += ["--store", str(store), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        yield json.loads(process.stdout.readline())["url"], process.pid
    finally:
        process.terminate()
        process.communicate()


def measure(
    server: str, url: str, protocol: str, ids: list[list[int]], options: argparse.Namespace
) -> dict[str, Any]:
    """The figures of one server under load in one protocol."""
    path, body = PROTOCOLS[protocol]
    requests = [request(url, path, body(one)) for one in ids]
    drive(url, requests, clients=8, seconds=1)  # warm
    load = drive(url, requests, clients=options.clients, seconds=options.seconds)
    if set(load.statuses) != {200} or load.broken:
        raise SystemExit(
            f"{server}: expected only 200, found {load.statuses}, {load.broken} broken"
        )
    return {"server": server, "protocol": protocol, **load.figures()}


def logprobs(url: str, ids: list[int]) -> list[float]:
    """What a server says of a row's response."""
    said = httpx.post(f"{url}/v1/completions", json=openai(ids), timeout=60).json()
    entries = said["choices"][0]["prompt_logprobs"][PROMPT:]
    return [
        entry[str(token)]["logprob"] for entry, token in zip(entries, ids[PROMPT:], strict=True)
    ]


def resident_mib(process: int) -> float:
    """Resident memory now; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both servers, one after the other."""
    ids = make(folder)
    checked = ids[:16]
    with vllm_server(folder / "model", folder / "log", max_model_len=LONGEST) as url:
        live = [logprobs(url, one) for one in checked]
        results: Results = [measure("vLLM", url, "openai", ids, options)]
    with replay_server(folder / "store", NAME) as (url, process):
        stored = [logprobs(url, one) for one in checked]
        results += [measure("lopd", url, protocol, ids, options) for protocol in PROTOCOLS]
        memory = resident_mib(process)
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        "ids": PROMPT + RESPONSE,
        "results": results,
        "resident_mib": memory,
        "largest_difference": float(np.abs(np.subtract(live, stored)).max()),
    }


def table(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    said = (
        f"{found['clients']} clients, {found['ids']} ids a request, {found['seconds']:g} s each;"
        f" our server {found['resident_mib']:.0f} MiB resident, at most"
        f" {found['largest_difference']:.1e} nats from vLLM's."
    )
    lines = [
        said,
        "",
        "| server | protocol | requests/s | p50 ms | p99 ms |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {one['server']} | {one['protocol']} | {one['requests_per_second']:,.0f}"
        f" | {one['p50_ms']:,.0f} | {one['p99_ms']:,.0f} |"
        for one in found["results"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Make a signal, load both servers, print the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), options)
    figures.show(
        "serving", table(found), found, options, libraries=("vllm", "uvicorn", "starlette")
    )


if __name__ == "__main__":
    main()
