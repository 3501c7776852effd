"""Messages between a parallel scorer and its workers: one kind byte, a length, a payload.

Arrow IPC for columns, JSON for facts and errors; both ends are this program on one machine.
"""

import json
from enum import Enum
from typing import BinaryIO, Final, cast

import numpy as np
import pyarrow as pa

from lopd_store import errors
from lopd_store.engines.protocol import Floats, Sequences
from lopd_store.errors import EngineError, LopdError, Problem
from lopd_store.rows.flat import ListArray

_LENGTH_BYTES: Final = 8


class Kind(Enum):
    """What a payload holds."""

    OPEN = b"O"  # JSON: the arguments of open_scorer
    END = b"X"  # nothing; the worker ends at once
    READY = b"R"  # JSON: scoring, vocab_size, max_tokens
    SCORE = b"S"  # Arrow: prompt, response
    ANSWERS = b"A"  # Arrow: logprobs
    ERROR = b"E"  # JSON: an error of ours


def send(pipe: BinaryIO, kind: Kind, payload: bytes) -> None:
    """Write one message. Raises OSError when the other end is gone."""
    pipe.write(kind.value + len(payload).to_bytes(_LENGTH_BYTES, "little") + payload)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[Kind, bytes] | None:
    """Read one message; None when the other end is gone, before or inside a message."""
    head = pipe.read(1 + _LENGTH_BYTES)
    if len(head) < 1 + _LENGTH_BYTES:
        return None
    size = int.from_bytes(head[1:], "little")
    payload = pipe.read(size)
    return None if len(payload) < size else (Kind(head[:1]), payload)


def encode_sequences(sequences: Sequences) -> bytes:
    """Sequences as an Arrow IPC stream."""
    return _encode(
        pa.record_batch(
            {"prompt": sequences.prompt, "response": sequences.response},
        )
    )


def decode_sequences(payload: bytes) -> Sequences:
    """The inverse of `encode_sequences`."""
    prompt, response = (cast(ListArray, column) for column in _decode(payload).columns)
    return Sequences(prompt, response)


def encode_answers(answers: list[Floats]) -> bytes:
    """Answers as an Arrow IPC stream."""
    offsets = np.cumsum([0, *map(len, answers)])
    values = np.concatenate([np.empty(0, np.float32), *answers])
    column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
    return _encode(pa.record_batch({"logprobs": column}))


def decode_answers(payload: bytes) -> list[Floats]:
    """The inverse of `encode_answers`."""
    column = cast(ListArray, _decode(payload).column("logprobs"))
    return np.split(column.values.to_numpy(), column.offsets.to_numpy()[1:-1])[: len(column)]


def encode_error(error: LopdError) -> bytes:
    """An error of ours as JSON."""
    problems = [[p.kind, p.where, p.expected, p.found] for p in error.problems]
    return json.dumps([type(error).__name__, str(error), problems]).encode()


def decode_error(payload: bytes) -> LopdError:
    """The inverse of `encode_error`; a class of the same name in our error tree."""
    name, message, problems = json.loads(payload)
    kind = getattr(errors, name, EngineError)
    return errors.rebuild(kind, message, [Problem(*problem) for problem in problems])


def _encode(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _decode(payload: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(pa.BufferReader(payload)) as reader:
        return reader.read_next_batch()
