"""How far two teachers lie apart, against sums by hand and in NumPy's float64."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError, IntegrityError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.signal_difference import SignalDifference, compare_signals
from lopd_store.store import Store
from tests.building.chain import (
    Arithmetic,
    build_signal,
    publish,
    rows_of,
    tokenizer_blob_of,
)
from tests.building.fixtures import models, origin, other, root, store, student, teacher
from tests.cli.runner import run
from tests.verify.tamper import with_identity

__all__ = ["models", "origin", "other", "root", "store", "student", "teacher"]

FLOATS = pa.list_(pa.float32())
BOOLS = pa.list_(pa.bool_())
RESPONSES = [[5, 6, 7], [8, 9], [10]]


def put(
    store: Store,
    ref: str,
    logprobs: list[list[float]],
    *,
    masks: list[list[bool]] | None = None,
    responses: list[list[int]] | None = None,
    shard_tokens: int = 1 << 20,
) -> None:
    """A signal by the teacher of the artifact `signal` with these log-probs."""
    responses = responses or RESPONSES[: len(logprobs)]
    more = {"teacher_logprobs": pa.array(logprobs, FLOATS)}
    if masks is not None:
        more["loss_mask"] = pa.array(masks, BOOLS)
    rows = rows_of([[5]] * len(responses), responses, **more)
    identity = load(store, "signal").identities[0]
    blob = tokenizer_blob_of(store, identity)
    publish(store, ref, identity, [rows], tokenizer_blob=blob, shard_tokens=shard_tokens)


@pytest.fixture
def signals(store: Store, teacher: Fingerprint) -> Store:
    """A store with `signal` by `teacher`."""
    build_signal(store, teacher)
    return store


def measures(found: SignalDifference) -> dict[str, Any]:
    return {key: value for key, value in found.to_json().items() if "teacher" not in key}


def test_a_case_by_hand(signals: Store) -> None:
    put(signals, "a", [[-1.0, -2.0, -3.0], [-0.5, -0.5], [-4.0]])
    put(signals, "b", [[-1.0, -1.0, -6.0], [-0.5, -1.0], [-4.0]], shard_tokens=3)
    found = measures(compare_signals(signals, "a", "b"))
    # deltas 0 -1 3 | 0 0.5 | 0: sums of sizes 4, 0.5, 0
    assert found == {
        "samples": 3,
        "tokens": 6,
        "differing": 3,
        "mean": pytest.approx(2.5 / 6),
        "std": pytest.approx(math.sqrt(10.25 / 6 - (2.5 / 6) ** 2)),
        "mean_abs": pytest.approx(4.5 / 6),
        "max_abs": 3.0,
        "over_one_nat": pytest.approx(1 / 6),  # -1 is not over 1
        "sigma_squared": pytest.approx((16 + 0.25 + 0) / 3),
        "sigma": pytest.approx(math.sqrt(16.25 / 3)),
    }


def test_the_other_way_round_only_the_sign_of_the_mean_turns(signals: Store) -> None:
    put(signals, "a", [[-1.0, -2.0, -3.0]])
    put(signals, "b", [[-1.5, -2.5, -1.0]])
    one, other = (measures(compare_signals(signals, *names)) for names in ("ab", "ba"))
    assert one.pop("mean") == -other.pop("mean")
    assert one == other


def test_tokens_that_either_mask_hides_do_not_count(signals: Store) -> None:
    masks = [[True, False, True], [False, False], [True]]
    put(signals, "a", [[-1.0, 0.0, -3.0], [0.0, 0.0], [-4.0]], masks=masks)
    put(signals, "b", [[-2.0, -9.0, -3.0], [-9.0, -9.0], [-4.5]])
    found = compare_signals(signals, "a", "b")
    assert (found.samples, found.tokens, found.differing) == (2, 3, 2)
    assert found.sigma_squared == pytest.approx((1 + 0.25) / 2)
    last = [[True, True, False], [True, True], [True]]
    put(signals, "c", [[-2.0, -9.0, -9.0], [-9.0, -9.0], [-4.5]], masks=last)
    assert compare_signals(signals, "c", "a").tokens == 2


def test_only_samples_in_both_count_and_repeated_ones_each(signals: Store) -> None:
    put(signals, "a", [[-1.0], [-2.0], [-3.0]], responses=[[5], [5], [6]])
    put(signals, "b", [[-1.0], [-2.5], [-9.0]], responses=[[5], [5], [7]])
    found = compare_signals(signals, "a", "b")
    assert (found.samples, found.tokens, found.sigma_squared) == (2, 2, 0.125)
    put(signals, "c", [[-1.0]], responses=[[99]])
    nothing = compare_signals(signals, "a", "c")
    assert (nothing.samples, nothing.tokens, nothing.sigma) == (0, 0, 0.0)
    said = run("diff", "a", "c", "--signals", "--store", signals.root)
    assert said.out.splitlines()[-1] == "no sample in common: no numbers to compare"


def test_many_rows_agree_with_numpy(signals: Store) -> None:
    chance = np.random.default_rng(3)
    lengths = chance.integers(1, 40, 300)
    responses = [chance.integers(5, 267, n).tolist() for n in lengths]
    a, b = ([-chance.exponential(2.0, n).astype(np.float32) for n in lengths] for _ in "ab")
    for ref, values in (("a", a), ("b", b)):
        put(signals, ref, [row.tolist() for row in values], responses=responses, shard_tokens=900)
    assert len(load(signals, "a").shards) > 3
    deltas = [x.astype(np.float64) - y.astype(np.float64) for x, y in zip(a, b, strict=True)]
    flat, sums = np.concatenate(deltas), np.array([np.abs(delta).sum() for delta in deltas])
    found = compare_signals(signals, "a", "b")
    assert found.tokens == len(flat)
    assert found.samples == len(sums)
    assert found.differing == np.count_nonzero(flat)
    assert found.mean == pytest.approx(flat.mean(), rel=1e-12)
    assert found.std == pytest.approx(flat.std(), rel=1e-12)
    assert found.mean_abs == pytest.approx(np.abs(flat).mean(), rel=1e-12)
    assert found.max_abs == np.abs(flat).max()
    assert found.over_one_nat == np.mean(np.abs(flat) > 1)
    assert found.sigma_squared == pytest.approx(np.mean(sums**2), rel=1e-12)


def test_a_small_spread_around_a_large_mean_is_not_swallowed(signals: Store) -> None:
    chance = np.random.default_rng(4)
    near = (-900 - chance.integers(0, 2, (3, 1000)) * 2.0**-14).astype(np.float32)
    responses = chance.integers(5, 267, near.shape).tolist()
    put(signals, "a", near.tolist(), responses=responses)
    put(signals, "b", np.zeros_like(near).tolist(), responses=responses)
    found = compare_signals(signals, "a", "b")
    assert found.std == pytest.approx(near.astype(np.float64).std(), rel=1e-6)


def test_the_same_teacher_gives_zero_and_another_one_does_not(
    signals: Store, teacher: Fingerprint, other: Fingerprint
) -> None:
    build_signal(signals, teacher, ref="again", chunk_tokens=50)
    build_signal(signals, other, ref="other", scorer=Arithmetic(shift=2.0**-20))
    same = compare_signals(signals, "signal", "again")
    assert (same.same_teacher, same.sigma, same.differing) == (True, 0.0, 0)
    assert same.teacher_a == same.teacher_b
    another = compare_signals(signals, "signal", "other")
    assert not another.same_teacher
    assert another.sigma > 0
    assert str(other.model.weights_digest) in another.teacher_b[0]
    said = run("diff", "signal", "again", "--signals", "--store", signals.root)
    assert said.code == 0
    assert "teachers      the same" in said.out
    assert "sigma         0 nats" in said.out


def test_the_smallest_difference_there_is_keeps_sigma_from_zero(signals: Store) -> None:
    put(signals, "a", [[-0.0, -1.0, -2.0]])
    put(signals, "b", [[float(-np.nextafter(np.float32(0), np.float32(1))), -1.0, -2.0]])
    found = compare_signals(signals, "a", "b")
    assert (found.differing, found.same_teacher) == (1, True)
    assert found.sigma > 0
    said = run("diff", "a", "b", "--signals", "--store", signals.root)
    assert "the same teacher gave other numbers" in said.out


def test_people_and_programs_are_told_the_same(signals: Store, other: Fingerprint) -> None:
    build_signal(signals, other, ref="other", scorer=Arithmetic(shift=2.5))
    where = ("--signals", "--store", signals.root)
    found = run("diff", "signal", "other", "--json", *where).json
    assert found == compare_signals(signals, "signal", "other").to_json() | {
        "teacher_a": found["teacher_a"],
        "teacher_b": found["teacher_b"],
    }
    assert (found["mean"], found["std"], found["over_one_nat"]) == (2.5, 0.0, 1.0)
    said = run("diff", "signal", "other", *where).out
    assert "teachers      ANOTHER" in said
    assert f"{found['tokens']:,} of {found['tokens']:,} differ" in said
    assert "mean 2.5, spread 0, mean size 2.5, largest 2.5 nats" in said
    assert "100.00% of the tokens" in said
    assert f"by {found['sigma']:.4g} G at most" in said


@pytest.mark.parametrize(
    "bad",
    [
        [[float("nan"), -1.0, -1.0]],
        [[-1.0, float("-inf"), -1.0]],
        [[-1.0, -1.0]],
        [[-1.0, -1.0, -1.0, -1.0]],
    ],
    ids=["nan", "infinite", "too-few", "too-many"],
)
def test_numbers_that_verify_would_refuse_are_not_measured(
    signals: Store, bad: list[list[float]]
) -> None:
    put(signals, "a", [[-1.0, -2.0, -3.0]])
    put(signals, "bad", bad)
    for names in (("a", "bad"), ("bad", "a")):
        with pytest.raises(FormatError, match="lopd-store verify says which"):
            compare_signals(signals, *names)


def test_artifacts_that_are_no_signals_are_refused(signals: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found rollouts"):
        compare_signals(signals, "signal", "rollouts")
    where = ("--signals", "--store", signals.root)
    assert run("diff", "rollouts", "signal", *where).code == 2
    said = run("diff", "signal", "signl", *where)
    assert (said.code, "did you mean signal" in said.err) == (4, True)
    assert run("diff", "signal", "signal", "--signals", "--store", tmp_path).code == 4


def test_a_teacher_that_only_the_manifest_names_is_not_believed(signals: Store) -> None:
    document = load(signals, "signal").identities[0].json
    document["models"]["teacher"]["weights_digest"] = f"sha256:{'1' * 64}"
    with_identity(signals, Identity.from_json(document).encode())
    with pytest.raises(IntegrityError, match="footer-identity"):
        compare_signals(signals, "signal", "bad")
