"""TRL: a tokenised dataset for `SFTTrainer`, and the batch of its distillation trainers.

As in TRL 1.16. The file has TRL's own `input_ids` and `labels` with log-probs beside them, each at
its own token. The batch is what `ServerDistillationTrainer` makes of a teacher's answer: values
of the completion only, -inf where there is none.
"""

# ruff: noqa: N806 - shape letters end a tensor's name: B rows, P prompt, C completion

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
from lopd_store.rows import flat

FILE: Final = "parquet"
IGNORED: Final = -100  # the label that losses of Hugging Face leave out

_LOGPROBS: Final = ("teacher_logprobs", "rollout_logprobs")


def export(source: Source) -> Iterator[pa.RecordBatch]:
    """Rows for `SFTTrainer`: prompt and response in a line; all lists of a row are equally long.

    `labels` are the ids where they are trained, else -100; log-probs are 0.0 in the prompt.
    Raises UsageError on rollouts nobody scored.
    """
    source.expect("signal", "sft")
    logprobs = layout.those_of(source, _LOGPROBS)
    for batch in source.batches(("sample_id", "prompt_ids", "response_ids", MASK, *logprobs)):
        prompts, responses = (flat.lists(batch.column(n)) for n in ("prompt_ids", "response_ids"))
        trained = flat.lists(batch.column(MASK)).values
        labels = flat.Lists(np.where(trained, responses.values, IGNORED), responses.offsets)
        ignored, nothing = layout.filled(prompts, IGNORED), layout.filled(prompts, 0.0)
        columns = {
            "sample_id": batch.column("sample_id"),
            "input_ids": layout.list_array(layout.joined(prompts, responses), pa.int32()),
            "labels": layout.list_array(layout.joined(ignored, labels), pa.int32()),
        }
        for name in logprobs:
            lists = layout.joined(nothing, flat.lists(batch.column(name)))
            columns[name] = layout.list_array(lists, pa.float32())
        yield pa.RecordBatch.from_pydict(columns)


def collate(rows: DecodedRows, chosen: Chosen, *, pad_token_id: int) -> dict[str, npt.NDArray[Any]]:
    """Rows of a signal as TRL's batch: prompts padded on the left, completions on the right.

    Args:
        rows: a signal's.
        chosen: B row numbers.
        pad_token_id: the tokenizer's.

    Returns:
        int64: `prompt_ids`, `prompt_mask` [B, P]; `completion_ids`, `completion_mask` [B, C]; and
        `tool_mask` [B, C], 0 where loss_mask is false, 1 in the padding, if rows have a loss_mask.
        float32: `actual_logprobs` [B, C], the teacher's, -inf where loss_mask is false and in the
        padding; `sampling_per_token_logps` [B, C], the sampler's, 0.0 there.

    Raises UsageError on a column that is not open, IndexError on rows that are not there.
    """
    prompts, completions = taken(rows, "prompt_ids", chosen), taken(rows, "response_ids", chosen)
    P, C = (int(lists.lengths.max(initial=1)) for lists in (prompts, completions))
    prompt_BP, completion_BC = places(prompts, P, "left"), places(completions, C, "right")
    trained = taken(rows, MASK, chosen)
    teacher = taken(rows, "teacher_logprobs", chosen)
    known = flat.Lists(
        np.where(trained.values, teacher.values, np.float32(-np.inf)), teacher.offsets
    )
    batch = {
        "prompt_ids": padded(prompts, prompt_BP, fill=pad_token_id, dtype=np.int64),
        "prompt_mask": prompt_BP.astype(np.int64),
        "completion_ids": padded(completions, completion_BC, fill=pad_token_id, dtype=np.int64),
        "completion_mask": completion_BC.astype(np.int64),
        "actual_logprobs": padded(known, completion_BC, fill=-np.inf, dtype=np.float32),
    }
    if rows.masked:
        batch["tool_mask"] = padded(trained, completion_BC, fill=1, dtype=np.int64)
    if "rollout_logprobs" in rows.columns:
        batch["sampling_per_token_logps"] = padded(
            taken(rows, "rollout_logprobs", chosen), completion_BC, fill=0.0, dtype=np.float32
        )
    return batch
