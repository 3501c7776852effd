"""Records of a journal as rows of an artifact, each sample once."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.artifacts import Artifact
from lopd_store.building.complete import with_column, with_names
from lopd_store.rows import flat
from lopd_store.rows.sample_id import HEX
from lopd_store.serving.readthrough.journal import read_segment
from lopd_store.serving.readthrough.journal_format import Record

_BATCH_TOKENS: Final = 300_000


def rows_of(segments: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """The segments' records as rows of kind signal, in order, repetitions and all.

    Raises IntegrityError where a segment's bytes have changed.
    """
    held: list[Record] = []
    tokens = 0
    for record in chain.from_iterable(read_segment(path)[1] for path in segments):
        held.append(record)
        tokens += record.tokens
        if tokens >= _BATCH_TOKENS:
            yield _rows(held)
            held, tokens = [], 0
    if held:
        yield _rows(held)


def rows_in(artifact: Artifact) -> Iterator[pa.RecordBatch]:
    """An artifact's rows as they were before repetitions were numbered."""
    for shard in artifact.open_shards():
        for rows in shard.batches():
            yield with_column(rows, "sample_id", _names(rows))


def samples_in(artifact: Artifact) -> Iterator[list[str]]:
    """The names of an artifact's samples, many at a time, without the numbers of repetitions."""
    for shard in artifact.open_shards():
        for rows in shard.batches(["sample_id"]):
            yield _names(rows).to_pylist()


def samples_of(batches: Iterable[pa.RecordBatch]) -> set[str]:
    """The names of the samples in these rows."""
    return set(chain.from_iterable(_names(rows).to_pylist() for rows in batches))


def first_of_each(
    batches: Iterable[pa.RecordBatch], samples: Iterable[str]
) -> Iterator[pa.RecordBatch]:
    """The first row of each of these samples, in row order."""
    wanted = set(samples)
    for rows in batches:
        first = []
        for name in _names(rows).to_pylist():
            first.append(name in wanted)
            wanted.discard(name)
        yield rows.filter(pa.array(first, pa.bool_()))


def _rows(records: Sequence[Record]) -> pa.RecordBatch:
    columns = {
        "prompt_ids": _lists([record.ids[: record.prompt_length] for record in records]),
        "response_ids": _lists([record.response for record in records]),
        "teacher_logprobs": _lists([record.logprobs for record in records]),
        "finish_reason": ["unknown"] * len(records),  # who asked for log-probs did not say
    }
    return with_names(pa.RecordBatch.from_pydict(columns))


def _lists(parts: Sequence[flat.Numbers]) -> flat.ListArray:
    offsets = flat.running(np.array([len(part) for part in parts], np.int64))
    return pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(np.concatenate(parts))
    )


def _names(rows: pa.RecordBatch) -> pa.StringArray:
    return pc.utf8_slice_codeunits(rows.column("sample_id"), 0, HEX)
