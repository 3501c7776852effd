# ruff: noqa: N803, N806 - shape letters end a tensor's name
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lopd_store.errors import UsageError
from lopd_train.drift import Drift, DriftGauge, warning

Floats = npt.NDArray[np.float64]

LENGTHS = (7, 1, 19, 4, 30, 2)


def made(seed: int, *, spread: float = 0.3) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Log-probs, rollout log-probs and rows of responses of LENGTHS tokens."""
    random = np.random.default_rng(seed)
    count = sum(LENGTHS)
    rollout_N = -random.exponential(1.0, count)
    logprobs_N = rollout_N + random.normal(-0.03, spread, count)
    return logprobs_N, rollout_N, np.repeat(np.arange(len(LENGTHS)), LENGTHS)


def gauge_of(*parts: tuple[Any, Any, Any], dtype: torch.dtype = torch.float64) -> DriftGauge:
    gauge = DriftGauge()
    for logprobs_N, rollout_N, rows_N in parts:
        gauge.add(
            torch.tensor(logprobs_N, dtype=dtype),
            torch.tensor(rollout_N, dtype=dtype),
            torch.tensor(rows_N, dtype=torch.int64),
        )
    return gauge


def drift_of(*parts: tuple[Any, Any, Any], dtype: torch.dtype = torch.float64) -> Drift:
    return gauge_of(*parts, dtype=dtype).drift()


def oracle(logprobs_N: Floats, rollout_N: Floats, rows_N: npt.NDArray[np.int64]) -> Any:
    """The textbook formulas, out of log space, in NumPy float64."""
    log_r = logprobs_N - rollout_N
    r = np.exp(log_r)
    w = np.array([np.prod(r[rows_N == row]) for row in np.unique(rows_N)])
    return {
        "tokens": len(r),
        "sequences": len(w),
        "ratio_mean": r.mean(),
        "ratio_std": r.std(),
        "log_ratio_mean": log_r.mean(),
        "log_ratio_std": log_r.std(),
        "token_ess": r.sum() ** 2 / (r**2).sum() / len(r),
        "sequence_ess": w.sum() ** 2 / (w**2).sum() / len(w),
        "token_chi2": (r**2).mean() - 1,
        "chi2": (w**2).mean() - 1,
        "kl_rollout": (-log_r).mean(),
        "kl": (r - 1 - log_r).mean(),
    }


def test_every_figure_is_that_of_the_textbook_formula() -> None:
    data = made(0)
    assert drift_of(data).to_json() == pytest.approx(oracle(*data), rel=1e-11)


def test_figures_worked_by_hand() -> None:
    log_r = [math.log(2), 0.0, math.log(0.5), math.log(0.5)]  # r = 2, 1, .5, .5; w = 2, .25
    found = drift_of((log_r, [0.0] * 4, [0, 0, 1, 1]))
    assert found.ratio_mean == pytest.approx(1.0)
    assert found.ratio_std == pytest.approx(math.sqrt(1.5 / 4))
    assert found.token_ess == pytest.approx(16 / 5.5 / 4)
    assert found.sequence_ess == pytest.approx(2.25**2 / 4.0625 / 2)
    assert found.token_chi2 == pytest.approx(5.5 / 4 - 1)
    assert found.chi2 == pytest.approx(4.0625 / 2 - 1)
    assert found.kl_rollout == pytest.approx(math.log(2) / 4)
    assert found.kl == pytest.approx(math.log(2) / 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_policy_has_not_drifted_at_all(dtype: torch.dtype) -> None:
    _, rollout_N, rows_N = made(1)
    found = drift_of((rollout_N, rollout_N, rows_N), dtype=dtype)
    assert (found.log_ratio_mean, found.log_ratio_std) == (0.0, 0.0)
    assert (found.token_ess, found.sequence_ess) == pytest.approx((1.0, 1.0), abs=1e-12)
    ones_and_zeros = (found.ratio_mean, found.token_chi2, found.chi2, found.kl)
    assert ones_and_zeros == pytest.approx((1.0, 0.0, 0.0, 0.0), abs=1e-12)
    assert found.ratio_std == pytest.approx(0.0, abs=1e-6)
    assert warning(found) is None


def test_micro_batches_and_processes_add_up_to_the_same_drift() -> None:
    parts = [made(seed, spread=0.1 + 0.2 * seed) for seed in range(4)]
    rows_N = np.concatenate([part[2] + 6 * number for number, part in enumerate(parts)])
    whole = oracle(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        rows_N,
    )
    nothing: tuple[Any, Any, Any] = ([], [], [])
    assert drift_of(*parts, nothing).to_json() == pytest.approx(whole, rel=1e-11)
    one, other, idle = gauge_of(*parts[:3]), gauge_of(nothing, parts[3]), DriftGauge()
    states: list[list[float]] = []

    def gather(values: list[float]) -> list[list[float]]:
        states.append(values)
        return states

    for gauge in (one, idle):
        gauge.drift(gather)
    assert other.drift(gather).to_json() == pytest.approx(whole, rel=1e-11)


def test_long_responses_overflow_nothing_but_what_is_beyond_float64() -> None:
    # w = e^±1000 for two responses of 2,000 tokens: e^2000 is no float64
    log_r = np.repeat([0.5, -0.5], 2000)
    found = drift_of((log_r, np.zeros(4000), np.repeat([0, 1], 2000)))
    assert found.sequence_ess == pytest.approx(0.5)
    assert found.chi2 == math.inf
    assert found.log_ratio_std == pytest.approx(0.5)
    assert found.token_ess == pytest.approx(math.cosh(0.5) ** 2 / math.cosh(1.0))


def test_a_single_token_beyond_float64_gives_inf_and_no_error() -> None:
    found = drift_of(([0.0, 0.0], [-900.0, 0.0], [0, 1]))
    assert (found.ratio_mean, found.ratio_std, found.chi2) == (math.inf, math.inf, math.inf)
    assert (found.token_ess, found.sequence_ess) == pytest.approx((0.5, 0.5))


def test_rows_that_do_not_follow_each_other_are_counted_by_row() -> None:
    logprobs_N, rollout_N, rows_N = made(2)
    turned = np.random.default_rng(0).permutation(len(rows_N))
    gaps = rows_N * 3 + 1
    found = drift_of((logprobs_N[turned], rollout_N[turned], gaps[turned]))
    assert found.to_json() == pytest.approx(oracle(logprobs_N, rollout_N, rows_N), rel=1e-11)


def test_log_probs_that_need_a_gradient_are_measured_without_one() -> None:
    logprobs_N = torch.zeros(2, requires_grad=True)
    gauge = DriftGauge()
    gauge.add(logprobs_N, torch.zeros(2), torch.tensor([0, 1]))
    assert gauge.drift().tokens == 2
    assert logprobs_N.grad is None


@pytest.mark.parametrize("given", [[], [([], [], [])]], ids=["nothing", "no-token"])
def test_drift_of_no_token_is_refused(given: list[Any]) -> None:
    with pytest.raises(UsageError, match="at least one token"):
        drift_of(*given)


def sampled(spread: float, *, tokens: int = 50, rows: int = 1000) -> Drift:
    log_r = np.random.default_rng(0).normal(-(spread**2) / 2, spread, tokens * rows)
    return drift_of((log_r, np.zeros(len(log_r)), np.repeat(np.arange(rows), tokens)))


def test_training_that_went_well_raises_no_warning() -> None:
    found = sampled(0.12)
    assert 0.38 < found.sequence_ess < 0.6
    assert warning(found, weighted=True) is None


def test_an_update_that_ran_away_is_warned_of_with_what_to_do() -> None:
    found = sampled(0.42)
    assert found.sequence_ess < 0.08
    said = warning(found)
    assert said is not None
    assert "0.42 nats" in said
    assert "sample new rollouts" in said


def test_responses_that_no_longer_count_are_warned_of_before_the_spread_is_large() -> None:
    found = sampled(0.2, tokens=150)
    assert found.sequence_ess < 0.10
    assert "of the responses still count" in (warning(found, weighted=True) or "")


def test_long_responses_alone_raise_no_warning() -> None:
    found = sampled(0.09, tokens=1000)
    assert found.sequence_ess < 0.10
    assert warning(found) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_log_probs_that_are_not_finite_are_warned_of(value: float) -> None:
    found = drift_of(([value, -1.0], [-1.0, -1.0], [0, 1]))
    assert "beyond numbers" in (warning(found) or "")
    assert [s for s in (found.token_ess, found.sequence_ess) if s > 0.6] == []


@pytest.mark.parametrize("absurd", [-3e38, -1e30, -800.0])
@pytest.mark.parametrize("variant", [{}, {"weighted": True}], ids=["paper", "weighted"])
def test_rollouts_that_nobody_can_have_sampled_are_no_silence(
    absurd: float, variant: dict[str, bool]
) -> None:
    gauge = DriftGauge()
    sampled = torch.full((4,), absurd)
    gauge.add(torch.tensor([-1.0, -2.0, -0.5, -0.1]), sampled, torch.tensor([0, 0, 1, 1]))
    assert warning(gauge.drift(), **variant) is not None


def test_importance_weights_bear_more_drift() -> None:
    gauge = DriftGauge()
    rollout = torch.full((4000,), -2.0)
    noise = 0.3 * torch.tensor([1.0, -1.0]).repeat(2000)
    gauge.add(rollout + noise, rollout, torch.arange(4000))
    assert warning(gauge.drift()) is not None
    assert warning(gauge.drift(), weighted=True) is None
