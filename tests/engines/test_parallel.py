import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lopd_store.engines import open_scorer, parallel
from lopd_store.engines.parallel import ParallelScorer
from lopd_store.engines.protocol import Scorer
from lopd_store.errors import EngineError, NotFoundError, UsageError
from tests.engines.sequences import column, random_sequences, same_bits

CHUNKS = [random_sequences(size, vocabulary=320, seed=size) for size in (9, 1, 30, 4, 0, 12, 2)]

PARENT = """
import sys, time
from lopd_store.engines import open_scorer
scorer = open_scorer("transformers", sys.argv[1], data_parallel=2)
print(*scorer.workers, flush=True)
time.sleep(600)
"""


@pytest.fixture
def mortal(model: str) -> Iterator[ParallelScorer]:
    arguments = {"engine": "transformers", "model": model, "dtype": "float32"}
    with ParallelScorer(arguments, workers=2) as scorer:
        yield scorer


def test_two_processes_give_the_bits_of_one(
    transformers_scorer: Scorer, parallel_scorer: ParallelScorer
) -> None:
    answers = list(parallel_scorer.map(iter(CHUNKS)))
    assert len(answers) == len(CHUNKS)
    for chunk, answer in zip(CHUNKS, answers, strict=True):
        assert same_bits(answer, transformers_scorer.score(chunk))


@pytest.mark.engine
def test_two_vllm_processes_give_the_bits_of_one(model: str, vllm_scorer: Scorer) -> None:
    with open_scorer("vllm", model, dtype="float32", data_parallel=2) as scorer:
        assert isinstance(scorer, ParallelScorer)
        assert scorer.scoring == vllm_scorer.scoring
        for chunk, answer in zip(CHUNKS, scorer.map(CHUNKS), strict=True):
            assert same_bits(answer, vllm_scorer.score(chunk))


def test_facts_are_those_of_one_engine(
    transformers_scorer: Scorer, parallel_scorer: Scorer
) -> None:
    assert parallel_scorer.scoring == transformers_scorer.scoring
    assert parallel_scorer.max_tokens == transformers_scorer.max_tokens


def test_an_error_comes_at_its_chunks_turn_and_the_engine_goes_on(
    parallel_scorer: ParallelScorer,
) -> None:
    wrong = random_sequences(3, vocabulary=5000)
    answers = parallel_scorer.map([CHUNKS[0], wrong, CHUNKS[1]])
    assert len(next(answers)) == 9
    with pytest.raises(EngineError, match="out-of-vocabulary") as caught:
        next(answers)
    assert caught.value.problems[0].kind == "out-of-vocabulary"
    assert len(parallel_scorer.score(CHUNKS[2])) == 30


def test_chunks_are_taken_no_further_ahead_than_two_per_worker(
    parallel_scorer: ParallelScorer,
) -> None:
    taken = []

    def chunks() -> Iterator[object]:
        for chunk in CHUNKS * 3:
            taken.append(chunk)
            yield chunk

    answers = parallel_scorer.map(chunks())  # type: ignore[arg-type] # objects of the right class
    next(answers)
    assert len(taken) <= 5


def test_a_dead_worker_is_an_error_with_its_exit_code(mortal: ParallelScorer) -> None:
    os.kill(mortal.workers[0], signal.SIGKILL)
    with pytest.raises(EngineError, match=r"worker 0 .* exit code -9"):
        list(mortal.map(CHUNKS))


def test_a_closed_engine_says_so(mortal: ParallelScorer) -> None:
    mortal.close()
    assert not any(_alive(pid) for pid in mortal.workers)
    with pytest.raises(EngineError, match="closed"):
        mortal.score(CHUNKS[0])


def test_what_opening_raises_comes_back_as_it_is(tmp_path: Path) -> None:
    arguments = {"engine": "transformers", "model": str(tmp_path / "missing")}
    with pytest.raises(NotFoundError):
        ParallelScorer(arguments, workers=2)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_workers_end_with_their_parent(end: signal.Signals, model: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, model], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(_alive(pid) for pid in workers)
        os.kill(parent.pid, end)
    until = time.monotonic() + 10
    while any(_alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def test_gpus_are_split_between_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,0,1")
    shares = [place["CUDA_VISIBLE_DEVICES"] for place in parallel._environments(2, 2)]
    assert shares == ["3,5", "0,1"]
    with pytest.raises(UsageError, match="expected 6 GPUs for 3 engines, found 4"):
        parallel._environments(3, 2)


def test_cores_are_split_between_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(parallel, "usable_cores", lambda: 8)
    assert [place["OMP_NUM_THREADS"] for place in parallel._environments(3, 1)] == ["2"] * 3
    with pytest.raises(UsageError, match="at least one"):
        parallel._environments(0, 1)


def test_prompts_alone_are_empty_answers(parallel_scorer: ParallelScorer) -> None:
    only = random_sequences(3, vocabulary=320)
    empty = type(only)(only.prompt, column([[], [], []]))
    assert [len(answer) for answer in parallel_scorer.score(empty)] == [0, 0, 0]


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def test_facts_are_json(parallel_scorer: Scorer) -> None:
    assert json.loads(json.dumps(dict(parallel_scorer.scoring))) == parallel_scorer.scoring
