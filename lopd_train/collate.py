# ruff: noqa: N815 - shape letters end a tensor's name
"""Rows → the tensors of a micro-batch: what the model reads, and what it should have said where.

B rows of the input tensor, T positions, N trained response tokens, flat.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lopd_store.rows import flat
from lopd_train.batches import Ints, Layout
from lopd_train.rows import Rows

PAD = 0  # any id will do: nothing that counts attends to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A micro-batch. Causal models need no attention mask: padding stands on the right.

    Packed rows are told apart by `position_ids_BT`, which start again at 0: pass no attention
    mask and `use_cache=False`, and transformers builds the block-diagonal mask.

    Attributes:
        input_ids_BT: int64; each row's prompt and response less its last token, which predicts
            nothing.
        position_ids_BT: int64.
        before_N: int64, `b * T + t` of the position whose output predicts target n.
        targets_N: int64, the trained response ids.
        lengths_N: int64, how many trained tokens the token's row has.
        rows_N: int64, the token's row, 0 to `rows` - 1 in the order they were chosen.
        teacher_N: float32 natural logs; None in kind sft.
        rollout_N: float32 natural logs; None where the signal has none.
        rows: how many rows.
    """

    input_ids_BT: torch.Tensor
    position_ids_BT: torch.Tensor
    before_N: torch.Tensor
    targets_N: torch.Tensor
    lengths_N: torch.Tensor
    rows_N: torch.Tensor
    teacher_N: torch.Tensor | None
    rollout_N: torch.Tensor | None
    rows: int

    def tokens(self, where: slice) -> "Batch":
        """The same with some of its N tokens only."""
        cut = {
            field.name: value[where]
            for field in fields(self)
            if field.name.endswith("_N") and (value := getattr(self, field.name)) is not None
        }
        return replace(self, **cut)

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in found.items()
        }
        return Batch(**moved)


def collate(rows: Rows, chosen: Ints, *, layout: Layout) -> Batch:
    """The tensors of the chosen rows; with none, one padding token and N = 0."""
    prompts = np.diff(rows.prompt_offsets)[chosen]
    responses = np.diff(rows.response_offsets)[chosen]
    inputs = prompts + responses - 1
    shape, starts = _placed(inputs, layout)
    ids, positions = np.full(shape, PAD, np.int64), np.zeros(shape, np.int64)
    if layout == "padded":
        positions[:] = np.arange(shape[1])
    else:
        positions[0, : inputs.sum()] = spans(np.zeros_like(inputs), inputs)
    ids.reshape(-1)[spans(starts, prompts)] = rows.prompt_ids[
        spans(rows.prompt_offsets[chosen], prompts)
    ]
    ids.reshape(-1)[spans(starts + prompts, responses - 1)] = rows.response_ids[
        spans(rows.response_offsets[chosen], responses - 1)
    ]
    said = spans(rows.response_offsets[chosen], responses)
    trained = np.asarray(rows.trained[said])
    targets = said[trained]
    owner = np.repeat(np.arange(len(chosen)), responses)[trained]
    return Batch(
        input_ids_BT=torch.from_numpy(ids),
        position_ids_BT=torch.from_numpy(positions),
        before_N=torch.from_numpy(spans(starts + prompts - 1, responses)[trained]),
        targets_N=torch.from_numpy(rows.response_ids[targets].astype(np.int64)),
        lengths_N=torch.from_numpy(np.bincount(owner, minlength=len(chosen))[owner]),
        rows_N=torch.from_numpy(owner),
        teacher_N=_floats(rows.teacher_logprobs, targets),
        rollout_N=_floats(rows.rollout_logprobs, targets),
        rows=len(chosen),
    )


def spans(starts: Ints, lengths: Ints) -> Ints:
    """`start, start + 1, …` for `length` numbers, for each pair in turn."""
    before = flat.running(lengths)
    return np.arange(before[-1]) + np.repeat(starts - before[:-1], lengths)


def _placed(inputs: Ints, layout: Layout) -> tuple[tuple[int, int], Ints]:
    """The shape of the input, and where in it each row starts when it is flat."""
    if len(inputs) == 0:
        return (1, 1), inputs
    if layout == "packed":
        ends = flat.running(inputs)
        return (1, int(ends[-1])), ends[:-1]
    longest = int(inputs.max())
    return (len(inputs), longest), np.arange(len(inputs)) * longest


def _floats(values: npt.NDArray[Any] | None, places: Ints) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(np.asarray(values[places], np.float32))
