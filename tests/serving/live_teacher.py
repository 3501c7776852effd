"""A live teacher on loopback: log-probs that are arithmetic, in the wire formats of real servers.

It stands where vLLM, SGLang or TRL would stand; what it answers depends on the ids alone, so a
test knows every right number. It can be made slow, busy, broken or dishonest while it runs.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from tests.building.chain import arithmetic

Ids = list[int]


@dataclass(kw_only=True)
class LiveTeacher:
    """The server's state: change it while it runs.

    Attributes:
        models: what `/v1/models` lists; None has no such page.
        version: what `/version` says; None has no such page.
        requests: path and body of each request that was answered or refused.
        scored: every sequence that was scored, in order.
        longest: sequences above this many ids are refused, with the whole request.
        refusals: statuses that come before anything is answered, one a request; 0 is a connection
            that is closed without a word.
        headers: further headers of every answer.
        spoil: what becomes of an answer's JSON before it is sent.
        gate: answers wait until it is set.
        token: what requests must carry.
        refused_with: the answer to a request without it.
        media_type: of every answer, as it says.
        drip: seconds between the bytes of an answer; 0 sends it whole.
    """

    models: list[str] | None = field(default_factory=lambda: ["teacher-model"])
    version: str | None = "0.32.0"
    requests: list[tuple[str, Any]] = field(default_factory=list)
    scored: list[tuple[int, ...]] = field(default_factory=list)
    longest: int = 512
    refusals: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    spoil: Callable[[Any], Any] = field(default=lambda answer: answer)
    gate: threading.Event = field(default_factory=threading.Event)
    token: str | None = None
    refused_with: Any = field(default_factory=lambda: {"error": "Unauthorized"})
    media_type: str = "application/json"
    drip: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


@contextmanager
def running(teacher: LiveTeacher, *, port: int = 0) -> Iterator[LiveTeacher]:
    """The server, until the block ends."""

    class Handler(_Handler):
        state = teacher

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Clients may go away in the middle of an answer."""

    server = Server(("127.0.0.1", port), Handler)
    teacher.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield teacher
    finally:
        teacher.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: LiveTeacher
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: `requests` has it all."""

    def do_GET(self) -> None:
        state = self.state
        if self.path == "/version" and state.version is not None:
            self._send(200, {"version": state.version})
        elif self.path == "/v1/models" and state.models is not None:
            self._send(200, {"object": "list", "data": [{"id": name} for name in state.models]})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.state.lock:
            self.state.requests.append((self.path, json.loads(body)))
            refusal = self.state.refusals.pop(0) if self.state.refusals else None
        self.state.gate.wait()
        if refusal == 0:
            self.close_connection = True
            self.connection.close()
        elif refusal is not None:
            self._send(refusal, {"error": "busy"})
        elif (wanted := self.state.token) and self.headers["Authorization"] != f"Bearer {wanted}":
            self._send(401, self.state.refused_with)
        else:
            self._answer(json.loads(body))

    def _answer(self, asked: dict[str, Any]) -> None:
        name = {"/generate": "input_ids", "/get_sequence_logprobs/": "sequences"}
        sequences: list[Ids] = asked[name.get(self.path, "prompt")]
        if asked.get("max_tokens", 0) > 1:
            self._send(200, {"choices": [{"text": "something generated"}]})
        elif max(map(len, sequences)) > self.state.longest:
            self._send(400, {"error": {"message": "maximum context length exceeded"}})
        else:
            with self.state.lock:
                self.state.scored += map(tuple, sequences)
            self._send(200, self.state.spoil(_FORMS[self.path](sequences, asked)))

    def _send(self, status: int, answer: Any) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", self.state.media_type)
        for name, value in self.state.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not self.state.drip:
            self.wfile.write(data)
            return
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(self.state.drip)


def _openai(sequences: list[Ids], asked: dict[str, Any]) -> dict[str, Any]:
    """`/v1/completions` of vLLM 0.32."""
    form = _echo if asked.get("echo") else _prompt_logprobs
    choices = [
        {"index": index, "text": "", "finish_reason": "length", **form(ids)}
        for index, ids in enumerate(sequences)
    ]
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": choices}


def _prompt_logprobs(ids: Ids) -> dict[str, Any]:
    values = arithmetic(ids, 1).tolist()
    entries = [
        {str(token): {"logprob": value, "rank": 3, "decoded_token": "t"}}
        for token, value in zip(ids[1:], values, strict=True)
    ]
    return {"logprobs": None, "prompt_logprobs": [None, *entries], "prompt_token_ids": ids}


def _echo(ids: Ids) -> dict[str, Any]:
    return {
        "logprobs": {
            "text_offset": list(range(len(ids))),
            "token_logprobs": [None, *arithmetic(ids, 1).tolist()],
            "tokens": [f"token_id:{token}" for token in ids],
            "top_logprobs": [None] * len(ids),
        }
    }


def _sglang(sequences: list[Ids], asked: dict[str, Any]) -> list[dict[str, Any]]:
    """`/generate` of SGLang: from the start on, its first entry null."""
    return [
        {
            "text": "",
            "meta_info": {
                "input_token_logprobs": [
                    [None, ids[start], None],
                    *(
                        [value, token, None]
                        for token, value in zip(
                            ids[start + 1 :], arithmetic(ids, start + 1).tolist(), strict=True
                        )
                    ),
                ]
            },
        }
        for ids, start in zip(sequences, asked["logprob_start_len"], strict=True)
    ]


def _trl(sequences: list[Ids], asked: dict[str, Any]) -> dict[str, Any]:
    """`/get_sequence_logprobs/` of TRL 1.6 in its binary format."""
    lengths = [
        len(ids) - prompt for ids, prompt in zip(sequences, asked["prompt_lengths"], strict=True)
    ]
    shape = (len(sequences), max(lengths))
    values, tokens = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int32)
    for row, (ids, length) in enumerate(zip(sequences, lengths, strict=True)):
        values[row, :length] = arithmetic(ids, len(ids) - length)
        tokens[row, :length] = ids[len(ids) - length :]
    packed = {
        "logprobs_b64": values,
        "token_ids_b64": tokens,
        "actual_logprobs_b64": values,
        "actual_token_ids_b64": tokens,
    }
    return {
        **{name: base64.b64encode(array.tobytes()).decode() for name, array in packed.items()},
        "shape": [*shape, 1],
        "completion_lengths": lengths,
    }


_FORMS: dict[str, Callable[[list[Ids], dict[str, Any]], Any]] = {
    "/v1/completions": _openai,
    "/generate": _sglang,
    "/get_sequence_logprobs/": _trl,
}
