"""Threads change how long a verification takes, and nothing of what it says."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.ahead import ahead
from lopd_store.digest import Digest
from lopd_store.documents.identity import (
    Identity,
    ModelIdentity,
    Scoring,
    SignalColumn,
    SpecialIds,
    TokenizerIdentity,
)
from lopd_store.errors import IntegrityError
from lopd_store.rows.columns import TYPES
from lopd_store.rows.sample_id import Occurrences, prompt_ids_digests, sample_ids
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import write_shards
from lopd_store.verify.report import Report
from lopd_store.verify.rows import Tally, check_rows
from lopd_store.verify.workers import workers

ROWS = 60


def test_results_come_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert later.wait(10)
        if item == 1:
            later.set()
        return item * item

    with ThreadPoolExecutor(2) as pool:
        assert list(ahead(pool, work, range(5), most=3)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    ("weights", "begun"),
    [([1, 1, 1, 1, 1], 3), ([2, 2, 2, 2, 2], 1), ([9, 9, 9, 9, 9], 1), ([1, 2, 1, 1, 1], 2)],
    ids=["of-one", "of-two", "over-the-bound", "mixed"],
)
def test_what_is_begun_ahead_stays_inside_the_bound(weights: list[int], begun: int) -> None:
    items = iter(range(5))
    with ThreadPoolExecutor(1) as pool:
        results = ahead(pool, abs, items, most=3, weigh=weights.__getitem__)
        assert next(results) == 0
        assert next(items) == begun + 1  # one more was weighed and has to wait


def test_an_error_comes_when_its_turn_comes() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = ahead(pool, lambda item: 6 // item, [3, 2, 0, 1], most=4)
        assert [next(results), next(results)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_number_of_threads_tells_the_same(tmp_path: Path, threads: int) -> None:
    wrong = {5: 0.5, 41: float("nan"), 58: -9999.0}
    path = write(tmp_path, wrong)
    report, tally = look(path, tmp_path, threads)
    assert [(p.kind, p.where) for p in report.problems] == [
        ("positive-logprob", "shard 0 row 5"),
        ("sample-number", "shard 0 row 30"),
        ("not-finite", "shard 0 row 41"),
        ("sentinel-logprob", "shard 0 row 58"),
    ]
    assert (tally.rows, tally.tokens, tally.prompt_tokens) == (ROWS, 4 * ROWS, 2 * ROWS)
    assert tally.content is not None
    assert tally.content.digest() == alone(path, tmp_path)


def test_a_damaged_row_group_ends_the_look_after_those_before_it(tmp_path: Path) -> None:
    path = write(tmp_path, {5: 0.5})
    shard = Shard.open(path)
    start = shard.groups[6].chunks[3].start
    data = bytearray(path.read_bytes())
    data[start + 60] ^= 1
    path.write_bytes(data)
    report, tally = Report(target="x"), Tally()
    with workers(3) as threads, pytest.raises(IntegrityError) as caught:
        check_rows(Shard.open(path), identity(), "shard 0", tally, report, threads)
    assert caught.value.problems[0].kind == "crc-mismatch"
    assert report.problems[0].where == "shard 0 row 5"
    assert tally.rows == sum(group.rows for group in shard.groups[:6])


def look(path: Path, folder: Path, threads: int) -> tuple[Report, Tally]:
    report = Report(target="x")
    with workers(threads) as pool, Occurrences(folder) as occurrences:
        tally = Tally(occurrences=occurrences)
        check_rows(Shard.open(path), identity(), "shard 0", tally, report, pool)
    return report, tally


def alone(path: Path, folder: Path) -> Digest:
    """The content digest by one thread."""
    _, tally = look(path, folder, 1)
    assert tally.content is not None
    return tally.content.digest()


def write(folder: Path, wrong: dict[int, float]) -> Path:
    """A shard of 60 rows in 12 row groups; rows 12 and 30 are the same, and not numbered."""
    seeds = [12 if row == 30 else row for row in range(ROWS)]
    prompts = pa.array([[seed, 1] for seed in seeds], TYPES["prompt_ids"])
    responses = pa.array([[2, 3, seed, 4] for seed in seeds], TYPES["response_ids"])
    logprobs = [[-1.0, -0.5, wrong.get(row, -2.0), 0.0] for row in range(ROWS)]
    rows = pa.record_batch(
        {
            "sample_id": sample_ids(prompts, responses),
            "prompt_id": prompt_ids_digests(prompts),
            "prompt_ids": prompts,
            "response_ids": responses,
            "teacher_logprobs": pa.array(logprobs, TYPES["teacher_logprobs"]),
            "finish_reason": ["stop"] * ROWS,
        }
    )
    (shard,) = write_shards(
        [rows], identity=identity().encode(), folder=folder, row_group_tokens=30
    )
    return shard.path


def identity() -> Identity:
    """Who made the rows: a teacher of 100 tokens."""
    some = Digest.of(b"some")
    teacher = ModelIdentity(weights_digest=some, config_digest=some, vocab_size=100, files={})
    tokenizer = TokenizerIdentity(
        core_digest=some,
        vocab_digest=some,
        probe_digest=some,
        vocab_size=100,
        special_ids=SpecialIds(eos=(4,)),
        versions={},
        blob=some,
    )
    scoring = Scoring(
        engine="transformers",
        versions={},
        dtype="float32",
        quantization="none",
        device="cpu",
        logprobs_mode="raw_logprobs",
        tensor_parallel_size=1,
        chunk_tokens=0,
        settings={},
    )
    return Identity.of(
        kind="signal",
        models={"teacher": teacher},
        tokenizer=tokenizer,
        scorings={"teacher": scoring},
        signals=[
            SignalColumn(
                column="teacher_logprobs", role="teacher", model="teacher", scoring="teacher"
            )
        ],
        precision="exact",
    )
