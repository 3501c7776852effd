"""Records that tests write into journals, and a reader of their bytes that is not ours."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from lopd_store.serving.readthrough.journal_format import Record

Plain = tuple[int, list[int], list[float]]


def record_of(prompt_length: int, ids: Sequence[int], logprobs: Sequence[float]) -> Record:
    return Record(
        prompt_length=prompt_length,
        ids=np.array(ids, np.int32),
        logprobs=np.array(logprobs, np.float32),
    )


def plain(record: Record) -> Plain:
    return record.prompt_length, record.ids.tolist(), record.logprobs.tolist()


@st.composite
def records(draw: st.DrawFn, *, longest: int = 12) -> Record:
    ids = draw(st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=longest))
    prompt_length = draw(st.integers(1, len(ids) - 1))
    logprob = st.floats(-1024.0, 0.0, width=32)
    count = len(ids) - prompt_length
    return record_of(prompt_length, ids, draw(st.lists(logprob, min_size=count, max_size=count)))


def read_by_the_page(path: Path) -> tuple[str, list[Plain]]:
    """A whole segment as the format's description has it: identity in hex, records."""
    data = path.read_bytes()
    assert data[:16] == b"lopd.journal.v1\n"
    assert struct.unpack("<I", data[48:52]) == (zlib.crc32(data[:48]),)
    found, place = [], 52
    while place < len(data):
        length, of_body, of_head = struct.unpack_from("<3I", data, place)
        assert of_head == zlib.crc32(data[place : place + 8])
        body = data[place + 12 : place + 12 + length]
        assert of_body == zlib.crc32(body)
        prompt, count = struct.unpack_from("<2I", body)
        ids = struct.unpack_from(f"<{count}i", body, 8)
        logprobs = struct.unpack_from(f"<{count - prompt}f", body, 8 + 4 * count)
        assert len(body) == 8 + 4 * (2 * count - prompt)
        found.append((prompt, list(ids), list(logprobs)))
        place += 12 + length
    return data[16:48].hex(), found
