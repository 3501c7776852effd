"""SFT data, rollouts and signals, by the product's own commands' functions.

python -m benchmarks.paper.data full 0 FOLDER sft
python -m benchmarks.paper.data full 0 FOLDER signals A
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.paper.clock import Clock
from benchmarks.paper.evaluate import MAX_TOKENS
from benchmarks.paper.places import Places, rollouts_ref, sft_ref, signal_ref
from benchmarks.paper.problems import Split, problems
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from benchmarks.paper.tokenizer import encode, new_tokenizer
from lopd_store import (
    Digest,
    EngineOptions,
    Sampling,
    Store,
    build,
    fingerprint,
    generate,
    load,
    prompts_from_file,
    rollouts_from_store,
)
from lopd_store.engines import open_sampler

SAMPLING: Final = EngineOptions(engine_args={"max_num_seqs": 128})
SCORING: Final = EngineOptions(engine_args={"max_num_seqs": 128, "max_num_batched_tokens": 2048})
WRITERS: Final = ("A", "B")
"""Teachers that write SFT data."""
SCORERS: Final = ("A", "B", "M")
SAMPLES: Final[dict[str, Split]] = {"train": "opd", "probe": "probe"}
"""What rollouts are for → the split of their problems."""


def write_sft(size: Size, seed: int, places: Places) -> dict[str, Any]:
    """Each writing teacher answers the same problems at temperature 1."""
    store = Store.open(places.store, create=True)
    clock = Clock()
    _warm_up(places.teacher("M"))
    file = _prompts(places, "sft", count=size.sft_rows, seed=seed)
    ids = {}
    for name in WRITERS:
        with clock.on("sft data"):
            made = _generate(store, file, places.teacher(name), "sft", sft_ref(name), seed)
        ids[name] = str(made)
    return {"cpu_seconds": clock.seconds, "ids": ids}


def make_signals(size: Size, seed: int, places: Places, student: str) -> dict[str, Any]:
    """A student's rollouts, and what every teacher says of them."""
    store = Store.open(places.store)
    clock = Clock()
    _warm_up(places.student(student))
    counts = {"train": size.rollouts, "probe": size.probes}
    tokens: dict[str, int] = {}
    ids: dict[str, str] = {}
    for what, split in SAMPLES.items():
        file = _prompts(places, split, count=counts[what], seed=seed)
        ref = rollouts_ref(what, student)
        with clock.on(f"{what} rollouts"):
            _generate(store, file, places.student(student), "rollouts", ref, seed)
        tokens[what] = load(store, ref).document.tokens
        for teacher in scorers(student):
            with clock.on(f"{what} scoring {teacher}"):
                made = build(
                    store,
                    rollouts_from_store(store, ref),
                    fingerprint(str(places.teacher(teacher)), cache=store.fingerprints),
                    ref=signal_ref(what, student, teacher),
                    engine=SCORING,
                )
            ids[f"{what} {teacher}"] = str(made.artifact)
    return {"cpu_seconds": clock.seconds, "tokens": tokens, "ids": ids}


def scorers(student: str) -> Sequence[str]:
    """Which teachers score a student's rollouts."""
    return ("A",) if student.endswith("+") else SCORERS


def _generate(
    store: Store, file: Path, model: Path, kind: str, ref: str, seed: int
) -> Digest | None:
    return generate(
        store,
        prompts_from_file(file, None),
        fingerprint(str(model), cache=store.fingerprints),
        kind=kind,
        ref=ref,
        sampling=Sampling(temperature="1", top_p="1", max_tokens=MAX_TOKENS, seed=seed, n=1),
        engine=SAMPLING,
    ).artifact


def _prompts(places: Places, split: Split, *, count: int, seed: int) -> Path:
    tokenizer = new_tokenizer()
    lines = [
        json.dumps({"prompt_ids": encode(tokenizer, problem.question)}) + "\n"
        for problem in problems(split, seed=seed, count=count)
    ]
    file = places.folder / f"prompts-{split}.jsonl"
    fresh = file.with_suffix(f".{os.getpid()}")  # stages side by side write the same file
    fresh.write_text("".join(lines))
    fresh.replace(file)
    return file


def _warm_up(model: Path) -> None:
    """Pay the import of vLLM once: it says nothing of a method's cost."""
    open_sampler(str(model)).close()


if __name__ == "__main__":
    call = Call.read()
    what, *students = call.words
    if what == "sft":
        call.report("sft", write_sft(call.size, call.seed, call.places))
    else:
        (student,) = students
        found = make_signals(call.size, call.seed, call.places, student)
        call.report(f"signals-{student}", found)
