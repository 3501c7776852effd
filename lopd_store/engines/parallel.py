"""N engines in N processes on one machine, each scoring whole chunks.

A chunk is never split over workers, so its composition, and with it every bit of its answers,
does not depend on how many workers there are.
"""

import json
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from lopd_store.cores import usable_cores
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.engines.wire import (
    Kind,
    decode_answers,
    decode_error,
    encode_sequences,
    receive,
    send,
)
from lopd_store.errors import EngineError, UsageError

END_SECONDS: Final = 10.0
"""How long a worker has to end by itself before it is killed."""


class _Worker:
    """One worker process, spoken to by one thread at a time."""

    def __init__(
        self, number: int, arguments: Mapping[str, Any], environment: dict[str, str]
    ) -> None:
        self._number = number
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lopd_store.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._stdin = cast(BinaryIO, self._process.stdin)
        self._stdout = cast(BinaryIO, self._process.stdout)
        self._opening = json.dumps(dict(arguments)).encode()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> dict[str, Any]:
        """Open the engine; its facts."""
        return cast(dict[str, Any], json.loads(self._ask(Kind.OPEN, self._opening)))

    def score(self, sequences: Sequences) -> list[Floats]:
        """One whole chunk."""
        return decode_answers(self._ask(Kind.SCORE, encode_sequences(sequences)))

    def end(self) -> None:
        """Tell it to end; kill it if it does not."""
        with suppress(OSError, ValueError):  # it may have ended already
            send(self._stdin, Kind.END, b"")
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def _ask(self, kind: Kind, payload: bytes) -> bytes:
        if self._stdin.closed:
            raise EngineError("expected an open parallel engine, found a closed one")
        try:
            send(self._stdin, kind, payload)
            reply = receive(self._stdout)
        except (OSError, ValueError):  # a broken pipe, or one closed under us
            reply = None
        if reply is None:
            raise EngineError(
                f"worker {self._number} (pid {self.pid}): expected an answer, found that it ended "
                f"with exit code {self._exit_code()}"
            )
        if reply[0] is Kind.ERROR:
            raise decode_error(reply[1])
        return reply[1]

    def _exit_code(self) -> int | str:
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "unknown: it still runs"


class ParallelScorer(Scorer):
    """A `Scorer` made of `workers` processes; `map` keeps all of them busy.

    GPUs, or a CPU's cores, are split evenly. Workers end with this process, however it ends.

    Raises:
        UsageError: fewer than one worker, or fewer GPUs than the workers need.
        LopdError: whatever opening the engine raises in a worker.
    """

    def __init__(self, arguments: Mapping[str, Any], *, workers: int) -> None:
        """Start workers; `arguments` are those of `open_scorer`, by name."""
        places = _environments(workers, int(arguments.get("tensor_parallel_size", 1)))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lopd-engine")
        self._workers: list[_Worker] = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        with ExitStack() as unless_started:
            unless_started.callback(self.close)
            for number, place in enumerate(places):
                self._workers.append(_Worker(number, arguments, place))
            facts = list(self._pool.map(_Worker.start, self._workers))
            if any(other != facts[0] for other in facts):
                raise EngineError(f"expected workers to state the same facts, found {facts}")
            unless_started.pop_all()
        self._facts = facts[0]
        for worker in self._workers:
            self._idle.put(worker)

    @property
    def scoring(self) -> Mapping[str, Any]:
        """Facts for the identity document: those of one worker, for all are the same."""
        return cast(Mapping[str, Any], self._facts["scoring"])

    @property
    def vocab_size(self) -> int:
        """Ids at or above this are refused."""
        return int(self._facts["vocab_size"])

    @property
    def max_tokens(self) -> int:
        """Longest prompt and response together."""
        return int(self._facts["max_tokens"])

    @property
    def workers(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.pid for worker in self._workers)

    def score(self, sequences: Sequences) -> list[Floats]:
        """Score one chunk in one worker. Raises EngineError."""
        return next(self.map([sequences]))

    def map(self, chunks: Iterable[Sequences]) -> Iterator[list[Floats]]:
        """The answers of each chunk, in order, with every worker busy.

        At most two chunks per worker are taken ahead of the one being answered.

        Raises:
            EngineError: a chunk cannot be scored, or its worker ended; at that chunk's turn.
        """
        pending: deque[Future[list[Floats]]] = deque()
        try:
            for chunk in chunks:
                if len(pending) >= 2 * len(self._workers):
                    yield pending.popleft().result()
                pending.append(self._submit(chunk))
            while pending:
                yield pending.popleft().result()
        except KeyboardInterrupt:
            self.close()  # or the pool's threads wait for chunks nobody wants
            raise
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.end()
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, chunk: Sequences) -> Future[list[Floats]]:
        try:
            return self._pool.submit(self._score, chunk)
        except RuntimeError as error:  # the pool was shut down
            raise EngineError("expected an open parallel engine, found a closed one") from error

    def _score(self, chunk: Sequences) -> list[Floats]:
        worker = self._idle.get()
        try:
            return worker.score(chunk)
        finally:
            self._idle.put(worker)


def _environments(workers: int, gpus_each: int) -> list[dict[str, str]]:
    """One environment per worker, with its share of the GPUs or of the cores."""
    if workers < 1:
        raise UsageError(f"data parallel: expected at least one engine, found {workers}")
    path = os.pathsep.join(part for part in sys.path if part)
    base = os.environ | {"PYTHONPATH": path}
    if gpus := _visible_gpus():
        if len(gpus) < workers * gpus_each:
            raise UsageError(
                f"expected {workers * gpus_each} GPUs for {workers} engines, found {len(gpus)}"
            )
        shares = [gpus[n * gpus_each : (n + 1) * gpus_each] for n in range(workers)]
        return [base | {"CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares]
    threads = max(1, usable_cores() // workers)
    return [base | {"OMP_NUM_THREADS": str(threads)} for _ in range(workers)]


def _visible_gpus() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name for name in listed.split(",") if name.strip()]
    return [str(n) for n, _ in enumerate(sorted(Path("/dev").glob("nvidia[0-9]*")))]
