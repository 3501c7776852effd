"""What becomes of whole next-token distributions on rollouts that nobody trains on.

An update sees the sampled tokens; a vocabulary of 33 lets us see the others too.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.paper.places import Places, signal_ref
from lopd_store.signals import open_signal
from lopd_train.collate import Batch, collate
from lopd_train.drift import DriftGauge
from lopd_train.rows import Rows
from lopd_train.world import ALONE

IMPLAUSIBLE: Final = math.log(1e-3)
"""Below this a token is one that hardly anybody samples."""
CLIP: Final = 10.0


class Probe:
    """A student's rollouts, and the distributions of its teacher and of its own start."""

    def __init__(self, rows: Rows, *, teacher: Any, reference: Any) -> None:
        everything = np.arange(len(rows))
        self._batch = collate(rows, everything, layout="padded").to(ALONE.device)
        self._teacher_NV = distributions(teacher, self._batch)
        self._reference_NV = distributions(reference, self._batch)

    @classmethod
    def open(cls, places: Places, student: str, teacher: str) -> "Probe":
        """The probe of one pair of student and teacher."""
        signal = open_signal(signal_ref("probe", student, teacher), root=places.store)
        return cls(
            Rows.read(signal),
            teacher=load_model(places.teacher(teacher)),
            reference=load_model(places.student(student)),
        )

    def look(self, model: Any) -> dict[str, float]:
        """How far `model` is from its teacher and from its start, in nats and shares a token.

        Returns:
            kl: KL(π_θ ‖ π_T) over the whole vocabulary.
            leaked: probability of tokens that neither the teacher nor the start would say.
            wrong: probability of tokens that the teacher would not say.
            sampled_logprob: mean log-prob of the sampled tokens.
            mean_advantage: of the sampled tokens.
            half_square: mean of A²/2, Huber beyond 10 nats: what the paper's update descends.
            log_ratio_std, sequence_ess, token_ess, kl_rollout: as the trainer's drift gauge.
        """
        student_NV = distributions(model, self._batch)
        probability_NV = student_NV.exp()
        unlikely_NV = self._teacher_NV < IMPLAUSIBLE
        nobody_NV = unlikely_NV & (self._reference_NV < IMPLAUSIBLE)
        targets_N1 = self._batch.targets_N[:, None]
        sampled_N = student_NV.gather(1, targets_N1).squeeze(1)
        advantage_N = self._teacher_NV.gather(1, targets_N1).squeeze(1) - sampled_N
        zeros_N = torch.zeros_like(advantage_N)
        half_square = torch.nn.functional.huber_loss(advantage_N, zeros_N, delta=CLIP)
        return {
            "kl": _mean((probability_NV * (student_NV - self._teacher_NV)).sum(-1)),
            "leaked": _mean((probability_NV * nobody_NV).sum(-1)),
            "wrong": _mean((probability_NV * unlikely_NV).sum(-1)),
            "sampled_logprob": _mean(sampled_N),
            "mean_advantage": _mean(advantage_N.clamp(-CLIP, CLIP)),
            "half_square": float(half_square),
        } | self._drift(sampled_N)

    def _drift(self, sampled_N: torch.Tensor) -> dict[str, float]:
        gauge = DriftGauge()
        reference_N = self._reference_NV.gather(1, self._batch.targets_N[:, None]).squeeze(1)
        gauge.add(sampled_N, reference_N, self._batch.rows_N)
        drift = gauge.drift()
        names = ("log_ratio_std", "ratio_mean", "sequence_ess", "token_ess", "kl_rollout")
        return {name: float(getattr(drift, name)) for name in names}


def distributions(model: Any, batch: Batch) -> torch.Tensor:
    """Natural log-probs [N, V] of every token where a response token stands."""
    with torch.inference_mode():
        logits_BTV = model(
            input_ids=batch.input_ids_BT, position_ids=batch.position_ids_BT, use_cache=False
        ).logits
        found_NV: torch.Tensor = logits_BTV.flatten(0, 1)[batch.before_N].float().log_softmax(-1)
    return found_NV


def load_model(folder: Path) -> Any:
    """A checkpoint, to be asked and not trained."""
    return AutoModelForCausalLM.from_pretrained(folder).to(ALONE.device)


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())
