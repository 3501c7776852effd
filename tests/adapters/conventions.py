"""How each trainer reads its batch, written from the trainer's own source, not from our adapters.

Each function gives the advantage log π_T - log π_θ that the trainer would compute, and which of
its entries count in its loss.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.adapters.alike import Array, Model


def chosen(logprobs: Array, ids: Array) -> Array:
    """[..., T, V] at the ids [..., T]."""
    found: Array = np.take_along_axis(logprobs, ids[..., None].astype(np.int64), -1)[..., 0]
    return found


def of_verl(batch: Mapping[str, Array], model: Model) -> tuple[Array, Array]:
    """verl 0.9.1: `left_right_2_no_padding`, then `no_padding_2_padding` in the k1 estimator.

    Padding goes, rows stand in a line; then of each row the values from one before its first
    response token to one before its end are taken, and padded on the right with 0.
    """
    ids, shown = batch["input_ids"], batch["attention_mask"].astype(bool)
    logprobs = model.logprobs(ids, batch["attention_mask"], batch["position_ids"])
    following = np.concatenate([ids[:, 1:], ids[:, :1]], axis=1)  # torch.roll(input_ids, -1)
    student = chosen(logprobs, following)[shown]
    teacher = batch["teacher_logprobs"][shown][:, 0]
    prompts = batch["prompts"].shape[1]
    ends = np.cumsum(shown.sum(1))
    found = np.zeros(batch["responses"].shape)
    for row, (end, length) in enumerate(zip(ends, shown[:, prompts:].sum(1), strict=True)):
        there = slice(end - length - 1, end - 1)
        found[row, :length] = teacher[there] - student[there]
    return found, batch["response_mask"].astype(bool)


def of_slime(data: Mapping[str, list[Any]], model: Model) -> tuple[Array, Array]:
    """slime 624b824: `get_log_probs_and_entropy`, `apply_opd_kl_to_advantages`; rows in a line."""
    found, counted = [], []
    for row, tokens in enumerate(data["tokens"]):
        ids, length = np.asarray(tokens, np.int64), data["response_lengths"][row]
        logits = model.logprobs(ids[None])[0][len(ids) - length - 1 : len(ids) - 1]
        student = chosen(logits, ids[-length:])
        reverse_kl = student - np.asarray(data["teacher_log_probs"][row], np.float32)
        found.append(np.zeros(length) - 1.0 * reverse_kl)
        counted.append(np.asarray(data["loss_masks"][row], bool))
    return np.concatenate(found), np.concatenate(counted)


def of_trl(batch: Mapping[str, Array], model: Model) -> tuple[Array, Array]:
    """TRL 1.16: `ServerDistillationTrainer.compute_loss`; `tool_mask` as in `GRPOTrainer`."""
    ids = np.concatenate([batch["prompt_ids"], batch["completion_ids"]], axis=1)
    shown = np.concatenate([batch["prompt_mask"], batch["completion_mask"]], axis=1)
    places = np.maximum(np.cumsum(shown, axis=1) - 1, 0)
    prompts = batch["prompt_ids"].shape[1]
    logprobs = model.logprobs(ids, shown, places)[:, prompts - 1 : -1]
    student = chosen(logprobs, batch["completion_ids"])
    counted = (batch["completion_mask"] * batch.get("tool_mask", 1)).astype(bool)
    teacher = np.where(counted, batch["actual_logprobs"], 0.0)
    return np.where(counted, teacher - student, 0.0), counted


def of_trl_file(rows: list[dict[str, Any]], model: Model) -> tuple[Array, Array]:
    """TRL 1.16: `SFTTrainer`, whose model shifts the labels by one; log-probs shift with them."""
    found, counted = [], []
    for row in rows:
        ids, labels = np.array(row["input_ids"]), np.array(row["labels"])
        student = chosen(model.logprobs(ids[None])[0][:-1], ids[1:])
        found.append(np.array(row["teacher_logprobs"], np.float32)[1:] - student)
        counted.append(labels[1:] != -100)
    return np.concatenate(found), np.concatenate(counted)
