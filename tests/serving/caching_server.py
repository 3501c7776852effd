"""`lopd-store serve --upstream` in a process of its own, and clients that remember its promises."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.building.chain import arithmetic
from tests.serving.live_teacher import LiveTeacher

REF = "live"


@contextmanager
def caching_server(
    store: Path, teacher: Path, live: LiveTeacher, *more: str
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Its URL and its process, which is stopped at the end of the block if it still runs."""
    script = "from lopd_cli.store import main; main()"
    command = [sys.executable, "-c", script, "serve", "--store", str(store), "--json"]
    command += ["--upstream", live.url, "--teacher", str(teacher), "-o", REF, "--port", "0", *more]
    environment = os.environ | {"PYTHONPATH": "cli", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()
            yield json.loads(line)["url"], process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=60)


def sequences(count: int, seed: int) -> list[tuple[int, ...]]:
    chance = np.random.default_rng(seed)
    lengths = chance.integers(2, 40, count).tolist()
    return [tuple(chance.integers(5, 267, length).tolist()) for length in lengths]


class Clients:
    """Clients at work; `promised` are the sequences that were called stored, `wrong` what was not.

    They ask for the same sequences again and again, in random company, until they are told to stop
    or the server is gone.
    """

    def __init__(self, url: str, pool: list[tuple[int, ...]], *, count: int, seed: int) -> None:
        self.promised: set[tuple[int, ...]] = set()
        self.wrong: list[str] = []
        self.answered = 0
        self.first = threading.Event()
        self._url = url
        self._pool = pool
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(seed * 1000 + place,))
            for place in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until all of them have gone home."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: int) -> None:
        chance = np.random.default_rng(seed)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stopping.is_set():
                places = chance.integers(0, len(self._pool), chance.integers(1, 6)).tolist()
                asked = [self._pool[place] for place in places]
                body = {"prompt": asked, "max_tokens": 1, "prompt_logprobs": 0}
                try:
                    said = client.post("/v1/completions", json=body)
                except httpx.TransportError:
                    return  # it was killed
                self._look(asked, said)

    def _look(self, asked: list[tuple[int, ...]], said: httpx.Response) -> None:
        if said.status_code != 200:
            self.wrong.append(said.text)
            return
        for ids, choice in zip(asked, said.json()["choices"], strict=True):
            if values(choice, ids) != arithmetic(list(ids), 1).tolist():
                self.wrong.append(f"{ids}: {choice}")
        if said.headers.get("x-lopd-stored") == "1":
            self.promised |= set(asked)
        self.answered += 1
        self.first.set()


def values(choice: Any, ids: tuple[int, ...]) -> list[float]:
    pairs = zip(ids[1:], choice["prompt_logprobs"][1:], strict=True)
    return [entry[str(token)]["logprob"] for token, entry in pairs]
