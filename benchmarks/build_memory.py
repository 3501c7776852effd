"""How much memory does a build take above its engine, and does it grow with the rollouts?

Each figure is the peak resident memory (VmHWM) of a process of its own:

- `engine`: opens the engine and scores the same rollouts chunk by chunk, as a loop by hand would;
- `build`: the whole build, from the file of rollouts to the ref.

Both for some rollouts and for ten times as many, with two engines: transformers on a tiny model,
and `none`, which answers at once with one constant, so that far more rows go through the build.
Rows are short, so that whatever is kept per row shows. Files that are mapped count as resident
while they are mapped.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final, Self

import numpy as np
import pyarrow as pa

from benchmarks import figures, random_model
from lopd_store.build import build
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.identity.model import fingerprint
from lopd_store.inputs.files import read_file
from lopd_store.inputs.rollouts import rollouts_from_file
from lopd_store.rows.precision import Precision
from lopd_store.store import Store

TIMES: Final = 10
VOCABULARY: Final = 512
CHUNK_TOKENS: Final = 100_000
PROMPT: Final = 3


@dataclass(frozen=True, slots=True)
class Case:
    """An engine and an amount of work: rollouts, the fewest and the most ids of a response."""

    engine: str
    rows: int
    response: tuple[int, int]

    @property
    def tokens_a_row(self) -> int:
        """Prompt and response ids of a row on average."""
        return PROMPT + sum(self.response) // 2


CASES: Final = {
    "transformers": Case("transformers", 1_000, (5, 11)),
    "none": Case("none", 20_000, (20, 60)),
}


class Constant:
    """A scorer without a model: every token has the same log-prob."""

    scoring: ClassVar[Mapping[str, Any]] = {
        "engine": "none",
        "versions": {},
        "dtype": "float32",
        "quantization": "none",
        "device": "cpu",
        "logprobs_mode": "raw_logprobs",
        "tensor_parallel_size": 1,
        "settings": {},
    }
    vocab_size = VOCABULARY
    max_tokens = 2048

    def score(self, sequences: Sequences) -> list[Floats]:
        """One constant a token."""
        return [np.full(count, -1.0, np.float32) for count in sequences.response_lengths.tolist()]

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoEngine(EngineOptions):
    """Engine options that open no engine."""

    def scorer(self, folder: Path) -> Scorer:  # noqa: ARG002 - no model is opened
        """The constant scorer."""
        return Constant()


def main() -> None:
    """Each figure in a process of its own; then the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--scale", type=int, default=1, help="so many times the rollouts")
    parser.add_argument("--measure", nargs=3, metavar="WORD", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        way, engine, path = arguments.measure
        options = NoEngine() if engine == "none" else EngineOptions(engine=engine, dtype="float32")
        {"engine": score_alone, "build": build_whole}[way](Path(path), options)
        print(figures.peak_mib())
        return
    found = {name: measure(case, scale=arguments.scale) for name, case in CASES.items()}
    figures.show("build_memory", table(found), found, arguments)


def measure(case: Case, *, scale: int) -> figures.Json:
    """Peak MiB of both ways at both sizes."""
    sizes = [case.rows * scale, case.rows * scale * TIMES]
    peaks: dict[str, list[int]] = {"engine": [], "build": []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        random_model.save(folder / "model", vocabulary=VOCABULARY, hidden=64, layers=1)
        for size in sizes:
            path = random_model.save_rollouts(
                folder / f"{size}.parquet",
                rows=size,
                prompt=PROMPT,
                response=case.response,
                vocabulary=VOCABULARY,
            )
            for way, held in peaks.items():
                held.append(_apart(way, case.engine, path))
    tokens = [case.tokens_a_row * size for size in sizes]
    return {"rows": sizes, "tokens": tokens, "peak_mib": peaks}


def _apart(way: str, engine: str, rollouts: Path) -> int:
    command = [sys.executable, __file__, "--measure", way, engine, str(rollouts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way} with {engine} on {rollouts.name} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def score_alone(rollouts: Path, options: EngineOptions) -> None:
    """The engine and a loop around it, over batches of about a chunk."""
    with options.scorer(rollouts.parent / "model") as scorer:
        held: list[pa.RecordBatch] = []
        tokens = 0
        for batch in read_file(rollouts):
            held.append(batch)
            tokens += int(sequences_of(held[-1:]).lengths.sum())
            if tokens >= CHUNK_TOKENS:
                scorer.score(sequences_of(held))
                held, tokens = [], 0
        if held:
            scorer.score(sequences_of(held))


def sequences_of(batches: list[pa.RecordBatch]) -> Sequences:
    """The rows of the batches, to be scored together."""
    joined = pa.concat_batches(batches)
    return Sequences(joined.column("prompt_ids"), joined.column("response_ids"))


def build_whole(rollouts: Path, options: EngineOptions) -> None:
    """A build into a new store."""
    model = rollouts.parent / "model"
    with TemporaryDirectory(dir=rollouts.parent) as store:
        build(
            Store.open(Path(store), create=True),
            rollouts_from_file(rollouts, None),
            fingerprint(str(model)),
            ref="benchmark",
            precision=Precision.parse("exact"),
            engine=options,
            options=JobOptions(chunk_tokens=CHUNK_TOKENS),
        )


def table(results: Mapping[str, figures.Json]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| engine | rollouts | tokens, about | engine, MiB | build, MiB | build above it, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in results.items():
        peaks = found["peak_mib"]
        rows = zip(found["rows"], found["tokens"], peaks["engine"], peaks["build"], strict=True)
        lines += [
            f"| {name} | {size:,} | {tokens:,} | {engine} | {whole} | {whole - engine} |"
            for size, tokens, engine, whole in rows
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
