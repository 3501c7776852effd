"""Columns that follow from the token ids: names of samples and prompts, finish reasons."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from lopd_store.rows import flat
from lopd_store.rows.columns import ordered
from lopd_store.rows.sample_id import prompt_ids_digests, sample_ids


def with_column(rows: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """`rows` with a column set or added, the columns in shard order."""
    index = rows.schema.get_field_index(name)
    added = rows.append_column(name, values) if index < 0 else rows.set_column(index, name, values)
    return added.select(ordered(added.schema.names))


def with_names(rows: pa.RecordBatch) -> pa.RecordBatch:
    """`rows` with `sample_id` (without the number of a repeated sample) and `prompt_id`."""
    prompts, responses = rows.column("prompt_ids"), rows.column("response_ids")
    named = with_column(rows, "sample_id", sample_ids(prompts, responses))
    return with_column(named, "prompt_id", prompt_ids_digests(prompts))


def with_finish_reason(rows: pa.RecordBatch, *, eos: Collection[int]) -> pa.RecordBatch:
    """`rows` with a finish reason where the source has none.

    A response that ends in an end-of-sequence id stopped; any other was cut at a length.
    """
    if "finish_reason" in rows.schema.names:
        return rows
    responses = flat.lists(rows.column("response_ids"))
    stopped = np.isin(responses.values[responses.offsets[1:] - 1], list(eos))
    return with_column(rows, "finish_reason", pa.array(np.where(stopped, "stop", "length")))
