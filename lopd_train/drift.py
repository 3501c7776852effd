"""How far the policy has moved from the one that sampled the rollouts.

Offline training sees only what the old policy sampled, so it can be trusted while the new one
stays near. With r = π_θ/π_rollout of a token and w = the product of r over a response, both
have mean 1 over endless samples; what this file reports is how badly the samples at hand do.
Weights are summed in log space: a w of e^900 is a number here, not an overflow.
"""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from lopd_store.errors import UsageError

# docs/paper.md: the paper's update turned at a spread of log r between 0.09 and 0.33, and its own
# runs stay below 0.1; the weighted one still gained at 0.35 and lost from about 0.4 on.
HEALTHY_SPREAD: Final = 0.1  # nats; below it no share of responses is a reason to stop
LARGEST_SPREAD: Final = 0.1  # nats, of the unweighted update
LARGEST_WEIGHTED_SPREAD: Final = 0.4  # nats, of the update with importance weights
SMALLEST_SHARE: Final = 0.10  # of responses; 4 % stood where training had run away, 38 % elsewhere

Gather = Callable[[list[float]], list[list[float]]]
"""What every process passed, on every process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Distance of the policy π_θ from the policy π_rollout, on the latter's samples.

    Attributes:
        tokens: how many the figures are of.
        sequences: how many responses they stand in.
        ratio_mean: of r; below 1 when probability leaks to tokens that nobody sampled.
        ratio_std: of r.
        log_ratio_mean: of log r, nats.
        log_ratio_std: of log r, nats.
        token_ess: effective sample size of tokens weighted by r, as a share of them, 0 to 1.
        sequence_ess: the same of responses weighted by w. It falls with the length of responses
            alone, as about exp(-tokens · variance of log r).
        token_chi2: estimate of E[r²] - 1, the χ² divergence a token.
        chi2: estimate of E[w²] - 1, the χ² divergence of whole responses; inf beyond float64.
            From few samples, either may come out below 0.
        kl_rollout: estimate of KL(π_rollout ‖ π_θ) in nats a token, the mean of -log r.
        kl: the same from the mean of r - 1 - log r: never negative and less noisy, but too low
            where probability leaks to tokens that the rollouts could not hold (top-p, top-k).
    """

    tokens: int
    sequences: int
    ratio_mean: float
    ratio_std: float
    log_ratio_mean: float
    log_ratio_std: float
    token_ess: float
    sequence_ess: float
    token_chi2: float
    chi2: float
    kl_rollout: float
    kl: float

    def to_json(self) -> dict[str, Any]:
        """The fields by name; floats may be inf or NaN."""
        return asdict(self)


def alone(values: list[float]) -> list[list[float]]:
    """The `Gather` of a process that trains by itself."""
    return [values]


class DriftGauge:
    """Takes the micro-batches of a step, gives its `Drift`.

    It holds eight numbers on the device of what it was given and never waits for that device
    before `drift`.
    """

    def __init__(self) -> None:
        self._moments: _Moments | None = None

    def add(self, logprobs_N: torch.Tensor, rollout_N: torch.Tensor, rows_N: torch.Tensor) -> None:
        """Count the trained tokens of a micro-batch.

        Args:
            logprobs_N: under the policy, nats.
            rollout_N: under the policy that sampled them, nats.
            rows_N: which response of this micro-batch each token is of, int64 below N. A
                response stands in one micro-batch, whole.
        """
        log_ratios_N = logprobs_N.detach().double() - rollout_N.detach().double()
        log_weights_N = torch.zeros_like(log_ratios_N).index_add_(0, rows_N, log_ratios_N)
        present_N = torch.zeros_like(log_ratios_N).index_fill_(0, rows_N, 1)
        found = _Moments.of(log_ratios_N, log_weights_N, present_N)
        self._moments = self._moments + found if self._moments else found

    def drift(self, gather: Gather = alone) -> Drift:
        """The drift over all that was added, here and on the other processes.

        Args:
            gather: called once, on every process.

        Raises:
            UsageError: no process has had a token.
        """
        here = self._moments.values if self._moments else []
        return _drift([values for values in gather(here) if values])


class _Moments:
    """Sums of log r and of its square, logs of the sums of r, r², w and w², and two counts."""

    def __init__(self, sums: torch.Tensor, log_sums: torch.Tensor) -> None:
        self._sums = sums  # tokens, sequences, Σ log r, Σ (log r)²
        self._log_sums = log_sums  # log Σ r, log Σ r², log Σ w, log Σ w²

    @classmethod
    def of(
        cls, log_ratios_N: torch.Tensor, log_weights_N: torch.Tensor, present_N: torch.Tensor
    ) -> "_Moments":
        """The moments of one micro-batch; `log_weights_N` counts where `present_N` is 1."""
        log_weights_N = log_weights_N + present_N.log()
        sums = [
            torch.ones_like(log_ratios_N).sum(),
            present_N.sum(),
            log_ratios_N.sum(),
            log_ratios_N.square().sum(),
        ]
        logs = [log_ratios_N, 2 * log_ratios_N, log_weights_N, 2 * log_weights_N]
        return cls(torch.stack(sums), torch.stack([one.logsumexp(0) for one in logs]))

    def __add__(self, other: "_Moments") -> "_Moments":
        return _Moments(self._sums + other._sums, torch.logaddexp(self._log_sums, other._log_sums))

    @property
    def values(self) -> list[float]:
        """The eight numbers, from the device."""
        found: list[float] = torch.cat([self._sums, self._log_sums]).tolist()
        return found


def _drift(parts: list[list[float]]) -> Drift:
    """The figures of all processes' moments."""
    held = torch.tensor(parts, dtype=torch.float64).reshape(-1, 8)
    tokens, sequences, total, squares = held[:, :4].sum(0).tolist()
    if not tokens:
        raise UsageError("expected at least one token to measure drift on, found none")
    r, r2, w, w2 = held[:, 4:].logsumexp(0).tolist()
    mean = total / tokens
    ratio_mean = _exp(r - math.log(tokens))
    token_chi2 = _exp(r2 - math.log(tokens)) - 1
    return Drift(
        tokens=int(tokens),
        sequences=int(sequences),
        ratio_mean=ratio_mean,
        ratio_std=_root(token_chi2 + 1 - ratio_mean * ratio_mean),
        log_ratio_mean=mean,
        log_ratio_std=_root(squares / tokens - mean**2),
        token_ess=_share(2 * r - r2 - math.log(tokens)),
        sequence_ess=_share(2 * w - w2 - math.log(sequences)),
        token_chi2=token_chi2,
        chi2=_exp(w2 - math.log(sequences)) - 1,
        kl_rollout=-mean,
        kl=ratio_mean - 1 - mean,
    )


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _share(log: float) -> float:
    """At most 1, beyond which only rounding can take it; NaN stays NaN."""
    return min(_exp(log), 1.0)


def _root(value: float) -> float:
    """The square root of a variance, which rounding may have taken below 0; inf - inf is inf."""
    return math.inf if math.isnan(value) else math.sqrt(max(value, 0.0))


def warning(drift: Drift, *, weighted: bool = False) -> str | None:
    """One sentence when the update can no longer be trusted, else None.

    Args:
        drift: of a step.
        weighted: importance weights make up for some of it.
    """
    spread, share = drift.log_ratio_std, drift.sequence_ess
    if not all(map(math.isfinite, (spread, share, drift.kl))):
        return (
            "the drift from the rollout policy is beyond numbers: the policy's or the rollouts'"
            " log-probs cannot be right; stop and verify the signal with its policy"
        )
    largest = LARGEST_WEIGHTED_SPREAD if weighted else LARGEST_SPREAD
    if spread <= largest and (spread <= HEALTHY_SPREAD or share >= SMALLEST_SHARE):
        return None
    return (
        "the policy has moved far from the one that sampled the rollouts:"
        f" the spread of log(policy/rollout) is {spread:.2f} nats a token"
        f" ({largest} is much) and {share:.1%} of the responses still count;"
        " stop here and sample new rollouts with this policy, or lower the learning rate"
    )
