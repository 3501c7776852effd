"""slime: a prompt file whose metadata holds whole samples, and its lists of training data.

As in slime at 624b824: `Dataset` reads the file, `slime_rollout.generate_rollout` makes samples
of it, and the lists are what `RolloutManager._convert_samples_to_train_data` gives. Value t of
teacher_log_probs is about response token t: never shifted, never padded.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from lopd_store.adapters import layout
from lopd_store.adapters.padding import pieces, taken
from lopd_store.adapters.source import Source
from lopd_store.loading.decode import MASK
from lopd_store.loading.decoded_rows import Chosen, DecodedRows
from lopd_store.rows import flat

FILE: Final = "parquet"

_LOGPROBS: Final = {
    "rollout_logprobs": "rollout_log_probs",
    "teacher_logprobs": "teacher_log_probs",
}
"""Our columns → the fields of slime's `Sample`."""

_READ: Final = ("sample_id", "prompt_ids", "response_ids", "finish_reason", MASK)


def export(source: Source) -> Iterator[pa.RecordBatch]:
    """Rows for slime's `Dataset`: `prompt` for people, `metadata` with a sample's fields.

    Raises UsageError on rollouts nobody scored and on sft data.
    """
    source.expect("signal")
    logprobs = layout.those_of(source, _LOGPROBS)
    texts = layout.those_of(source, ("prompt_text",))
    for batch in source.batches((*_READ, *logprobs, *texts)):
        prompts, responses = (flat.lists(batch.column(n)) for n in ("prompt_ids", "response_ids"))
        metadata = {
            "sample_id": batch.column("sample_id"),
            "tokens": layout.list_array(layout.joined(prompts, responses), pa.int32()),
            "response_length": pa.array(responses.lengths),
            "loss_mask": layout.mask_numbers(batch),
            **{_LOGPROBS[name]: batch.column(name) for name in logprobs},
            "finish_reason": batch.column("finish_reason"),
        }
        yield pa.RecordBatch.from_pydict(
            {"prompt": layout.prompt_texts(batch), "metadata": layout.structs(metadata)}
        )


def collate(rows: DecodedRows, chosen: Chosen) -> dict[str, list[Any]]:
    """Rows of a signal as slime's train_data: a list a key, a value a row.

    Args:
        rows: a signal's.
        chosen: B row numbers.

    Returns:
        `tokens` int64 [P+R]; `response_lengths`; `loss_masks` int32 [R]; `rollout_log_probs`
        (where the rows have them) and `teacher_log_probs` float32 [R]; `rewards` and
        `raw_reward`, all 0.0: the teacher is the only reward; `truncated`; `sample_indices` and
        `rollout_ids`, the row numbers; `rollout_mask_sums`, trained tokens.

    Raises UsageError on a column that is not open, IndexError on rows that are not there.
    """
    prompts, responses = taken(rows, "prompt_ids", chosen), taken(rows, "response_ids", chosen)
    masks = pieces(taken(rows, MASK, chosen), np.int32)
    numbers = rows.numbers(chosen).tolist()
    reasons = rows.column("finish_reason").take(pa.array(numbers)).to_pylist()
    found: dict[str, list[Any]] = {
        "tokens": pieces(layout.joined(prompts, responses), np.int64),
        "response_lengths": responses.lengths.tolist(),
        "rewards": [0.0] * len(numbers),
        "raw_reward": [0.0] * len(numbers),
        "truncated": [int(reason == "length") for reason in reasons],
        "sample_indices": numbers,
        "rollout_ids": list(numbers),
        "loss_masks": masks,
        "rollout_mask_sums": [int(mask.sum()) for mask in masks],
    }
    if "rollout_logprobs" in rows.columns:
        found["rollout_log_probs"] = pieces(taken(rows, "rollout_logprobs", chosen), np.float32)
    found["teacher_log_probs"] = pieces(taken(rows, "teacher_logprobs", chosen), np.float32)
    return found
