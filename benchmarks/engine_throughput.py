"""What does scoring cost with each engine, next to the loop a user would write?

    python benchmarks/engine_throughput.py [--vocabulary 32000 --vocabulary 151936]

The same random sequences (half prompt, half response) go through, each in its own process:

- `plain`: transformers' forward, float32 `log_softmax` over whole logits, `gather`, in padded
  batches of four: what teachers are scored with by hand;
- `transformers` and `vllm`: our engines with their defaults, validation included.

The model is a random Qwen2, hidden 256 x 4 layers, float32: on it the output layer dominates,
as it does not on a real teacher, so figures compare engines and predict no teacher's speed.
Columns: all tokens and response tokens a second in the best round, all tokens per second of CPU
time in the best round (other programs on the machine disturb that less), peak memory of the
process from the kernel's account, and the largest difference from `plain` in nats.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypedDict

import numpy as np

from benchmarks import figures, random_model
from benchmarks.list_column import list_column
from lopd_store.engines import open_scorer
from lopd_store.engines.protocol import Floats, Sequences

CONTENDERS: Final = ("plain", "transformers", "vllm")
PLAIN_BATCH: Final = 4


class Result(TypedDict):
    """One contender on one vocabulary; rates in tokens a second, memory in MiB."""

    vocabulary: int
    contender: str
    tokens_per_second: float
    response_tokens_per_second: float
    tokens_per_cpu_second: float
    peak_mib: float
    seconds_to_open: float
    largest_difference: float


def make_sequences(count: int, length: int, vocabulary: int) -> Sequences:
    """`count` sequences of `length` uniform ids, half prompt and half response."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (count, length), dtype=np.int32)
    half = length // 2
    return Sequences(list_column(ids[:, :half], half), list_column(ids[:, half:], length - half))


def plain(model: str) -> Callable[[Sequences], list[Floats]]:
    """The loop a user would write."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def score(sequences: Sequences) -> list[Floats]:
        answers: list[Floats] = []
        for start in range(0, len(sequences), PLAIN_BATCH):
            part = sequences.slice(start, PLAIN_BATCH)
            rows = [torch.from_numpy(part.ids(n)).long() for n in range(len(part))]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            with torch.inference_mode():
                logprobs = loaded(input_ids=ids).logits.float().log_softmax(-1)
                chosen = logprobs[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2).numpy()
            ends = zip(part.prompt_lengths - 1, part.lengths - 1, strict=True)
            answers += [chosen[n, first:last] for n, (first, last) in enumerate(ends)]
        return answers

    return score


def measure(contender: str, model: str, vocabulary: int, options: argparse.Namespace) -> None:
    """In a process of its own: print the figures of one contender, and save its answers."""
    started = time.perf_counter()
    if contender == "plain":
        score = plain(model)
    else:
        score = open_scorer(contender, model, dtype="float32").score
    opened = time.perf_counter() - started
    sequences = make_sequences(options.sequences, options.length, vocabulary)
    score(sequences.slice(0, 2))  # warm
    walls, cpus = [], []
    for _ in range(options.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        answers = score(sequences)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    np.save(Path(model) / f"{contender}.npy", np.concatenate(answers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": min(walls), "cpu": min(cpus), "opened": opened, "peak_kib": peak}
    print(json.dumps(found))


def compare(vocabulary: int, options: argparse.Namespace) -> list[Result]:
    """Every contender on one vocabulary."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        random_model.save(Path(folder), vocabulary=vocabulary, hidden=256, layers=4)
        for contender in CONTENDERS:
            found = _in_own_process(contender, folder, vocabulary, options)
            tokens = options.sequences * options.length
            answers = {name: Path(folder, f"{name}.npy") for name in ("plain", contender)}
            apart = np.abs(np.load(answers["plain"]) - np.load(answers[contender])).max()
            results.append(
                {
                    "vocabulary": vocabulary,
                    "contender": contender,
                    "tokens_per_second": tokens / found["seconds"],
                    "response_tokens_per_second": tokens / 2 / found["seconds"],
                    "tokens_per_cpu_second": tokens / found["cpu"],
                    "peak_mib": found["peak_kib"] / 1024,
                    "seconds_to_open": found["opened"],
                    "largest_difference": float(apart),
                }
            )
    return results


def _in_own_process(
    contender: str, folder: str, vocabulary: int, options: argparse.Namespace
) -> dict[str, float]:
    numbers = {"sequences": options.sequences, "length": options.length, "rounds": options.rounds}
    flags = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    inner = ["--contender", contender, "--model", folder, "--vocabulary", str(vocabulary)]
    done = subprocess.run(
        [sys.executable, __file__, *inner, *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Each contender on each vocabulary in a process of its own; then the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--vocabulary", type=int, action="append")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    vocabularies = options.vocabulary or [32_000, 151_936]
    if options.contender:
        measure(options.contender, options.model, vocabularies[0], options)
        return
    results = [result for size in vocabularies for result in compare(size, options)]
    work = {name: vars(options)[name] for name in ("sequences", "length", "rounds")}
    found = work | {"results": results}
    libraries = ("torch", "transformers", "vllm")
    figures.show("engine_throughput", table(results), found, options, libraries=libraries)


def table(results: Sequence[Result]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| vocabulary | engine | tok/s | response tok/s | tok/CPU s | MiB | open s | off, nats |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {found['vocabulary']:,} | {found['contender']} "
        f"| {found['tokens_per_second']:,.0f} | {found['response_tokens_per_second']:,.0f} "
        f"| {found['tokens_per_cpu_second']:,.0f} | {found['peak_mib']:,.0f} "
        f"| {found['seconds_to_open']:.1f} | {found['largest_difference']:.1e} |"
        for found in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
