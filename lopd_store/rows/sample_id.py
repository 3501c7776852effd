"""Names of samples and prompts: 128 bits of SHA-256 over exact token ids, and numbering."""

import hashlib
import os
import sqlite3
import tempfile
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa

from lopd_store.errors import FormatError
from lopd_store.rows import flat

_SAMPLE_TAG: Final = b"lopd.sample.v1\n"
_PROMPT_TAG: Final = b"lopd.prompt.v1\n"
HEX: Final = 32  # 128 bits: a collision among 2^40 samples has probability 2^-49
_PAGE_CACHE_KIB: Final = 64 << 10
_ASKED: Final = 500  # ids in one question: any SQLite takes 999 parameters


def sample_ids(prompt: flat.ListArray, response: flat.ListArray) -> pa.StringArray:
    r"""The base sample id of each row, 32 hex characters, from list<int32> columns.

    SHA-256 over `lopd.sample.v1\n`, both lengths as little-endian u64, then the prompt's and the
    response's ids as little-endian int32; the first 128 bits. Equal rows get equal ids: see
    `Occurrences` for the suffix that tells them apart.

    Raises:
        FormatError: a null row, a null id, or another number of prompts than of responses.
    """
    if len(prompt) != len(response):
        raise FormatError(f"expected a response a prompt, found {len(prompt)} and {len(response)}")
    _refuse_nulls(prompt)
    _refuse_nulls(response)
    return digests_of_samples(flat.lists(prompt), flat.lists(response))


def prompt_ids_digests(prompt: flat.ListArray) -> pa.StringArray:
    r"""The prompt id of each row, 32 hex characters, from a list<int32> column.

    SHA-256 over `lopd.prompt.v1\n`, the length as little-endian u64, then the ids as
    little-endian int32; the first 128 bits. Raises FormatError on a null row or id.
    """
    _refuse_nulls(prompt)
    return digests_of_prompts(flat.lists(prompt))


def digests_of_samples(prompt: flat.Lists, response: flat.Lists) -> pa.StringArray:
    """`sample_ids` over flat views, where a null row counts as empty."""
    prompts, responses = _bytes(prompt), _bytes(response)
    spans = zip(_spans(prompt), _spans(response), strict=True)
    found = []
    for (start, end), (first, last) in spans:
        state = hashlib.sha256(_SAMPLE_TAG + _u64((end - start) // 4) + _u64((last - first) // 4))
        state.update(prompts[start:end])
        state.update(responses[first:last])
        found.append(state.hexdigest()[:HEX])
    return pa.array(found, pa.string())


def digests_of_prompts(prompt: flat.Lists) -> pa.StringArray:
    """`prompt_ids_digests` over a flat view, where a null row counts as empty."""
    prompts = _bytes(prompt)
    found = []
    for start, end in _spans(prompt):
        state = hashlib.sha256(_PROMPT_TAG + _u64((end - start) // 4))
        state.update(prompts[start:end])
        found.append(state.hexdigest()[:HEX])
    return pa.array(found, pa.string())


def _bytes(ids: flat.Lists) -> memoryview:
    return np.ascontiguousarray(ids.values, dtype="<i4").data.cast("B")


def _spans(ids: flat.Lists) -> list[tuple[int, int]]:
    """Start and end of each row in bytes, as Python integers."""
    return list(pairwise((ids.offsets * 4).tolist()))


def _u64(count: int) -> bytes:
    return count.to_bytes(8, "little")


def _refuse_nulls(ids: flat.ListArray) -> None:
    missing = ids.null_count + flat.items(ids).null_count
    if missing:
        raise FormatError(f"expected token ids in every row, found {missing} null(s)")


class Occurrences:
    """Numbers further identical samples `.1`, `.2`, … in row order, in bounded memory.

    Laws: numbering the same ids in the same order gives the same result however they are cut into
    calls, and every id given out is given out once. The counts live in a temporary SQLite file in
    `folder`, removed on exit; memory stays near 64 MiB whatever the number of rows.

    Attributes:
        duplicates: ids numbered so far that had been seen before.
    """

    def __init__(self, folder: Path) -> None:
        self.duplicates = 0
        handle, name = tempfile.mkstemp(prefix="occurrences-", suffix=".sqlite", dir=folder)
        os.close(handle)
        self._path = Path(name)
        self._counts = sqlite3.connect(self._path, isolation_level=None)
        self._counts.execute("PRAGMA journal_mode = OFF")  # the file never outlives the process
        self._counts.execute("PRAGMA synchronous = OFF")
        self._counts.execute(f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}")
        self._counts.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, times INT) WITHOUT ROWID")
        self._counts.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._counts.close()
        self._path.unlink(missing_ok=True)

    def number(self, ids: pa.StringArray) -> pa.StringArray:
        """The ids with `.n` added to each that was seen n times before; no nulls."""
        names = ids.to_pylist()
        if self._all_new(names):
            self._counts.executemany("INSERT INTO seen VALUES (?, 0)", zip(names))
            return ids
        numbered = []
        for name in names:
            (times,) = self._counts.execute(
                "INSERT INTO seen VALUES (?, 0) "
                "ON CONFLICT (id) DO UPDATE SET times = times + 1 RETURNING times",
                (name,),
            ).fetchone()
            numbered.append(f"{name}.{times}" if times else name)
            self.duplicates += times > 0
        return pa.array(numbered, pa.string())

    def _all_new(self, names: list[str]) -> bool:
        """Is none of them seen before? Asked for many at once: most rows are no repetitions."""
        parts = (names[start : start + _ASKED] for start in range(0, len(names), _ASKED))
        return len(set(names)) == len(names) and not any(map(self._any_seen, parts))

    def _any_seen(self, names: list[str]) -> bool:
        places = ",".join("?" * len(names))
        query = f"SELECT EXISTS (SELECT 1 FROM seen WHERE id IN ({places}))"  # noqa: S608 - only ?
        (found,) = self._counts.execute(query, names).fetchone()
        return bool(found)
