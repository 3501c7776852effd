"""Pieces for other people's trainers: a collator, and the loss that goes with it.

    dataset = SignalDataset(Rows.read(open_signal("math/signal", root=store)))
    Trainer(..., train_dataset=dataset, data_collator=collate_padded,
            compute_loss_func=OpdLoss(rows=256))

A trainer hands a loss function the model's outputs and `labels`, and nothing else of the batch: so
`labels` holds all that the loss needs. `examples/` has a whole script for transformers.Trainer and
one for Accelerate.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.nn.utils.rnn import pad_sequence

from lopd_store.errors import UsageError
from lopd_train.datasets import IGNORED, LOGPROBS, Example
from lopd_train.losses import LossOptions, SurrogateLoss, opd_loss, reduction_weights

Labels: TypeAlias = tuple[torch.Tensor, ...]


def collate_padded(examples: Sequence[Example]) -> dict[str, Any]:
    """Examples of a `SignalDataset` as the batch of a trainer, padded on the right.

    Returns:
        `input_ids` and `attention_mask`, int64 [B, T]; and `labels`: for a signal the tuple
        (labels int64, teacher_logprobs float32[, rollout_logprobs float32]), each [B, T], that
        `OpdLoss` reads; for sft data the labels alone, as any trainer expects them.
    """
    columns = {name: [torch.from_numpy(one[name]) for one in examples] for name in examples[0]}
    mask = [torch.ones_like(ids) for ids in columns["input_ids"]]
    labels = [_padded(columns["labels"], IGNORED)]
    labels += [_padded(columns[name], 0) for name in LOGPROBS if name in columns]
    return {
        "input_ids": _padded(columns["input_ids"], 0),
        "attention_mask": _padded(mask, 0),
        "labels": tuple(labels) if "teacher_logprobs" in columns else labels[0],
    }


def _padded(rows: Sequence[torch.Tensor], value: int) -> torch.Tensor:
    found: torch.Tensor = pad_sequence(list(rows), batch_first=True, padding_value=value)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class OpdLoss:
    """Lightning OPD as a `compute_loss_func`: outputs and labels in, a loss to go backward from.

    Attributes:
        rows: that one process puts through the model for each optimiser step, so that the sum
            over a step's batches is its mean; where the trainer itself divides by the number of
            accumulated batches, as `Accelerator.backward` does, the rows of one batch.
        options: which update. Only what needs no look at the whole step before it: reductions
            `sequence-mean` and `token-sum`, and no centring.
    """

    rows: int
    options: LossOptions = field(default_factory=LossOptions)

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError(f"expected rows of at least 1, found {self.rows}")
        if self.options.centre or self.options.reduction == "token-mean":
            raise UsageError(
                "expected reduction sequence-mean or token-sum without centring: a loss function"
                f" sees one batch of a step, found {self.options.reduction}"
                f"{' with centring' * self.options.centre}; `lopd-train opd` has them all"
            )

    def __call__(
        self,
        outputs: Any,
        labels: Labels,
        num_items_in_batch: Any = None,  # noqa: ARG002 - a Trainer passes it
    ) -> torch.Tensor:
        """The batch's part of the step's loss; `outputs.logits` is [B, T, V].

        Raises:
            UsageError: sft data, no rollout_logprobs for importance weights, or log-probs that
                the trainer has cast to another type.
        """
        columns = _columns(labels)
        logits_BTV = outputs["logits"] if isinstance(outputs, Mapping) else outputs.logits
        targets_BT = columns["labels"][:, 1:]
        trained_BT = targets_BT != IGNORED
        logits_NV = logits_BTV[:, :-1][trained_BT]
        precise = torch.promote_types(logits_NV.dtype, torch.float32)
        logprobs_N = -torch.nn.functional.cross_entropy(
            logits_NV.to(precise), targets_BT[trained_BT], reduction="none"
        )
        return signal_loss(
            logprobs_N, trained_BT, columns, rows=self.rows, options=self.options
        ).loss


def signal_loss(
    logprobs_N: torch.Tensor,
    trained_BT: torch.Tensor,
    columns: Mapping[str, torch.Tensor],
    *,
    rows: int,
    options: LossOptions,
) -> SurrogateLoss:
    """The update of Lightning OPD on a batch: its part of the mean over a step's rows.

    Args:
        logprobs_N: the student's natural logs of the trained tokens, row after row.
        trained_BT: bool [B, T - 1]: which tokens those are; no model predicts a row's first.
        columns: `teacher_logprobs` and, where there are any, `rollout_logprobs`: float32 [B, T].
        rows: of the step.
        options: which update; one that `OpdLoss` takes.

    Raises UsageError where a trainer has cast a column to another type.
    """
    found = {
        name: _float32(name, columns[name])[:, 1:][trained_BT]
        for name in LOGPROBS
        if name in columns
    }
    lengths_N = trained_BT.sum(1, keepdim=True).expand_as(trained_BT)[trained_BT]
    # tokens is for token-mean only, which OpdLoss refuses
    weights_N = reduction_weights(options.reduction, lengths_N, rows=rows, tokens=1)
    return opd_loss(
        logprobs_N,
        found["teacher_logprobs"],
        weights_N,
        options=options,
        rollout_N=found.get("rollout_logprobs"),
    )


def _columns(labels: Labels) -> dict[str, torch.Tensor]:
    """The labels by name, once they are what `collate_padded` made."""
    if isinstance(labels, torch.Tensor):
        raise UsageError("expected a batch of a signal, found labels without teacher_logprobs")
    return dict(zip(("labels", *LOGPROBS), labels, strict=False))


def _float32(name: str, column: torch.Tensor) -> torch.Tensor:
    if column.dtype != torch.float32:
        raise UsageError(
            f"expected {name} in float32, found {column.dtype}: the trainer has cast the batch"
            " (DeepSpeed does), and that rounds log-probs by up to 0.4 %"
        )
    return column
