"""The loop: rows and a policy in, one report an optimiser step out."""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: docs/notation.md

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lopd_store.errors import FormatError
from lopd_train.batches import Steps, micro_batches, share
from lopd_train.collate import Batch, collate
from lopd_train.drift import Drift, DriftGauge, warning
from lopd_train.errors import DivergedError
from lopd_train.models import load_policy
from lopd_train.objective import Objective, Totals
from lopd_train.options import TrainOptions
from lopd_train.policy import Policy
from lopd_train.rows import Rows
from lopd_train.softmax import Slopes
from lopd_train.world import ALONE, World, restore, state_of

_MAX_SHOWN = 4
_MOMENTS = ("exp_avg", "exp_avg_sq")
_NOT_A_STATE = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one optimiser step did. Log-probs were taken before the update.

    Attributes:
        step: how many steps are done now.
        steps: how many there will be.
        loss: of the step, in the objective's own terms.
        values: further figures of the objective, such as `mean_advantage` and `kl`, in nats.
        gradient_norm: before clipping.
        learning_rate: of this step.
        tokens: trained tokens in it.
        seconds: wall time of it.
        drift: how far the policy is from the one that sampled; None when not looked at.
        warning: why the update can no longer be trusted, when the drift says so.
    """

    step: int
    steps: int
    loss: float
    values: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    drift: Drift | None
    warning: str | None

    def to_json(self) -> dict[str, Any]:
        """One flat object, as in metrics.jsonl."""
        drift = self.drift.to_json() if self.drift else {}
        return {
            "step": self.step,
            "loss": self.loss,
            **self.values,
            "gradient_norm": self.gradient_norm,
            "learning_rate": self.learning_rate,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 6),
            **{f"drift/{name}": value for name, value in drift.items()},
        }


class Run:
    """The training of a policy on rows. Iterating takes the steps that are left.

        for report in run:
            print(report.step, report.loss)

    Between two reports the policy may be looked at, evaluated or saved; not during a step.
    """

    def __init__(
        self,
        policy: Policy,
        rows: Rows,
        objective: Objective,
        options: TrainOptions,
        world: World,
    ) -> None:
        """Put the policy into `world` and make its optimiser.

        Raises:
            UsageError: rows that lack what the objective needs.
            FormatError: token ids that the policy does not have.
        """
        objective.check(rows)
        _check_ids(policy, rows)
        self.policy = policy
        self.world = world
        self.options = options
        self.step = 0
        self._rows = rows
        self._objective = objective
        self._order = Steps(len(rows), batch=options.batches.batch, seed=options.batches.seed)
        self.steps = options.steps or self._order.per_epoch
        world.shard(policy, policy.layers)
        self._parameters = [one for one in policy.parameters() if one.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters,
            lr=options.optimiser.learning_rate,
            betas=options.optimiser.betas,
            weight_decay=options.optimiser.weight_decay,
        )

    @classmethod
    def open(
        cls,
        start: Path,
        rows: Rows,
        objective: Objective,
        options: TrainOptions,
        world: World = ALONE,
    ) -> "Run":
        """The training of the checkpoint in the folder `start`; raises as `load_policy` too."""
        policy = load_policy(start, options, world.device)
        return cls(policy, rows, objective, options, world)

    def __iter__(self) -> Iterator[StepReport]:
        """Take the steps that are left.

        Raises DivergedError when a loss or gradient is not finite; the weights are then those of
        the step before.
        """
        while self.step < self.steps:
            yield self._take_step()

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, whole and on the CPU; empty but on rank 0.

        Raises DivergedError when a weight is not finite: such a state is not worth keeping.
        """
        finite = all(bool(one.isfinite().all()) for one in self._local_parameters())
        if self.world.any(not finite):
            raise DivergedError(
                f"step {self.step} of {self.steps}: expected finite weights, found others"
            )
        return state_of(self.policy, self._optimiser) | {"step": self.step}

    def _local_parameters(self) -> Iterator[torch.Tensor]:
        """What this process holds of each trained parameter."""
        for one in self._parameters:
            local = getattr(one, "to_local", None)
            yield local() if local else one

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, here or in another number of processes.

        Settings of the optimiser are those of this run, whatever the state says.

        Raises FormatError when it is not a state of this policy.
        """
        settings = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self._optimiser.param_groups
        ]
        try:
            self.step = _checked_step(state, self._parameters)
            restore(self.policy, self._optimiser, dict(state))
        except _NOT_A_STATE as error:
            raise FormatError(f"expected a state of this policy to go on from: {error}") from error
        for group, own in zip(self._optimiser.param_groups, settings, strict=True):
            group.update(own)

    def weights(self) -> dict[str, torch.Tensor]:
        """The policy's weights, as in `state`."""
        found: dict[str, torch.Tensor] = self.state()["model"]
        return found

    def _take_step(self) -> StepReport:
        started = time.perf_counter()
        chosen = self._order.rows_of(self.step)
        batches = self._batches(chosen)
        totals = Totals(rows=len(chosen), tokens=int(self._rows.trained_lengths[chosen].sum()))
        gauge = self._gauge()
        baseline = self._mean_advantage(batches, totals) if self._objective.centred else 0.0
        rate = self.options.optimiser.rate(self.step, self.steps)
        sums = self._gradients(batches, totals, baseline, gauge)
        self._refuse_not_finite(sums["loss"], "loss", chosen)
        norm = self._clip()
        self._refuse_not_finite(norm, "norm of the gradient", chosen)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.step += 1
        drift = gauge.drift(self.world.gather) if gauge else None
        return StepReport(
            step=self.step,
            steps=self.steps,
            loss=sums["loss"],
            values=self._objective.report(sums | {"tokens": float(totals.tokens)}),
            gradient_norm=norm,
            learning_rate=rate,
            tokens=totals.tokens,
            seconds=time.perf_counter() - started,
            drift=drift,
            warning=warning(drift, weighted=self._objective.weighted) if drift else None,
        )

    def _batches(self, chosen: npt.NDArray[np.int64]) -> list[Batch]:
        """This process's micro-batches of a step, the same number as every other's."""
        batches = self.options.batches
        cut = micro_batches(
            chosen,
            self._rows.lengths,
            budget=batches.micro_batch_tokens,
            layout=batches.layout,
        )
        mine = share(cut, rank=self.world.rank, world=self.world.size)
        return [collate(self._rows, part, layout=batches.layout) for part in mine]

    def _logprobs(self, batch: Batch, slopes: Slopes | None = None) -> torch.Tensor:
        device = self.world.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            try:
                found: torch.Tensor = self.policy(batch, slopes)
            except IndexError as error:  # ids were checked: what is left are learnt positions
                raise FormatError(
                    f"expected rows that the policy has positions for, found one of"
                    f" {int(self._rows.lengths.max())} ids: {error}"
                ) from error
        return found

    def _slopes(self, batch: Batch, totals: Totals, baseline: float) -> Slopes:
        """What `target_logprobs` may know of the loss before there is one."""

        def slopes(logprobs_C: torch.Tensor, where: slice) -> torch.Tensor:
            return self._objective.slopes(logprobs_C, batch.tokens(where), totals, baseline)

        return slopes

    def _mean_advantage(self, batches: Sequence[Batch], totals: Totals) -> float:
        """Over the whole step, as weighted in its loss: a pass without gradient."""
        total = torch.zeros(2, dtype=torch.float64, device=self.world.device)
        with torch.no_grad():
            for batch in batches:
                here = batch.to(self.world.device)
                total += self._objective.weighted_advantage(self._logprobs(here), here, totals)
        weighted, weight = self.world.sum(total).tolist()
        return float(weighted / weight)

    def _gradients(
        self,
        batches: Sequence[Batch],
        totals: Totals,
        baseline: float,
        gauge: DriftGauge | None,
    ) -> dict[str, float]:
        """Accumulate the gradient of a step; its sums over all processes."""
        total: dict[str, torch.Tensor] = {}
        for batch in batches:
            here = batch.to(self.world.device)
            logprobs_N = self._logprobs(here, self._slopes(here, totals, baseline))
            loss, sums = self._objective.loss(logprobs_N, here, totals, baseline)
            (loss * self.world.size).backward()  # FSDP2 averages over processes; a loss is a sum
            for name, value in sums.items():
                total[name] = total.get(name, 0) + value.double()
            if gauge:
                gauge.add(logprobs_N.detach(), here.rollout_N, here.rows_N)
        names = sorted(total)
        found = self.world.sum(torch.stack([total[name] for name in names])).tolist()
        return dict(zip(names, found, strict=True))

    def _clip(self) -> float:
        norm = torch.nn.utils.clip_grad_norm_(
            self._parameters, self.options.optimiser.gradient_clip
        )
        whole = getattr(norm, "full_tensor", None)  # FSDP2 gives a norm in parts
        return float(whole() if whole else norm)

    def _gauge(self) -> DriftGauge | None:
        every = self.options.drift_every
        wanted = bool(every) and self.step % every == 0 and self._rows.rollout_logprobs is not None
        return DriftGauge() if wanted else None

    def _refuse_not_finite(self, value: float, what: str, chosen: npt.NDArray[np.int64]) -> None:
        if math.isfinite(value):
            return
        self._optimiser.zero_grad(set_to_none=True)
        shown = ", ".join(map(str, sorted(chosen.tolist())[:_MAX_SHOWN]))
        raise DivergedError(
            f"step {self.step + 1} of {self.steps}: expected a finite {what}, found {value}"
            f" on {len(chosen)} rows ({shown}, …); the weights are those of step {self.step}"
        )


def _checked_step(state: Mapping[str, Any], parameters: Sequence[torch.Tensor]) -> int:
    """The step of a state whose parts look like one; torch would pass over what is empty.

    Raises one of `_NOT_A_STATE`.
    """
    step, weights, optimiser = state["step"], state["model"], state["optimiser"]
    if type(step) is not int or step < 0:
        raise ValueError(f"expected steps done, found {step!r:.80}")
    if not isinstance(weights, dict) or not weights:
        raise ValueError("expected weights by name, found none")
    moments = [[one[name] for name in _MOMENTS] for one in optimiser["state"].values()]
    there = sorted(tuple(moment.shape) for both in moments for moment in both)
    wanted = sorted(tuple(one.shape) for one in parameters for _ in _MOMENTS)
    if there != wanted and (step or there):  # before the first step there are none
        raise ValueError("expected two moments of the shape of each trained parameter")
    return step


def _check_ids(policy: Policy, rows: Rows) -> None:
    vocabulary = policy.causal_lm.get_input_embeddings().num_embeddings
    for name, ids in (("prompt_ids", rows.prompt_ids), ("response_ids", rows.response_ids)):
        largest = int(ids.max(initial=0))
        if largest >= vocabulary:
            raise FormatError(
                f"{name}: expected token ids below {vocabulary}, the policy's vocabulary,"
                f" found {largest}"
            )
