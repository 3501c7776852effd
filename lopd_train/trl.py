"""TRL's `SFTTrainer` with the update of Lightning OPD: a stored signal in place of a teacher.

    trainer = SignalTrainer("student", "math/signal", store=Path("store"), args=SFTConfig("out"))
    trainer.train()
    trainer.save_model()  # stamped: rollouts of it pass the gate

What `SFTTrainer` does with models stays as it is: PEFT, quantisation, FSDP, activation
offloading, an output layer without [positions, vocabulary]. Needs TRL from 1.16 on.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import disable_dropout_in_model

from lopd_store.stamping import write_opd_stamp
from lopd_train.collator import OpdLoss, collate_padded, signal_loss
from lopd_train.data import Material
from lopd_train.datasets import LOGPROBS, SignalDataset
from lopd_train.losses import LossOptions, SurrogateLoss
from lopd_train.models import TOKENIZER_FILES
from lopd_train.opd import gate
from lopd_train.rows import Rows

_ROW: Final = "row"


class SignalTrainer(SFTTrainer):  # type: ignore[misc] # trl has no types
    """Trains a student on a signal, once the chain from its teacher to its rollouts holds.

    Attributes:
        material: the signal and the student, as they were opened.
        chain: what the gate found.
    """

    loss_is_scaled_for_ga = True  # it is a sum over the step: see `get_batch_samples`
    _tag_names = ("trl", "lopd")
    _name = "Lightning OPD"

    def __init__(
        self,
        model: str,
        signal: str,
        *,
        store: Path | None = None,
        args: SFTConfig | None = None,
        loss: LossOptions | None = None,
        allow_inconsistent_teacher: bool = False,
        **more: Any,
    ) -> None:
        """Check the chain, map the rows, load the student.

        Args:
            model: the student: a folder or org/name[@revision].
            signal: a ref, a shard, a folder of shards or org/dataset[@revision].
            store: the folder of the store whose refs are meant.
            args: TRL's options. Rows longer than its `max_length`, which is 1024 unless it is
                said, are left out with a warning and not cut; None takes all.
            loss: which update: reductions sequence-mean and token-sum, without centring.
            allow_inconsistent_teacher: go on where the chain is broken; the stamp records it.
            more: of `SFTTrainer`: callbacks, optimizers, peft_config, quantization_config, ….

        Raises:
            ConsistencyError: the teacher, tokenizer or policy of the signal is not this student's.
            NotFoundError, IntegrityError, FormatError: the signal or the model is not there or
                not what it should be.
            UsageError: an update that needs a look at the whole step.
        """
        self._loss = OpdLoss(rows=1, options=loss or LossOptions()).options
        self.material = Material.open(signal, model, root=store, kind="signal")
        self.chain = gate(self.material, allowed=allow_inconsistent_teacher)
        for mismatch in self.chain.mismatches:
            warnings.warn(f"INCONSISTENT: {mismatch.says}", stacklevel=2)
        args = args or SFTConfig(f"{self.material.start.name}-OPD")
        args.dataset_kwargs = {"skip_prepare_dataset": True}  # rows have ids: nothing to tokenise
        rows = _rows(self.material, args.max_length)
        self._step_rows = 1
        super().__init__(
            model=str(self.material.start),
            args=args,
            train_dataset=Dataset.from_dict({_ROW: np.arange(len(rows))}),
            data_collator=_Collator(SignalDataset(rows)),
            **more,
        )
        disable_dropout_in_model(self.model)  # the log-probs are the policy's

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of a step. Their rows are counted: a step's loss is the mean over them."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step_rows = max(1, sum(len(batch["input_ids"]) for batch in batches))
        return batches, items

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - as a Trainer calls it
        num_items_in_batch: Any = None,  # noqa: ARG002 - tokens; the mean is over rows
    ) -> Any:
        """The batch's part of the step's loss.

        Raises UsageError where the trainer has cast the log-probs to another type.
        """
        given = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
        outputs = model(**given, fused_lm_head=True)
        trained_BT = outputs.label_mask
        logprobs_N = outputs.log_probs[trained_BT]
        rows = self._step_rows if self.model.training else len(trained_BT)
        loss = signal_loss(logprobs_N, trained_BT, inputs, rows=rows, options=self._loss)
        rollout_BT = inputs.get("rollout_logprobs")
        rollout_N = None if rollout_BT is None else rollout_BT[:, 1:][trained_BT]
        self._note(loss, logprobs_N, rollout_N)
        return (loss.loss, outputs) if return_outputs else loss.loss

    def _note(
        self, loss: SurrogateLoss, logprobs_N: torch.Tensor, rollout_N: torch.Tensor | None
    ) -> None:
        """Figures of a batch for the trainer's log, where they are averaged: nats and shares."""
        figures = {"advantage": loss.advantages_N.mean(), "clipped": loss.clipped}
        if rollout_N is not None:  # how far the policy is from the one that sampled
            figures["log_ratio_std"] = (logprobs_N.detach() - rollout_N).std(correction=0)
        mode = "train" if self.model.training else "eval"
        for name, value in figures.items():
            shown = self.accelerator.gather(value).nanmean()
            self._metrics[mode][name].append(shown.item())

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:  # noqa: FBT001, FBT002
        """Save the student with its own tokenizer files and a stamp; checkpoints have neither.

        Raises FormatError on a broken checkpoint, StoreError where the stamp cannot be written.
        """
        super().save_model(output_dir, _internal_call)
        if _internal_call or not self.is_world_process_zero():
            return
        folder, start = Path(output_dir or self.args.output_dir), self.material.start
        for name in TOKENIZER_FILES:  # as they are: AutoTokenizer may make another of them
            if (start / name).is_file():
                shutil.copy(start / name, folder)
        signal = self.material.signal
        write_opd_stamp(
            folder,
            start=self.chain.stamp,
            student=self.material.student,
            signal_id=signal.id,
            identities=signal.identities,
            inconsistent=self.chain.problems,
            content_digest=signal.content_digest,
            cache=self.material.cache,
        )

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = [_ROW]


@dataclass(frozen=True, slots=True)
class _Collator:
    """Row numbers → the rows, read where they lie, as one padded batch with a key a column."""

    examples: SignalDataset

    def __call__(self, numbers: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
        batch = collate_padded([self.examples[one[_ROW]] for one in numbers])
        labels = batch.pop("labels")
        return batch | dict(zip(("labels", *LOGPROBS), labels, strict=False))


def _rows(material: Material, max_length: int | None) -> Rows:
    rows = Rows.read(material.signal, max_length=max_length)
    if rows.too_long:
        warnings.warn(
            f"{rows.too_long} of {material.signal.rows} rows are longer than max_length"
            f" {max_length} and left out; SFTConfig(max_length=None) takes all",
            stacklevel=3,
        )
    return rows
