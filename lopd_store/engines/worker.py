"""A worker process of a `ParallelScorer`: one engine, requests on stdin, answers on stdout.

It ends when stdin does, even in the middle of a chunk, so a parent that was killed leaves no
worker behind. Ctrl-C is the parent's to handle.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import BinaryIO, Final, NoReturn

from lopd_store.engines import open_scorer
from lopd_store.engines.protocol import Scorer
from lopd_store.engines.wire import (
    Kind,
    decode_sequences,
    encode_answers,
    encode_error,
    receive,
    send,
)
from lopd_store.errors import LopdError

WATCH_SECONDS: Final = 0.5


def main() -> NoReturn:
    """Serve until stdin ends."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # the parent decides, and says so to everybody
        signal.signal(stop, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints, not to answers
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    scorer = _open(requests.get(), answers)
    while True:
        _answer(scorer, requests.get(), answers)


def _watch(parent: int) -> NoReturn:
    """End with the parent even when a stray child of its own keeps our stdin open."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)


def _read(pipe: BinaryIO, requests: "queue.SimpleQueue[bytes]") -> NoReturn:
    while (message := receive(pipe)) is not None and message[0] is not Kind.END:
        requests.put(message[1])
    os._exit(0)


def _open(request: bytes, answers: BinaryIO) -> Scorer:
    arguments = json.loads(request)
    try:
        scorer = open_scorer(arguments.pop("engine"), arguments.pop("model"), **arguments)
    except LopdError as error:
        send(answers, Kind.ERROR, encode_error(error))
        os._exit(error.exit_code)
    ready = {
        "scoring": dict(scorer.scoring),
        "vocab_size": scorer.vocab_size,
        "max_tokens": scorer.max_tokens,
    }
    send(answers, Kind.READY, json.dumps(ready).encode())
    return scorer


def _answer(scorer: Scorer, request: bytes, answers: BinaryIO) -> None:
    try:
        payload = encode_answers(scorer.score(decode_sequences(request)))
    except LopdError as error:
        send(answers, Kind.ERROR, encode_error(error))
    else:
        send(answers, Kind.ANSWERS, payload)


if __name__ == "__main__":
    main()
