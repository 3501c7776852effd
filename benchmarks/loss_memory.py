"""What do the loss and its gradients take, in memory and time, at a vocabulary of 151,936?

From hidden states [4096, H] and a weight [151936, H], forward and backward, by three ways:

- `plain`: logits = hidden @ weight.T, float32, log_softmax, gather, the surrogate, backward;
- `foretold`: `target_logprobs` with slopes, which the trainer uses: gradients made along with it;
- `not foretold`: `target_logprobs` for a loss of which nothing is known before: logits made twice.

Memory is the peak of a process of its own (VmHWM) above what it holds before the loss (VmRSS),
which is the hidden states and the weight. So it includes the gradients of both, which every way
must make. Times are of one process, ways in turn; `it / plain` is the median over rounds of the two
times in the same round. A third of what plain takes by the clock or more is the system handing it
gigabytes of fresh memory, so user CPU seconds, which leave that out, are compared as well.

`bfloat16` is under autocast, with float32 parameters: only the matrix products are in bfloat16.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from benchmarks import figures
from lopd_train.logprobs import OutputLayer, target_logprobs
from lopd_train.losses import LossOptions, opd_loss

CASES: Final = {
    "float32, H = 1024": (torch.float32, 1024),
    "float32, H = 256": (torch.float32, 256),
    "bfloat16, H = 1024": (torch.bfloat16, 1024),
}
HEADS: Final = (
    "case",
    "way",
    "peak, MiB",
    "of it gradients, MiB",
    "plain / it",
    "clock, s",
    "it / plain",
    "user CPU, s",
    "it / plain",
    "system CPU, s",
    "gradient off by",
)
PAPER: Final = LossOptions(importance="none")
STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True)
class Made:
    """Random tensors of a case."""

    hidden_NH: torch.Tensor
    weight_VH: torch.Tensor
    targets_N: torch.Tensor
    teacher_N: torch.Tensor
    weights_N: torch.Tensor

    @classmethod
    def of(cls, hidden: int, *, tokens: int, vocabulary: int) -> "Made":
        """Logits of a spread near 3, as a trained model's have."""
        torch.manual_seed(0)
        return cls(
            torch.randn(tokens, hidden).requires_grad_(),
            torch.randn(vocabulary, hidden).mul_(3 / hidden**0.5).requires_grad_(),
            torch.randint(vocabulary, (tokens,)),
            -10 * torch.rand(tokens),
            torch.full((tokens,), 1 / tokens),
        )

    def plain(self) -> torch.Tensor:
        """Log-probs by an array of all logits."""
        logits_NV = (self.hidden_NH @ self.weight_VH.T).float()
        return logits_NV.log_softmax(-1).gather(1, self.targets_N[:, None])[:, 0]

    def foretold(self) -> torch.Tensor:
        """Log-probs in chunks, gradients along with them."""
        return target_logprobs(
            self.hidden_NH,
            OutputLayer(weight_VH=self.weight_VH),
            self.targets_N,
            slopes=self._slopes,
        )

    def not_foretold(self) -> torch.Tensor:
        """Log-probs in chunks."""
        return target_logprobs(
            self.hidden_NH, OutputLayer(weight_VH=self.weight_VH), self.targets_N
        )

    def _slopes(self, logprobs_C: torch.Tensor, rows: slice) -> torch.Tensor:
        teacher_C, weights_C = self.teacher_N[rows], self.weights_N[rows]
        return opd_loss(logprobs_C, teacher_C, weights_C, options=PAPER).slopes_N

    @property
    def weight_gradient(self) -> torch.Tensor:
        """By the weight, after a step."""
        found: torch.Tensor = self.weight_VH.grad
        return found

    def step(self, way: str, dtype: torch.dtype) -> None:
        """The loss by one way, and its gradients."""
        self.hidden_NH.grad = self.weight_VH.grad = None
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logprobs_N = WAYS[way](self)
        opd_loss(logprobs_N, self.teacher_N, self.weights_N, options=PAPER).loss.backward()


WAYS: Final[Mapping[str, Callable[[Made], torch.Tensor]]] = {
    "plain": Made.plain,
    "foretold": Made.foretold,
    "not foretold": Made.not_foretold,
}


def main() -> None:
    """Each case's memory and times in processes of their own; then the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", metavar="WAY", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.case or list(CASES)
    if arguments.measure:
        dtype, hidden = CASES[cases[0]]
        made = Made.of(hidden, tokens=arguments.tokens, vocabulary=arguments.vocabulary)
        if arguments.measure == "times":
            print(json.dumps(times(made, dtype, rounds=arguments.rounds)))
        else:
            print(json.dumps(memory(made, arguments.measure, dtype)))
        return
    found = {
        case: {way: _apart(way, case, arguments) for way in (*WAYS, "times")} for case in cases
    }
    figures.show("loss_memory", table(found), found, arguments, libraries=["torch"])


def _apart(way: str, case: str, arguments: argparse.Namespace) -> figures.Json:
    sizes = ["--tokens", str(arguments.tokens), "--vocabulary", str(arguments.vocabulary)]
    words = ["--measure", way, "--case", case, "--rounds", str(arguments.rounds), *sizes]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{way} of {case} failed:\n{done.stderr}")
    found: figures.Json = json.loads(done.stdout.splitlines()[-1])
    return found


def memory(made: Made, way: str, dtype: torch.dtype) -> figures.Json:
    """Peak MiB of one step above what stands before it, and of that the gradients' share."""
    before = _resident_mib()
    made.step(way, dtype)
    held = made.hidden_NH.nbytes + made.weight_VH.nbytes
    return {"peak_mib": figures.peak_mib() - before, "gradients_mib": held >> 20}


def _resident_mib() -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS:"))


def times(made: Made, dtype: torch.dtype, *, rounds: int) -> figures.Json:
    """Seconds of each way in each round, and how far its gradients are from plain's."""
    made.step("plain", torch.float32)
    expected_VH = made.weight_gradient
    found: figures.Json = {}
    for way in WAYS:  # warms up, too
        made.step(way, dtype)
        off = float((made.weight_gradient - expected_VH).norm() / expected_VH.norm())
        found[way] = {"clock": [], "cpu": [], "user": [], "off": off}
    del expected_VH
    for _ in range(rounds):
        for way in WAYS:
            start, cpu, user = time.perf_counter(), figures.cpu_seconds(), os.times().user
            made.step(way, dtype)
            found[way]["user"].append(os.times().user - user)
            found[way]["cpu"].append(figures.cpu_seconds() - cpu)
            found[way]["clock"].append(time.perf_counter() - start)
    return found


def table(found: Mapping[str, figures.Json]) -> str:
    """The figures as a Markdown table."""
    lines = [" | ".join(HEADS), " | ".join(["---"] * 2 + ["---:"] * (len(HEADS) - 2))]
    for case, by_way in found.items():
        plain, plain_peak = by_way["times"]["plain"], by_way["plain"]["peak_mib"]
        for way in WAYS:
            peak, took = by_way[way], by_way["times"][way]
            system = [cpu - user for cpu, user in zip(took["cpu"], took["user"], strict=True)]
            cells = (
                case,
                way,
                f"{peak['peak_mib']:,}",
                f"{peak['gradients_mib']:,}",
                f"{plain_peak / peak['peak_mib']:.1f}",
                f"{statistics.median(took['clock']):.1f}",
                f"{figures.paired(took['clock'], plain['clock']):.2f}",
                f"{statistics.median(took['user']):.1f}",
                f"{figures.paired(took['user'], plain['user']):.2f}",
                f"{statistics.median(system):.1f}",
                f"{took['off']:.1e}",
            )
            lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


if __name__ == "__main__":
    main()
