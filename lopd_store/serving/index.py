"""Finds sequences by their exact ids, and the longest stored beginning of those that are not there.

Prompts are sorted once each, and under a prompt its responses: as bytes, where they lie, so that
nothing is copied and millions of rows take a second. Everything else is bisection.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.rows import flat
from lopd_store.serving.answers import Ids

Ints = npt.NDArray[np.int64]

_WIDTH: Final = 4  # bytes of an int32


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted(Sequence[bytes]):
    """Lists of ids in the order of their bytes.

    Little-endian bytes do not sort as the ids do, but equal beginnings stand together all the same.

    Attributes:
        lists: all of them, in row order.
        rows: which row stands at each place.
    """

    lists: flat.Lists
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> "_Sorted": ...
    def __getitem__(self, place: int | slice) -> "bytes | _Sorted":
        if isinstance(place, slice):
            return _Sorted(self.lists, self.rows[place])
        row = self.rows[place]
        begin, end = self.lists.offsets[row], self.lists.offsets[row + 1]
        return self.lists.values[begin:end].tobytes()


class SequenceIndex:
    """Rows by prompt and response joined; where the prompt ends does not matter.

    Laws: `rows(ids)` are the rows whose prompt and response are `ids` when joined, one for each
    place where a prompt ends, the lowest of those alike; `longest_prefix(ids)` is the largest k
    such that some row begins with `ids[:k]`.
    """

    def __init__(self, prompts: flat.Lists, responses: flat.Lists) -> None:
        """Columns of int32 with R rows, neither list of any row empty."""
        codes = _places(prompts)
        both = pa.record_batch({"prompt": pa.array(codes), "response": _as_bytes(responses)})
        keys = [(name, "ascending") for name in both.schema.names]
        order = np.asarray(pc.sort_indices(both, sort_keys=keys), np.int64)  # stable
        self._starts = np.flatnonzero(np.diff(codes[order], prepend=-1, append=-1))
        self._prompts = _Sorted(prompts, order[self._starts[:-1]])
        self._responses = _Sorted(responses, order)

    def rows(self, ids: Ids) -> list[int]:
        """The rows that are `ids`, those with the longest prompt first."""
        found = []
        wanted = _bytes(ids)
        for place, rest in self._prompts_of(wanted):
            begin, end = self._starts[place : place + 2]
            at = bisect_left(self._responses, rest, begin, end)
            if at < end and self._responses[at] == rest:
                found.append(int(self._responses.rows[at]))
        return found

    def longest_prefix(self, ids: Ids) -> int:
        """How many of the first ids some row begins with; all of them where a row goes on."""
        wanted = _bytes(ids)
        longest = _longest(self._prompts, wanted, 0, len(self._prompts))
        for place, rest in self._prompts_of(wanted):
            begin, end = self._starts[place : place + 2]
            within = _longest(self._responses, rest, begin, end)
            longest = max(longest, (len(wanted) - len(rest)) // _WIDTH + within)
        return longest

    def _prompts_of(self, wanted: bytes) -> Iterator[tuple[int, bytes]]:
        """Each prompt that `wanted` begins with, longest first: its place, and what follows it.

        The nearest prompt at or before a text begins with whatever prompt the text begins with.
        """
        text = wanted
        while text:
            place = bisect_right(self._prompts, text) - 1
            if place < 0:
                return
            prompt = self._prompts[place]
            common = _common(text, prompt) * _WIDTH
            if common == len(prompt):
                yield place, wanted[common:]
                common -= _WIDTH
            text = text[:common]


def _places(prompts: flat.Lists) -> Ints:
    """For each row, the place of its prompt among the different ones in order; int64 [R]."""
    coded = _as_bytes(prompts).dictionary_encode()
    order = np.asarray(pc.sort_indices(coded.dictionary), np.int64)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    found: Ints = places[np.asarray(coded.indices, np.int64)]
    return found


def _as_bytes(lists: flat.Lists) -> pa.LargeBinaryArray:
    """The bytes of each list, without a copy of them."""
    buffers = [None, pa.py_buffer(lists.offsets * _WIDTH), pa.py_buffer(lists.values)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lists.offsets) - 1, buffers)


def _longest(texts: _Sorted, wanted: bytes, begin: int, end: int) -> int:
    """The most ids that `wanted` has in common with one of the texts: it is a neighbour."""
    at = bisect_left(texts, wanted, begin, end)
    near = range(max(begin, at - 1), min(end, at + 1))
    return max((_common(wanted, texts[place]) for place in near), default=0)


def _common(one: bytes, other: bytes) -> int:
    """How many ids two texts begin with alike."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length // _WIDTH
    differ = np.frombuffer(one[:length], "<i4") != np.frombuffer(other[:length], "<i4")
    return int(differ.argmax())


def _bytes(ids: Ids) -> bytes:
    return ids.astype("<i4", copy=False).tobytes()
