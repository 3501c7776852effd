# ruff: noqa: N806 - shape letters end a tensor's name
"""TRL's own code reads our file and our batch: its SFT trainer, its losses on a teacher's answer.

Runs where TRL is: `make test-trainers`.
"""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lopd_store.adapters import trl as adapter
from lopd_store.adapters.exporting import export
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters.alike import Model
from tests.trainers.quiet import quiet

pytest.importorskip("trl", reason="TRL is not installed here: `make test-trainers` has it")

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
from trl.experimental.iw_opd import IWOPDTrainer
from trl.experimental.server_distillation import ServerDistillationTrainer

CHOSEN = [4, 1, 7]
PAD = 0


def test_its_sft_trainer_reads_the_file(alike: tuple[Signal, Model], tmp_path: Path) -> None:
    """Nothing is cut, nothing is tokenised again, and the loss is that of the trained tokens."""
    signal, model = alike
    export(signal, tmp_path / "rows.parquet", format="trl")
    dataset = load_dataset(
        "parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache")
    )["train"]
    every = {"per_device_train_batch_size": len(dataset), "gradient_accumulation_steps": 1}
    options = SFTConfig(**quiet(tmp_path / "out", **every))
    trainer = SFTTrainer(str(model.folder), train_dataset=dataset, args=options)
    stored = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    for name in ("input_ids", "labels"):
        assert list(trainer.train_dataset[name]) == [row[name] for row in stored]
    trainer.train()
    trained = [i != -100 for row in stored for i in row["labels"]]
    logprobs = [value for row in stored for value in row["rollout_logprobs"]]
    expected = -np.mean([value for value, on in zip(logprobs, trained, strict=True) if on])
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def batch_of(alike: tuple[Signal, Model]) -> dict[str, torch.Tensor]:
    rows = DecodedRows.open(alike[0])
    batch = adapter.collate(rows, CHOSEN, pad_token_id=PAD)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def test_its_server_trainer_lays_a_teachers_answer_out_as_we_do(
    alike: tuple[Signal, Model],
) -> None:
    """The answer of a teacher's server, through TRL's own alignment, where rows are trained."""
    batch = batch_of(alike)
    rows = DecodedRows.open(alike[0])
    answers = [rows[row]["teacher_logprobs"].tolist() for row in CHOSEN]
    columns = [[[value] for value in one] for one in answers]
    trainer = object.__new__(ServerDistillationTrainer)
    trainer.loss_top_k, trainer.temperature = 1, 1.0
    asked: dict[str, Any] = {}

    def answer(**request: Any) -> dict[str, Any]:
        asked.update(request)
        ids = [[[0]] * len(one) for one in answers]
        return {"actual_logprobs": columns, "logprobs": columns, "logprob_token_ids": ids}

    trainer.teacher_client = SimpleNamespace(get_sequence_logprobs=answer)
    shown = batch["completion_mask"].bool()
    labels = torch.where(shown, batch["completion_ids"], -100)
    prompt = torch.full_like(batch["prompt_ids"], -100)
    found = trainer._get_teacher_token_logprobs_from_server(
        {
            "input_ids": torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            "prompt_attention_mask": batch["prompt_mask"],
            "labels": torch.cat([prompt, labels], 1),
        },
        batch["prompt_ids"].shape[1],
    )["actual_logprobs"]
    assert asked["sequences"] == [
        [*rows[row]["prompt_ids"].tolist(), *rows[row]["response_ids"].tolist()] for row in CHOSEN
    ]
    assert found.dtype == batch["actual_logprobs"].dtype
    trained = shown & batch["tool_mask"].bool()
    assert torch.equal(found[trained], batch["actual_logprobs"][trained])
    assert torch.equal(found[~shown], batch["actual_logprobs"][~shown])  # -inf in the padding
    assert (batch["actual_logprobs"][shown & ~trained] == -math.inf).all()


@pytest.mark.parametrize("shift", [0, 1, -1], ids=["as-it-is", "late", "early"])
def test_its_losses_are_zero_for_a_student_that_is_its_teacher(
    shift: int, alike: tuple[Signal, Model]
) -> None:
    batch = batch_of(alike)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    shown = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    places = (shown.cumsum(1) - 1).clamp(min=0)
    prompt = batch["prompt_ids"].shape[1]
    logprobs_BTV = alike[1].logprobs(ids.numpy(), shown.numpy(), places.numpy())[:, prompt - 1 : -1]
    student_BTV = torch.from_numpy(logprobs_BTV).float()
    trained = (batch["completion_mask"] * batch["tool_mask"]).bool()
    labels = torch.where(trained, batch["completion_ids"], -100)
    teacher = batch["actual_logprobs"].masked_fill(~trained, 0.0).roll(shift, 1)

    server = object.__new__(ServerDistillationTrainer)
    server.beta, server.loss_add_tail, server.reverse_kl_top_1_mode = 1, True, "sampled"
    reverse_kl = server._compute_server_sparse_top_1_divergence_loss(
        teacher_result={
            "actual_logprobs": teacher,
            "topk_logprobs": teacher[..., None],
            "topk_token_ids": batch["completion_ids"][..., None],
        },
        student_log_probs=student_BTV,
        completion_tokens=batch["completion_ids"],
        labels=labels,
    )
    weighted = object.__new__(IWOPDTrainer)
    weighted.temperature, weighted.iw_opd_epsilon, weighted.iw_opd_gamma = 1.0, 1e-8, 1.0
    weighted.model = SimpleNamespace(training=True)
    weighted._metrics = {"train": _Figures()}
    surrogate = weighted._compute_iw_opd_loss(
        student_logits=student_BTV,
        completion_tokens=batch["completion_ids"],
        labels=labels,
        teacher_actual_logprobs=teacher,
        rollout_logprobs=batch["sampling_per_token_logps"],
    )
    assert (abs(float(reverse_kl)) < 1e-6) == (shift == 0)
    assert (abs(float(surrogate)) < 1e-5) == (shift == 0)


class _Figures(dict[str, list[float]]):
    """Where TRL keeps what it logs: a list a figure."""

    def __missing__(self, name: str) -> list[float]:
        return self.setdefault(name, [])
