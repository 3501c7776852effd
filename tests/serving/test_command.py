"""`lopd-store serve` as a process: what it says, what it refuses, how it stops."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cli.runner import run
from tests.serving.running import EVERYWHERE, Row
from tests.train.signals_made import Made

RUN = "from lopd_cli.store import main; main()"
TOKEN = {"LOPD_SERVE_TOKEN": "secret"}


def started(made: Made, *words: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-c", RUN, "serve", "--store", str(made.store.root)]
    return subprocess.Popen(
        [*command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@contextmanager
def process(made: Made, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A server that is killed where the test does not stop it."""
    running = started(made, *words, **environment)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def first_line(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    return running.stdout.readline()


def refused(made: Made, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and message of a command that ends before it serves, in this process."""
    said = run("serve", "--store", made.store.root, *words, **environment)
    assert said.out == ""
    return said.code, said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_says_where_it_is_and_what_it_serves_and_stops_quietly(
    made: Made, rows: list[Row], number: int
) -> None:
    with process(made, "signal", "shifted", "--port", "0", "--json") as running:
        said = json.loads(first_line(running))
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", said["url"])
        assert said["models"] == ["signal", "shifted"]
        assert [artifact["rows"] for artifact in said["artifacts"]] == [len(rows), len(rows)]
        assert said["artifacts"][0]["id"] == str(made.signal)
        assert said["teacher"]["weights_digest"] == str(made.teacher.model.weights_digest)
        body = {"prompt": rows[0].ids, "max_tokens": 1, "prompt_logprobs": 0}
        answer = httpx.post(f"{said['url']}/v1/completions", json=body).json()
        assert len(answer["choices"][0]["prompt_logprobs"]) == len(rows[0].ids)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
        assert (running.returncode, out, err) == (0, "", "")


def test_a_request_under_way_is_answered_before_it_stops(made: Made, rows: list[Row]) -> None:
    with process(made, "signal", "--port", "0", "--json") as running:
        port = int(json.loads(first_line(running))["url"].rpartition(":")[2])
        body = json.dumps(
            {
                "input_ids": rows[0].ids,
                "return_logprob": True,
                "sampling_params": {"max_new_tokens": 0},
            }
        ).encode()
        head = f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
            slow.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:5])
            httpx.get(f"http://127.0.0.1:{port}/health")  # by now the slow one is under way
            running.send_signal(signal.SIGTERM)
            slow.sendall(body[5:])
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        running.communicate(timeout=60)
        assert running.returncode == 0


def test_people_read_the_address_on_stdout_and_the_rest_on_stderr(made: Made) -> None:
    with process(made, "signal", "--port", "0", "--served-model-name", "mine") as running:
        assert first_line(running).startswith("http://127.0.0.1:")
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=60)
        assert f"serving 40 rows of signal, {made.signal}" in err
        assert str(made.teacher.model.weights_digest) in err
        assert "model mine" in err


def test_a_token_of_the_environment_is_asked_for(made: Made) -> None:
    words = ("signal", "--port", "0", "--host", EVERYWHERE, "--json")
    with process(made, *words, **TOKEN) as running:
        port = json.loads(first_line(running))["url"].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("signal", "--host", EVERYWHERE), 2, "expected a token in LOPD_SERVE_TOKEN"),
        (("signal", "--host", "no such host"), 2, "expected an address of this machine"),
        (("rollouts",), 2, "expected a signal to serve, found kind rollouts"),
        (("nothing",), 4, "nothing"),
        ((), 2, "found none"),
        (("signal", "--port", "99999"), 2, "--port"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused_before_anything_listens(
    made: Made, words: tuple[str, ...], code: int, says: str
) -> None:
    found, err = refused(made, "--port", "0", *words)
    assert found == code
    assert says in err


def test_an_address_of_another_machine_is_refused(made: Made) -> None:
    code, err = refused(made, "signal", "--host", "192.0.2.1", "--port", "0", **TOKEN)
    assert code == 2
    assert "--host 192.0.2.1" in err


def test_a_port_in_use_is_refused(made: Made) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, err = refused(made, "signal", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "expected a free address" in err


def test_no_web_package_comes_in_with_the_store_or_the_other_commands() -> None:
    code = "import sys, lopd_store, lopd_cli.store; print(sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(said.stdout)}
    assert not loaded & {"starlette", "uvicorn", "fastapi", "httpx", "openai"}
    assert "lopd_store" in loaded
