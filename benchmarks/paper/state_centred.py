"""A diagnosis, not a method: the paper's update less the exact mean advantage of every state.

Away from the start, E over stored samples of ∇log π_θ is no longer zero, so whatever advantage a
state has on average moves probability from all its sampled tokens to all others. If that is what
goes wrong, taking off b(s) = Σ_a π_ref(a|s) (log π_T(a|s) - log π_θ(a|s)) must cure it. It needs
whole distributions of a live teacher, so nobody would train like that.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.paper.places import Places
from benchmarks.paper.probe import CLIP, distributions, load_model
from lopd_train.collate import Batch
from lopd_train.losses import LossOptions
from lopd_train.objective import OpdObjective, Sums, Totals


@dataclass(frozen=True, slots=True)
class StateCentred(OpdObjective):
    """The paper's update, less b(s).

    Attributes:
        teacher: the live teacher.
        reference: the student as it sampled the rollouts.
        policy: the student as it is being trained.
    """

    teacher: Any
    reference: Any
    policy: Any

    def loss(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> tuple[torch.Tensor, Sums]:
        """See Objective. Taking b off the teacher's log-prob takes it off the advantage."""
        teacher_NV, reference_NV, policy_NV = (
            distributions(model, batch) for model in (self.teacher, self.reference, self.policy)
        )
        advantage_NV = (teacher_NV - policy_NV).clamp(-CLIP, CLIP)
        mean_N = (reference_NV.exp() * advantage_NV).sum(-1)
        centred = replace(batch, teacher_N=batch.teacher_N - mean_N)
        return OpdObjective.loss(self, logprobs_N, centred, totals, baseline)


def objective(options: LossOptions, places: Places, student: str, teacher: str, policy: Any) -> Any:
    """The objective of one run."""
    return StateCentred(
        options,
        load_model(places.teacher(teacher)),
        load_model(places.student(student)),
        policy,
    )
