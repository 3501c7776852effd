"""verl: a file for its dataset, and its padded batch, in which the teacher is shifted by one.

As in verl 0.9.1: `RLHFDataset` reads the file; the batch is what `AgentLoopWorker` hands its
trainer. There, row i of teacher_logprobs is about token i + 1: it stands where the student's
logits for that token stand.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: B rows, P prompt, R response, T both

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.adapters import layout
from lopd_store.adapters.padding import padded, places, taken
from lopd_store.adapters.source import Source
from lopd_store.loading.decode import MASK
from lopd_store.loading.decoded_rows import Chosen, DecodedRows

FILE: Final = "parquet"
DATA_SOURCE: Final = "lopd"
"""What verl chooses rewards and, where there are several, teachers by."""

_STORED: Final = {
    "sample_id": "sample_id",
    "finish_reason": "finish_reason",
    "prompt_ids": "prompt_ids",
    "response_ids": "response_ids",
    "teacher_logprobs": "teacher_logprobs",
    "rollout_logprobs": "rollout_log_probs",
}
"""Our columns → their names in `extra_info`, which verl hands to agent loops and rewards."""


def export(source: Source) -> Iterator[pa.RecordBatch]:
    """Rows for `RLHFDataset`: what it and reward functions read, and ours in `extra_info`.

    Raises UsageError on rollouts nobody scored and on sft data.
    """
    source.expect("signal")
    stored = layout.those_of(source, _STORED)
    texts = layout.those_of(source, ("prompt_text",))
    for batch in source.batches((*stored, MASK, *texts)):
        rows = batch.num_rows
        numbers = pa.array(np.arange(source.rows - rows, source.rows))
        extra = {_STORED[name]: batch.column(name) for name in stored}
        role, content = layout.constant("user", rows), layout.prompt_texts(batch)
        columns = {
            "data_source": layout.constant(DATA_SOURCE, rows),
            "prompt": layout.singletons(layout.structs({"role": role, "content": content})),
            "reward_model": layout.constant({"style": "rule", "ground_truth": ""}, rows),
            "extra_info": layout.structs(
                {"index": numbers, **extra, "response_mask": layout.mask_numbers(batch)}
            ),
        }
        yield pa.RecordBatch.from_pydict(columns)


def collate(
    rows: DecodedRows,
    chosen: Chosen,
    *,
    pad_token_id: int,
    prompt_length: int | None = None,
    response_length: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Rows of a signal as verl's batch: prompts padded on the left, responses on the right.

    Args:
        rows: a signal's.
        chosen: B row numbers.
        pad_token_id: the tokenizer's.
        prompt_length: P, verl's `data.max_prompt_length`; None for the longest of them.
        response_length: R, verl's `data.max_response_length`; None for the longest of them.

    Returns:
        int64: `prompts` [B, P], `responses` and `response_mask` [B, R]; `input_ids`,
        `attention_mask` and `position_ids` [B, P+R].
        `rollout_log_probs` float32 [B, R], 0.0 in the padding; where the rows have them.
        `teacher_logprobs` float32 and `teacher_ids` int32 [B, P+R, 1]: row i is about token i + 1.
        Where nothing is stored (before the prompt's last token, masked positions, the last row,
        padding) they hold 0.0 and pad_token_id as verl's own padding does, and mean nothing.

    Raises:
        UsageError: a row longer than P or R, or a column that is not open.
        IndexError: rows that are not there.
    """
    prompts, responses = taken(rows, "prompt_ids", chosen), taken(rows, "response_ids", chosen)
    longest = (int(lists.lengths.max(initial=1)) for lists in (prompts, responses))
    P, R = (
        own if asked is None else asked
        for asked, own in zip((prompt_length, response_length), longest, strict=True)
    )
    prompt_BP, response_BR = places(prompts, P, "left"), places(responses, R, "right")
    ids_BP = padded(prompts, prompt_BP, fill=pad_token_id, dtype=np.int64)
    ids_BR = padded(responses, response_BR, fill=pad_token_id, dtype=np.int64)
    mask_BT = np.concatenate([prompt_BP, response_BR], axis=1)
    batch = {
        "prompts": ids_BP,
        "responses": ids_BR,
        "response_mask": padded(taken(rows, MASK, chosen), response_BR, fill=0, dtype=np.int64),
        "input_ids": np.concatenate([ids_BP, ids_BR], axis=1),
        "attention_mask": mask_BT.astype(np.int64),
        "position_ids": np.maximum(np.cumsum(mask_BT, axis=1, dtype=np.int64) - 1, 0),
    }
    if "rollout_logprobs" in rows.columns:
        rollout = taken(rows, "rollout_logprobs", chosen)
        batch["rollout_log_probs"] = padded(rollout, response_BR, fill=0.0, dtype=np.float32)
    teacher = taken(rows, "teacher_logprobs", chosen)
    teacher_BR = padded(teacher, response_BR, fill=0.0, dtype=np.float32)
    batch["teacher_logprobs"] = _before(teacher_BR, P, fill=0.0)
    batch["teacher_ids"] = _before(ids_BR.astype(np.int32), P, fill=pad_token_id)
    return batch


def _before(values_BR: npt.NDArray[Any], prompt: int, *, fill: float) -> npt.NDArray[Any]:
    """[B, P+R, 1]: what stands at each response token moved to the row that predicts it."""
    rows, response = values_BR.shape
    found = np.full((rows, prompt + response, 1), fill, values_BR.dtype)
    found[:, prompt - 1 : -1, 0] = values_BR
    return found
