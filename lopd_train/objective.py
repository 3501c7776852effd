"""What a step minimises: the OPD surrogate, or the likelihood of a teacher's responses."""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from lopd_store.errors import UsageError
from lopd_train.collate import Batch
from lopd_train.losses import (
    LossOptions,
    Reduction,
    SurrogateLoss,
    mean_advantage,
    opd_loss,
    reduction_weights,
    sft_loss,
)
from lopd_train.rows import Rows

Sums = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a whole optimiser step, all its micro-batches on all processes.

    Attributes:
        rows: with at least one trained token.
        tokens: trained ones.
    """

    rows: int
    tokens: int


class Objective(Protocol):
    """A loss that is a plain sum over the tokens of a step, however they are cut."""

    @property
    def centred(self) -> bool:
        """Whether `loss` wants the mean advantage of the step before it is called."""

    @property
    def weighted(self) -> bool:
        """Whether importance weights make up for some drift."""

    def check(self, rows: Rows) -> None:
        """Raise UsageError when `rows` lack a column that the loss needs."""

    def loss(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> tuple[torch.Tensor, Sums]:
        """The micro-batch's part of the loss, and sums to report, detached."""

    def slopes(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> torch.Tensor:
        """The gradient of `loss` by each log-prob; a token's depends on that token alone."""

    def weighted_advantage(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals
    ) -> torch.Tensor:
        """[2] float64: advantages times their weights in the loss, and the weights, summed."""

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """What people read, from the sums over a step."""


@dataclass(frozen=True, slots=True)
class OpdObjective:
    """Lightning OPD; `options` says which of its updates."""

    options: LossOptions

    @property
    def centred(self) -> bool:
        """See Objective."""
        return self.options.centre

    @property
    def weighted(self) -> bool:
        """See Objective."""
        return self.options.importance == "token"

    def check(self, rows: Rows) -> None:
        """See Objective."""
        if rows.teacher_logprobs is None:
            raise UsageError("expected a signal, found rows without teacher_logprobs")
        if self.options.importance == "token" and rows.rollout_logprobs is None:
            raise UsageError(
                "expected rollout_logprobs for importance weights, found none: train with"
                " --importance none, or sample the rollouts with lopd-store generate"
            )

    def loss(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> tuple[torch.Tensor, Sums]:
        """See Objective."""
        found = self._surrogate(logprobs_N, batch, totals, baseline)
        assert batch.teacher_N is not None  # noqa: S101 - `check` refused it
        gap_N = batch.teacher_N - logprobs_N.detach()
        ratio_N = torch.ones_like(gap_N)
        if batch.rollout_N is not None:
            ratio_N = (logprobs_N.detach() - batch.rollout_N).exp()
        sums = {
            "loss": found.loss.detach(),
            "advantage": found.advantages_N.sum(),
            "abs_advantage": found.advantages_N.abs().sum(),
            "clipped": (gap_N.abs() > self.options.advantage_clip).sum(),
            "kl": -(ratio_N * gap_N).sum(),
            "ratio": ratio_N.sum(),
            "logprob": logprobs_N.detach().sum(),
        }
        return found.loss, sums

    def slopes(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> torch.Tensor:
        """See Objective."""
        return self._surrogate(logprobs_N, batch, totals, baseline).slopes_N

    def _surrogate(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals, baseline: float
    ) -> SurrogateLoss:
        assert batch.teacher_N is not None  # noqa: S101 - `check` refused it
        return opd_loss(
            logprobs_N,
            batch.teacher_N,
            weights(self.options.reduction, batch, totals),
            options=self.options,
            rollout_N=batch.rollout_N,
            baseline=baseline,
        )

    def weighted_advantage(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals
    ) -> torch.Tensor:
        """See Objective."""
        assert batch.teacher_N is not None  # noqa: S101 - `check` refused it
        weights_N = weights(self.options.reduction, batch, totals)
        return mean_advantage(logprobs_N, batch.teacher_N, weights_N, options=self.options)

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """See Objective. `kl` estimates KL(π_θ‖π_T) a token.

        Tokens are weighted with π_θ/π_rollout; without rollout_logprobs it is that of the policy
        as it was when it sampled, over its own tokens.
        """
        tokens = sums["tokens"]
        return {
            "mean_advantage": sums["advantage"] / tokens,
            "mean_abs_advantage": sums["abs_advantage"] / tokens,
            "clipped_share": sums["clipped"] / tokens,
            "kl": sums["kl"] / sums["ratio"] if sums["ratio"] else float("nan"),
            "mean_logprob": sums["logprob"] / tokens,
        }


@dataclass(frozen=True, slots=True)
class SftObjective:
    """Maximum likelihood of the responses of an sft artifact."""

    reduction: Reduction = "token-mean"

    @property
    def centred(self) -> bool:
        """See Objective."""
        return False

    @property
    def weighted(self) -> bool:
        """See Objective."""
        return False

    def check(self, rows: Rows) -> None:
        """Any rows will do."""

    def loss(
        self,
        logprobs_N: torch.Tensor,
        batch: Batch,
        totals: Totals,
        baseline: float,  # noqa: ARG002 - of the protocol
    ) -> tuple[torch.Tensor, Sums]:
        """See Objective."""
        loss = sft_loss(logprobs_N, weights(self.reduction, batch, totals))
        return loss, {"loss": loss.detach(), "logprob": logprobs_N.detach().sum()}

    def slopes(
        self,
        logprobs_N: torch.Tensor,  # noqa: ARG002 - of the protocol
        batch: Batch,
        totals: Totals,
        baseline: float,  # noqa: ARG002 - of the protocol
    ) -> torch.Tensor:
        """See Objective."""
        return -weights(self.reduction, batch, totals)

    def weighted_advantage(
        self, logprobs_N: torch.Tensor, batch: Batch, totals: Totals
    ) -> torch.Tensor:
        """There is no advantage here: `centred` is false."""
        raise NotImplementedError

    def report(self, sums: Mapping[str, float]) -> dict[str, float]:
        """See Objective."""
        return {"mean_logprob": sums["logprob"] / sums["tokens"]}


def weights(reduction: Reduction, batch: Batch, totals: Totals) -> torch.Tensor:
    """The weight of each token of a micro-batch in the loss of its whole step."""
    return reduction_weights(reduction, batch.lengths_N, rows=totals.rows, tokens=totals.tokens)
