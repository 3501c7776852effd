"""What does a build cost on top of the engine it drives?

A build reads the rollouts (twice: to plan, then to score), checks them, sorts each chunk, scores
it, names rows, spills chunks with fsync, and writes shards, documents and a ref. Beside it, in the
same process and turn about with it: `Scorer.score` on the very chunks that the build handed it.

- `engine alone`: those calls, and nothing else;
- `build`: everything but opening the engine, which either way does once, and but measuring noise;
- `outside the engine`: what the build did while the engine stood still, timed inside the build;
- `noise`: up to 32 rows scored again one by one at the end, whatever the size of the build.

Two engines run a model of 4 layers of width 256 and 32,000 words. The third case is a model too
small to be anybody's teacher, with more tokens: it says what a token costs outside the engine
(`µs a token`), which a GPU's speed can be held against.

`build / engine` is the median over pairs; on a busy machine it moves by more than what it is to
show, so `outside / engine`, where both times come from one build, is the figure to trust.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, cast

from benchmarks import figures, random_model
from lopd_store.build import build
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.inputs.rollouts import rollouts_from_file
from lopd_store.rows.precision import Precision
from lopd_store.store import Store

HEADS: Final = (
    "case",
    "tokens",
    "chunks",
    "engine, s",
    "build, s",
    "outside, s",
    "noise, s",
    "build / engine",
    "outside / engine",
    "outside, µs a token",
)
PROMPT: Final = 32
RESPONSE: Final = (96, 160)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An engine, a model and an amount of work."""

    engine: str
    vocabulary: int
    hidden: int
    layers: int
    rows: int
    chunk_tokens: int


CASES: Final = {
    "transformers": Case(
        engine="transformers", vocabulary=32_000, hidden=256, layers=4, rows=200, chunk_tokens=8_000
    ),
    "vllm": Case(
        engine="vllm", vocabulary=32_000, hidden=256, layers=4, rows=100, chunk_tokens=8_000
    ),
    "transformers, tiny": Case(
        engine="transformers", vocabulary=512, hidden=64, layers=1, rows=1_500, chunk_tokens=50_000
    ),
}


@dataclass(slots=True)
class Watched:
    """A scorer that notes what it is asked and how long it takes; closing leaves it open."""

    inner: Scorer
    asked: list[Sequences] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def score(self, sequences: Sequences) -> list[Floats]:
        """Score, with a stopwatch."""
        start = time.perf_counter()
        answers = self.inner.score(sequences)
        self.seconds.append(time.perf_counter() - start)
        self.asked.append(sequences)
        return answers

    @property
    def scoring(self) -> Mapping[str, Any]:
        """See Engine."""
        return self.inner.scoring

    @property
    def vocab_size(self) -> int:
        """See Engine."""
        return self.inner.vocab_size

    @property
    def max_tokens(self) -> int:
        """See Engine."""
        return self.inner.max_tokens

    def close(self) -> None:
        """Leave it open for the next build."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(EngineOptions):
    """Engine options whose engine is open already."""

    watched: Watched

    def scorer(self, folder: Path) -> Scorer:  # noqa: ARG002 - it is open, whatever is asked
        """The open engine."""
        return self.watched


def main() -> None:
    """Each case in a process of its own; then the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--scale", type=int, default=1, help="so many times the rows")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.case or list(CASES)
    if arguments.measure:
        found = measure(CASES[cases[0]], scale=arguments.scale, runs=arguments.runs)
        arguments.measure.write_text(json.dumps(found), encoding="utf-8")
        return
    results = {case: _apart(case, arguments) for case in cases}
    figures.show("build_overhead", table(results), results, arguments)


def _apart(case: str, arguments: argparse.Namespace) -> figures.Json:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        words = ["--case", case, "--measure", str(path), "--scale", str(arguments.scale)]
        done = subprocess.run(
            [sys.executable, __file__, *words, "--runs", str(arguments.runs)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{case} failed:\n{done.stderr}")
        return cast("figures.Json", json.loads(path.read_text(encoding="utf-8")))


def measure(case: Case, *, scale: int, runs: int) -> figures.Json:
    """Pairs of a build and of its engine alone, in turn."""
    found: dict[str, list[float]] = {"build": [], "noise": [], "outside": [], "alone": []}
    with TemporaryDirectory() as name:
        teacher, rollouts = _inputs(case, Path(name), scale=scale)
        with EngineOptions(engine=case.engine, dtype="float32").scorer(teacher.folder) as scorer:
            for run in range(runs + 1):  # the first pair warms up
                watched, built = _build(scorer, teacher, rollouts, case)
                chunks = [asked for asked in watched.asked if len(asked) > 1]
                inside = sum(watched.seconds[: len(chunks)])
                noise = sum(watched.seconds[len(chunks) :])
                alone = _alone(scorer, chunks)
                if run:
                    found["build"].append(built - noise)
                    found["noise"].append(noise)
                    found["outside"].append(built - noise - inside)
                    found["alone"].append(alone)
    tokens = sum(int(chunk.lengths.sum()) for chunk in chunks)
    return {"tokens": tokens, "chunks": len(chunks), "seconds": found}


def _inputs(case: Case, folder: Path, *, scale: int) -> tuple[Fingerprint, Path]:
    model = random_model.save(
        folder / "model", vocabulary=case.vocabulary, hidden=case.hidden, layers=case.layers
    )
    rollouts = random_model.save_rollouts(
        folder / "rollouts.parquet",
        rows=case.rows * scale,
        prompt=PROMPT,
        response=RESPONSE,
        vocabulary=case.vocabulary,
    )
    return fingerprint(str(model)), rollouts


def _build(
    scorer: Scorer, teacher: Fingerprint, rollouts: Path, case: Case
) -> tuple[Watched, float]:
    watched = Watched(scorer)
    with TemporaryDirectory(dir=rollouts.parent) as store:
        start = time.perf_counter()
        build(
            Store.open(Path(store), create=True),
            rollouts_from_file(rollouts, None),
            teacher,
            ref="benchmark",
            precision=Precision.parse("exact"),
            engine=Opened(watched=watched),
            options=JobOptions(chunk_tokens=case.chunk_tokens),
        )
        return watched, time.perf_counter() - start


def _alone(scorer: Scorer, chunks: list[Sequences]) -> float:
    start = time.perf_counter()
    for chunk in chunks:
        scorer.score(chunk)
    return time.perf_counter() - start


def table(results: Mapping[str, figures.Json]) -> str:
    """The figures as a Markdown table; seconds are medians."""
    lines = [f"| {' | '.join(HEADS)} |", f"|---|{'---:|' * (len(HEADS) - 1)}"]
    for case, found in results.items():
        seconds = found["seconds"]
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        lines.append(
            f"| {case} | {found['tokens']:,} | {found['chunks']} | {middle['alone']:.2f} "
            f"| {middle['build']:.2f} | {middle['outside']:.2f} | {middle['noise']:.2f} "
            f"| {figures.paired(seconds['build'], seconds['alone']):.3f} "
            f"| {figures.paired(seconds['outside'], seconds['alone']):.3f} "
            f"| {middle['outside'] / found['tokens'] * 1e6:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
