"""What the trainer minimises: the surrogate of Lightning OPD, and plain likelihood for SFT.

Pure functions of log-probs of the trained tokens, flat over the rows of a micro-batch; all in
nats. The symbols, and where each formula stands in the paper, are in docs/notation.md.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md
# ruff: noqa: RUF002 - formulas are written as on paper

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch

from lopd_store.errors import UsageError

Reduction = Literal["sequence-mean", "token-mean", "token-sum"]
Importance = Literal["none", "token"]

REDUCTIONS: Final[tuple[str, ...]] = get_args(Reduction)
IMPORTANCES: Final[tuple[str, ...]] = get_args(Importance)
_MAX_FLOAT32: Final = float(torch.finfo(torch.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """Which of the updates, and with which bounds.

    Attributes:
        reduction: the mean over a row's tokens, then over rows; the mean over all tokens; or the
            paper's sum over a row's tokens, then the mean over rows.
        importance: `none` is the paper's update; `token` weights every token with π_θ/π_ref.
        importance_cap: the most that such a weight can be.
        advantage_clip: τ, nats: advantages are clipped to [−τ, τ]; may be infinite.
        centre: subtract the step's mean advantage from every advantage.
        ppo_clip: ε: no gradient where π_θ/π_ref has left [1−ε, 1+ε] in the advantage's direction.
    """

    reduction: Reduction = "sequence-mean"
    importance: Importance = "token"
    importance_cap: float = 5.0
    advantage_clip: float = 10.0
    centre: bool = False
    ppo_clip: float | None = None

    def __post_init__(self) -> None:
        _refuse_unknown("reduction", self.reduction, REDUCTIONS)
        _refuse_unknown("importance", self.importance, IMPORTANCES)
        for name in ("importance_cap", "advantage_clip"):
            if not (found := getattr(self, name)) > 0:
                raise UsageError(f"{name}: expected a number above 0, found {found}")
            if _MAX_FLOAT32 < found < math.inf:
                raise UsageError(f"{name}: expected a float32 or infinity, found {found}")
        if self.ppo_clip is None:
            return
        if not 0 < self.ppo_clip < 1:
            raise UsageError(f"ppo_clip: expected a number between 0 and 1, found {self.ppo_clip}")
        if self.importance != "token":
            raise UsageError(
                "ppo_clip bounds the ratio to the rollout policy: expected importance 'token'"
                f" with it, found {self.importance!r}"
            )

    @property
    def variant(self) -> str:
        """The update's name: `paper`, `weighted`, `centred` or `weighted+centred`; then `+ppo`."""
        words = ["weighted"] * (self.importance == "token") + ["centred"] * self.centre
        return "+".join((words or ["paper"]) + ["ppo"] * (self.ppo_clip is not None))


@dataclass(frozen=True, slots=True)
class SurrogateLoss:
    """A micro-batch's part of the loss of a step, and what it was made of.

    Attributes:
        loss: scalar, the only one with a gradient.
        slopes_N: that gradient, by each log-prob: -w · ρ · (A − baseline). A token's slope depends
            on its own log-prob alone, which is what `target_logprobs` wants to know.
        advantages_N: clipped, before centring.
        importance_N: the capped weights; None for importance `none`.
        clipped: the share of tokens whose advantage was clipped; scalar, NaN for no tokens.
        stopped: the share of tokens without a gradient because of `ppo_clip`; the same.
    """

    loss: torch.Tensor
    slopes_N: torch.Tensor
    advantages_N: torch.Tensor
    importance_N: torch.Tensor | None
    clipped: torch.Tensor
    stopped: torch.Tensor


def advantages(
    teacher_N: torch.Tensor, logprobs_N: torch.Tensor, *, clip: float = math.inf
) -> torch.Tensor:
    """A = clip(log π_T − log π_θ, ±τ) of every token, nats, without gradient (eq. 2)."""
    return (teacher_N - logprobs_N.detach()).clamp(-clip, clip)


def importance_weights(
    logprobs_N: torch.Tensor, rollout_N: torch.Tensor, *, cap: float
) -> torch.Tensor:
    """ρ = min(π_θ/π_ref, cap) of every token, without gradient; 1 while the policy is π_ref."""
    return (logprobs_N.detach() - rollout_N).exp().clamp(max=cap)


def reduction_weights(
    reduction: Reduction, lengths_N: torch.Tensor, *, rows: int, tokens: int
) -> torch.Tensor:
    """The weight w of every token, such that the loss of a step is the sum over its tokens.

    That sum may be cut into micro-batches and spread over processes in any way.

    Args:
        reduction: see LossOptions.
        lengths_N: trained tokens of the row that the token is in.
        rows: of the whole step that have a trained token.
        tokens: trained ones of the whole step.

    Returns:
        1/(length · rows), 1/tokens or 1/rows; float32. They sum to 1 over a step, or, for
        `token-sum`, to the mean length of its rows.
    """
    _refuse_unknown("reduction", reduction, REDUCTIONS)
    if reduction == "sequence-mean":
        return 1.0 / (lengths_N.float() * rows)
    return torch.full_like(
        lengths_N, 1.0 / (tokens if reduction == "token-mean" else rows), dtype=torch.float32
    )


def mean_advantage(
    logprobs_N: torch.Tensor,
    teacher_N: torch.Tensor,
    weights_N: torch.Tensor,
    *,
    options: LossOptions,
) -> torch.Tensor:
    """[2] float64: the sum of w · A, and of w. Summed over a step, their ratio is the baseline."""
    found_N = advantages(teacher_N, logprobs_N, clip=options.advantage_clip).double()
    weights_N = weights_N.double()
    return torch.stack([(weights_N * found_N).sum(), weights_N.sum()])


def opd_loss(
    logprobs_N: torch.Tensor,
    teacher_N: torch.Tensor,
    weights_N: torch.Tensor,
    *,
    options: LossOptions,
    rollout_N: torch.Tensor | None = None,
    baseline: float = 0.0,
) -> SurrogateLoss:
    """The surrogate −Σ w · sg(ρ · (A − baseline)) · log π_θ: its gradient is the paper's update.

    sg stops the gradient. Without ρ and baseline, the gradient is that of
    Σ w · ½(log π_T − log π_θ)², and, where A is clipped, of a Huber loss with δ = τ. It is zero
    where the student's log-prob is the teacher's.

    Args:
        logprobs_N: log π_θ of the trained tokens, float32 or float64.
        teacher_N: log π_T of them, finite.
        weights_N: w, from `reduction_weights`; 0 leaves a token out.
        options: the variant.
        rollout_N: log π_ref of them, as sampled; only read for importance `token`.
        baseline: the mean advantage of the whole step when centring, else 0.

    Raises:
        UsageError: importance `token` without `rollout_N`, or a baseline without `centre`.
    """
    if baseline and not options.centre:
        raise UsageError(f"expected no baseline without centre, found {baseline}")
    frozen_N = logprobs_N.detach()
    advantages_N = advantages(teacher_N, frozen_N, clip=options.advantage_clip)
    gains_N = advantages_N - baseline if options.centre else advantages_N
    slopes_N = -weights_N * gains_N
    importance_N = None
    stopped_N = torch.zeros_like(frozen_N, dtype=torch.bool)
    if options.importance == "token":
        rollout_N = _wanted(rollout_N)
        importance_N = importance_weights(frozen_N, rollout_N, cap=options.importance_cap)
        slopes_N = slopes_N * importance_N
        if options.ppo_clip is not None:
            stopped_N = _stopped(frozen_N - rollout_N, gains_N, options.ppo_clip)
            slopes_N = slopes_N.masked_fill(stopped_N, 0.0)
    return SurrogateLoss(
        loss=(slopes_N * logprobs_N).sum(),
        slopes_N=slopes_N,
        advantages_N=advantages_N,
        importance_N=importance_N,
        clipped=((teacher_N - frozen_N).abs() > options.advantage_clip).float().mean(),
        stopped=stopped_N.float().mean(),
    )


def sft_loss(logprobs_N: torch.Tensor, weights_N: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood −Σ w · log π_θ; a scalar."""
    return -(weights_N * logprobs_N).sum()


def _stopped(log_ratios_N: torch.Tensor, gains_N: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Where PPO's −min(r A, clip(r, 1−ε, 1+ε) A) is flat in r."""
    too_likely_N = (gains_N > 0) & (log_ratios_N > math.log1p(epsilon))
    too_unlikely_N = (gains_N < 0) & (log_ratios_N < math.log1p(-epsilon))
    return too_likely_N | too_unlikely_N


def _wanted(rollout_N: torch.Tensor | None) -> torch.Tensor:
    if rollout_N is None:
        raise UsageError(
            "expected rollout_logprobs for importance weights, found none: train with"
            " --importance none, or sample the rollouts with lopd-store generate, which keeps them"
        )
    return rollout_N


def _refuse_unknown(name: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise UsageError(f"{name}: expected one of {', '.join(known)}, found {found!r}")
