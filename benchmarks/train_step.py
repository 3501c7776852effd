# ruff: noqa: N806 - shape letters end a tensor's name
"""What does a step of our loop cost, next to the loop a user would write by hand?

    python benchmarks/train_step.py [--case tiny --case small --case wide] [--rounds 21]

Both take the same optimiser steps from the same weights on the same micro-batches, in turn, one
step each a round; who goes first changes from round to round.

- `bare`: body of the model, its output layer on the response positions only, float32
  `log_softmax`, `gather`, the weighted update in five lines, clip, AdamW. Its batches lie ready on
  the device as tensors, and it reads back the loss and the gradient norm, nothing else.
- `ours`: `lopd_train.Run` with its defaults: batches are put together within the step, log-probs
  are taken in blocks, every figure of a report is computed, drift from the rollout policy too.

The ratio is the median over rounds of ours by bare in the same round, with the quartiles beside
it: by wall time, and by CPU time, which other programs on the machine disturb less. Both must
arrive at the same gradient norms, or nothing is reported.

Models are random Qwen2: `tiny` is as small as the demo's student; `small` has a quarter of its
multiplications in the output layer, as Qwen3 0.6B has; `wide` has the vocabulary of Qwen3 on a
narrow body, so that the output layer is nearly everything: the worst case, since `ours` computes
logits a second time instead of keeping them.
"""

import copy
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import figures
from lopd_train.batches import BatchOptions, Steps, micro_batches
from lopd_train.collate import Batch, collate
from lopd_train.losses import LossOptions
from lopd_train.objective import OpdObjective
from lopd_train.options import TrainOptions
from lopd_train.policy import Policy
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import World

TARGET: Final = 1.05
WARM_UP: Final = 3  # rounds that are not counted: allocators and AdamW's state settle
NORM_GAP: Final = 1e-3  # relative, between gradient norms: rounding stays far below, a bug does not
LIBRARIES: Final = ("torch", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and what a step puts through it.

    Attributes:
        vocabulary: entries of the output layer.
        hidden: width; heads are 32 wide.
        layers: of the body.
        batch: rows a step.
        prompt: ids of each prompt.
        response: the fewest ids of a response and one more than the most.
        micro_batch_tokens: that go through the model at once.
    """

    vocabulary: int
    hidden: int
    layers: int
    batch: int
    prompt: int
    response: tuple[int, int]
    micro_batch_tokens: int


CASES: Final = {
    "tiny": Case(
        vocabulary=320,
        hidden=64,
        layers=2,
        batch=128,
        prompt=10,
        response=(20, 60),
        micro_batch_tokens=4096,
    ),
    "small": Case(
        vocabulary=8192,
        hidden=256,
        layers=8,
        batch=12,
        prompt=50,
        response=(50, 250),
        micro_batch_tokens=1024,
    ),
    "wide": Case(
        vocabulary=151_936,
        hidden=256,
        layers=4,
        batch=6,
        prompt=50,
        response=(50, 250),
        micro_batch_tokens=1024,
    ),
}


def make_rows(case: Case, count: int) -> Rows:
    """Rows of random ids, as near to a uniform policy as a random model's are."""
    random = np.random.default_rng(0)
    lengths = random.integers(*case.response, count)
    tokens = int(lengths.sum())

    def logprobs() -> npt.NDArray[np.float32]:
        spread = random.normal(-np.log(case.vocabulary), 0.2, tokens)
        return np.minimum(spread, 0).astype(np.float32)

    return Rows(
        prompt_offsets=np.arange(count + 1) * case.prompt,
        prompt_ids=random.integers(0, case.vocabulary, count * case.prompt, dtype=np.int32),
        response_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        response_ids=random.integers(0, case.vocabulary, tokens, dtype=np.int32),
        trained=np.ones(tokens, np.bool_),
        teacher_logprobs=logprobs(),
        rollout_logprobs=logprobs(),
    )


def make_model(case: Case, device: torch.device) -> Any:
    """A random model, the same each time."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=case.vocabulary,
        hidden_size=case.hidden,
        intermediate_size=3 * case.hidden,
        num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // 32,
        num_key_value_heads=max(1, case.hidden // 64),
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).train().to(device)


def ready_batches(rows: Rows, options: TrainOptions, device: torch.device) -> Iterator[list[Batch]]:
    """The micro-batches of each step, as our loop cuts them, on the device."""
    chosen = options.batches
    order = Steps(len(rows), batch=chosen.batch, seed=chosen.seed)
    for step in range(options.steps or 0):
        cut = micro_batches(
            order.rows_of(step),
            rows.lengths,
            budget=chosen.micro_batch_tokens,
            layout=chosen.layout,
        )
        yield [collate(rows, part, layout=chosen.layout).to(device) for part in cut]


def bare_loop(
    model: Any, steps: list[list[Batch]], options: TrainOptions
) -> Iterator[tuple[float, float]]:
    """The loop by hand: takes a step each time it is asked; its loss and gradient norm."""
    chosen, parameters = options.optimiser, list(model.parameters())
    optimiser = torch.optim.AdamW(
        parameters,
        lr=chosen.learning_rate,
        betas=chosen.betas,
        weight_decay=chosen.weight_decay,
    )
    kind = parameters[0].device.type
    for batches in steps:
        total = torch.zeros((), device=parameters[0].device)
        for batch in batches:
            with torch.autocast(kind, torch.bfloat16, enabled=options.precision == "bfloat16"):
                hidden_BTH = model.model(batch.input_ids_BT, use_cache=False).last_hidden_state
                logits_NV = model.lm_head(hidden_BTH.flatten(0, 1)[batch.before_N])
            logprobs_NV = logits_NV.float().log_softmax(-1)
            logprobs_N = logprobs_NV.gather(1, batch.targets_N[:, None]).squeeze(1)
            now_N = logprobs_N.detach()
            advantage_N = (batch.teacher_N - now_N).clamp(-10, 10)
            ratio_N = (now_N - batch.rollout_N).exp().clamp(max=5)
            weight_N = 1 / (batch.lengths_N * options.batches.batch)
            loss = -(weight_N * ratio_N * advantage_N * logprobs_N).sum()
            loss.backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(parameters, chosen.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
        yield total.item(), norm.item()


def our_loop(
    model: Any, rows: Rows, options: TrainOptions, device: torch.device
) -> Iterator[tuple[float, float]]:
    """Our loop, likewise."""
    world = World(rank=0, size=1, device=device)
    for report in Run(Policy(model), rows, OpdObjective(LossOptions()), options, world):
        yield report.loss, report.gradient_norm


@dataclass(slots=True)
class Loop:
    """One of the two, and what its steps took: seconds by the clock, and of this process's CPU."""

    steps: Iterator[tuple[float, float]]
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take_step(self, wait: Callable[[], None]) -> float:
        """Take a step and time it; `wait` lets the device finish. Its gradient norm."""
        wait()
        wall, cpu = time.perf_counter(), time.process_time()
        _, norm = next(self.steps)
        wait()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return norm


def measure(case: Case, *, rounds: int, device: torch.device, precision: Any) -> figures.Json:
    """Both loops in turn.

    Returns:
        What was trained, and `compare` by each clock: wall, and CPU time where that is all.
    """
    steps = WARM_UP + rounds
    options = TrainOptions(
        steps=steps,
        precision=precision,
        batches=BatchOptions(batch=case.batch, micro_batch_tokens=case.micro_batch_tokens),
    )
    rows = make_rows(case, case.batch * steps)
    model = make_model(case, device)
    batches = list(ready_batches(rows, options, device))
    ours = Loop(our_loop(copy.deepcopy(model), rows, options, device))
    bare = Loop(bare_loop(model, batches, options))
    gap = in_turn(ours, bare, steps, torch.cuda.synchronize if device.type == "cuda" else no_wait)
    if gap > NORM_GAP and precision == "float32":
        raise SystemExit(f"gradient norms differ by {gap:.2%}: these are not the same steps")
    found = {"wall": (ours.wall, bare.wall)}
    if device.type == "cpu":
        found["cpu"] = (ours.cpu, bare.cpu)
    return {
        "parameters": sum(one.numel() for one in model.parameters()),
        "tokens_a_step": int(rows.trained_lengths.sum()) / steps,
        "micro_batches_a_step": sum(map(len, batches)) / steps,
        "largest_gap_of_norms": gap,
        "by": {clock: compare(a[WARM_UP:], b[WARM_UP:]) for clock, (a, b) in found.items()},
    }


def no_wait() -> None:
    """A CPU is done when its call returns."""


def in_turn(ours: Loop, bare: Loop, steps: int, wait: Callable[[], None]) -> float:
    """Take the steps of both; the largest relative gap between their gradient norms."""
    gap = 0.0
    gc.disable()
    for number in range(steps):
        norms = {}
        for loop in (ours, bare) if number % 2 else (bare, ours):
            norms[loop is ours] = loop.take_step(wait)
        gap = max(gap, abs(norms[True] / norms[False] - 1))
    gc.enable()
    return gap


def compare(ours: Sequence[float], bare: Sequence[float]) -> figures.Json:
    """Median seconds of each; of the ratios in pairs the median and the quartiles."""
    low, _, high = statistics.quantiles((a / b for a, b in zip(ours, bare, strict=True)), n=4)
    return {
        "ours": statistics.median(ours),
        "bare": statistics.median(bare),
        "ratio": figures.paired(ours, bare),
        "quartiles": [low, high],
    }


def table(found: figures.Json) -> str:
    """The figures as a Markdown table and what they are of."""
    heading = ("case", "parameters", "tokens", "by", "bare, ms", "ours, ms", "ours / bare", "norms")
    lines = [f"| {' | '.join(heading)} |", "|---|---:|---:|---|---:|---:|---:|---:|"]
    for name, case in found["cases"].items():
        for clock, one in case["by"].items():
            low, high = one["quartiles"]
            lines.append(
                f"| {name} | {case['parameters'] / 1e6:.1f} M | {case['tokens_a_step']:,.0f}"
                f" | {clock} | {one['bare'] * 1e3:,.1f} | {one['ours'] * 1e3:,.1f}"
                f" | **{one['ratio']:.3f}** ({low:.3f} to {high:.3f})"
                f" | {case['largest_gap_of_norms']:.0e} |"
            )
    how = (
        f"Medians of {found['rounds']} steps each, in turn, with the ratios' quartiles;"
        f" {found['precision']} on {found['device']}, {found['threads']} thread(s). Tokens: trained"
        f" ones a step. Norms: the largest relative difference. Target: at most {TARGET}."
    )
    return "\n".join(lines) + f"\n\n{how}"


def main() -> None:
    """Run the cases asked for, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--case", action="append", choices=CASES, help="default: all")
    parser.add_argument("--rounds", type=int, default=21, help="steps of each loop that count")
    parser.add_argument("--threads", type=int, default=1, help="of torch; more are noisier")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    cases = {
        name: measure(
            CASES[name], rounds=arguments.rounds, device=device, precision=arguments.precision
        )
        for name in arguments.case or CASES
    }
    found = {
        "target": TARGET,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "device": str(device),
        "precision": arguments.precision,
        "cases": cases,
    }
    figures.show("train_step", table(found), found, arguments, libraries=LIBRARIES)


if __name__ == "__main__":
    main()
