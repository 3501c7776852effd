"""Standard OPD, to compare with: fresh rollouts and a live teacher at every step.

One step is a step of the trainer's own loop on rows sampled a moment ago; vLLM samples from the
policy's present weights and the teacher scores what was sampled, both in this process.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.paper.clock import Clock
from benchmarks.paper.data import SAMPLES, SAMPLING, SCORING
from benchmarks.paper.evaluate import MAX_TOKENS
from benchmarks.paper.learning import rows_of
from benchmarks.paper.methods import LOSSES, options
from benchmarks.paper.places import Places
from benchmarks.paper.problems import problems
from benchmarks.paper.runs import Question, open_curve
from benchmarks.paper.sizes import Size
from benchmarks.paper.tokenizer import encode, new_tokenizer
from lopd_store import Sampling
from lopd_store.engines import open_sampler, open_scorer
from lopd_store.engines.protocol import Sampler, Scorer, Sequences, request_seeds
from lopd_train.batches import Steps
from lopd_train.models import load_policy
from lopd_train.objective import OpdObjective
from lopd_train.options import TrainOptions
from lopd_train.policy import Policy
from lopd_train.rows import Rows
from lopd_train.run import Run, StepReport
from lopd_train.world import ALONE

ONE_EACH: Final = Sampling(temperature="1", top_p="1", max_tokens=MAX_TOKENS, seed=0, n=1)


class Live:
    """A sampler that follows the policy, and a teacher that scores what it said."""

    def __init__(self, sampler: Sampler, scorer: Scorer, clock: Clock) -> None:
        self._sampler, self._scorer, self._clock = sampler, scorer, clock

    def rows(self, prompts: pa.ListArray, policy: Policy, *, seeds: list[int]) -> Rows:
        """One fresh response a prompt, scored."""
        with self._clock.on("rollouts"):
            follow(self._sampler, policy)
            samples = self._sampler.sample(prompts, sampling=ONE_EACH, seeds=seeds)
        with self._clock.on("scoring"):
            scores = self._scorer.score(Sequences(prompts, samples.response_ids))
        rows = rows_of(prompts.to_pylist(), samples.response_ids.to_pylist())
        return replace(
            rows,
            teacher_logprobs=np.concatenate(scores),
            rollout_logprobs=samples.rollout_logprobs.flatten().to_numpy(),
        )


def follow(sampler: Any, policy: Policy) -> None:
    """Give vLLM the policy's present weights."""
    weights = [(name, value.detach()) for name, value in policy.model.state_dict().items()]
    sampler._engine.collective_rpc(  # noqa: SLF001 - no engine of the product changes its weights
        "reload_weights", kwargs={"weights_iterator": weights}
    )


def answer(size: Size, seed: int, places: Places, question: Question) -> dict[str, Any]:
    """Train with a live teacher; what came of it."""
    start, teacher = places.student(question.student), places.teacher(question.teacher)
    chosen = options(size, rate=question.rate, seed=seed)
    curve = open_curve(size, seed, places, question)
    policy = load_policy(start, chosen, ALONE.device)
    with (
        open_sampler(str(start), engine_args=SAMPLING.engine_args) as sampler,
        open_scorer("vllm", str(teacher), engine_args=SCORING.engine_args) as scorer,
    ):
        live = Live(sampler, scorer, curve.clock)
        steps = _steps(policy, live, prompts(size, seed), chosen, clock=curve.clock)
        curve.follow(steps, policy.model)
    return curve.answer(question, policy.model)


def prompts(size: Size, seed: int) -> pa.ListArray:
    """The very prompts whose rollouts the offline runs read."""
    tokenizer = new_tokenizer()
    drawn = problems(SAMPLES["train"], seed=seed, count=size.rollouts)
    ids = [encode(tokenizer, problem.question) for problem in drawn]
    return pa.array(ids, pa.list_(pa.int32()))


def _steps(
    policy: Policy, live: Live, asked: pa.ListArray, chosen: TrainOptions, *, clock: Clock
) -> Iterator[StepReport]:
    """A run of one step on each batch; the optimiser's state goes from one to the next."""
    order = Steps(len(asked), batch=chosen.batches.batch, seed=chosen.batches.seed)
    state: dict[str, Any] | None = None
    for step in range(chosen.steps or 0):
        batch = asked.take(pa.array(order.rows_of(step)))
        seeds = request_seeds(
            chosen.batches.seed, first_prompt=step * len(batch), prompts=len(batch), n=1
        )
        rows = live.rows(batch, policy, seeds=seeds)
        run = Run(
            policy,
            rows,
            OpdObjective(LOSSES["online"]),
            replace(chosen, steps=step + 1),
            ALONE,
        )
        if state is not None:
            run.restore(state)
        with clock.on("training"):
            report = next(iter(run))
        yield report
        state = run.state()
