"""Columns that follow from others: names of samples and prompts, finish reasons, masked zeros."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from lopd_store.rows import flat
from lopd_store.rows.columns import LOGPROB_COLUMNS, ordered
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


def with_finish_reason(
    rows: pa.RecordBatch, *, eos: Collection[int], otherwise: str = "length"
) -> pa.RecordBatch:
    """`rows` with a finish reason where the source has none.

    A response that ends in an end-of-sequence id stopped; any other was cut at a length, or ended
    for the reason `otherwise`.
    """
    if "finish_reason" in rows.schema.names:
        return rows
    responses = flat.lists(rows.column("response_ids"))
    stopped = np.isin(responses.values[responses.offsets[1:] - 1], list(eos))
    return with_column(rows, "finish_reason", pa.array(np.where(stopped, "stop", otherwise)))


def with_zeros_where_masked(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Log-probs where loss_mask is false mean nothing, and are stored as 0.0."""
    if "loss_mask" not in rows.schema.names:
        return rows
    kept = flat.lists(rows.column("loss_mask")).values
    for name in LOGPROB_COLUMNS:
        if name in rows.schema.names:
            logprobs = rows.column(name)
            values = np.where(kept, flat.lists(logprobs).values, np.float32(0.0))
            rows = with_column(rows, name, flat.lists_of(pa.array(values), like=logprobs))
    return rows
