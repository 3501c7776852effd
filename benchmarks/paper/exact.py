"""A second diagnosis: the same updates without sampling noise, from whole distributions.

python -m benchmarks.paper.exact full 0 FOLDER

At every state of the stored rollouts the sampled token is replaced by the expectation over all
tokens: over those the start would have sampled (`exact-paper`), or over those the student would
sample now (`exact-online`). What goes wrong with the first is not noise; what goes right with the
second is not fresh states. Both need a live teacher's distributions: nobody would train like that.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

from dataclasses import dataclass
from typing import Any, Final

import torch

from benchmarks.paper.methods import LOSSES, options
from benchmarks.paper.places import Places, signal_ref
from benchmarks.paper.probe import CLIP, distributions, load_model
from benchmarks.paper.runs import Question, on_clock, open_curve
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from lopd_store.signals import open_signal
from lopd_train.collate import Batch
from lopd_train.models import load_policy
from lopd_train.objective import OpdObjective, Sums, Totals, weights
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import ALONE

METHODS: Final = ("exact-paper", "exact-online")
RATES: Final = 2
"""The two rates below the middle and at it: where the updates part."""


@dataclass(frozen=True, slots=True)
class Exact(OpdObjective):
    """The expected update at the stored states.

    Attributes:
        teacher: the live teacher.
        policy: the student as it is being trained.
        reference: whose tokens are expected; None for the policy's own.
    """

    teacher: Any
    policy: Any
    reference: Any | None

    def loss(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> tuple[torch.Tensor, Sums]:
        """See Objective."""
        _, sums = OpdObjective.loss(self, logprobs_N, batch, totals, baseline)
        logits_BTV = self.policy(
            input_ids=batch.input_ids_BT, position_ids=batch.position_ids_BT, use_cache=False
        ).logits
        policy_NV = logits_BTV.flatten(0, 1)[batch.before_N].log_softmax(-1)
        often_NV = policy_NV.detach()
        if self.reference is not None:
            often_NV = distributions(self.reference, batch)
        loss = expected_loss(
            policy_NV,
            distributions(self.teacher, batch),
            often_NV.exp(),
            weights(self.options.reduction, batch, totals),
        )
        return loss, {**sums, "loss": loss.detach()}


def expected_loss(
    policy_NV: torch.Tensor,
    teacher_NV: torch.Tensor,
    often_NV: torch.Tensor,
    weights_N: torch.Tensor,
    *,
    clip: float = CLIP,
) -> torch.Tensor:
    """-Σ_n w_n Σ_a often(a) A(a) log π_θ(a), gradient through the last factor only; scalar.

    Args:
        policy_NV: log π_θ of every token, with gradient.
        teacher_NV: log π_T of every token.
        often_NV: how often each token is expected; probabilities.
        weights_N: of the states in the step.
        clip: τ, nats.
    """
    advantage_NV = (teacher_NV - policy_NV.detach()).clamp(-clip, clip)
    return -(weights_N[:, None] * often_NV * advantage_NV * policy_NV).sum()


def answer(size: Size, seed: int, places: Places, question: Question) -> dict[str, Any]:
    """Train on the expected updates; what came of it."""
    signal = open_signal(signal_ref("train", question.student, question.teacher), root=places.store)
    chosen = options(size, rate=question.rate, seed=seed)
    start = places.student(question.student)
    policy = load_policy(start, chosen, ALONE.device)
    objective = Exact(
        LOSSES["paper"],
        load_model(places.teacher(question.teacher)),
        policy.model,
        load_model(start) if question.method == "exact-paper" else None,
    )
    run = Run(policy, Rows.read(signal), objective, chosen, ALONE)
    curve = open_curve(size, seed, places, question)
    curve.follow(on_clock(iter(run), curve.clock), policy.model)
    return curve.answer(question, policy.model)


def questions(size: Size) -> list[Question]:
    """Both expectations at the rates where the sampled updates part."""
    middle = len(size.rates) // 2
    rates = sorted(size.rates)[max(0, middle + 1 - RATES) : middle + 1]
    return [
        Question(method=method, student="A", teacher="A", rate=rate)
        for method in METHODS
        for rate in rates
    ]


if __name__ == "__main__":
    call = Call.read()
    found = [answer(call.size, call.seed, call.places, one) for one in questions(call.size)]
    call.report("exact", found)
