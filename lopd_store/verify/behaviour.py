"""Depth 3: some rows scored again by the real teacher agree with what is stored."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.documents.identity import Identity
from lopd_store.documents.noise import Noise
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.errors import ConsistencyError, Problem
from lopd_store.rows import flat
from lopd_store.rows.precision import Precision
from lopd_store.shards.reader import Shard
from lopd_store.verify.report import Report

# The most a re-score may differ whatever noise a publisher declares, in nats: batch shapes,
# kernels and engines stay well below these on every model measured.
CAP: Final = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 0.5}
MAX_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a re-scored log-prob may be from the stored one.

    Attributes:
        nats: the limit.
        why: where it comes from, for people.
    """

    nats: float
    why: str


def tolerance(identity: Identity, noise: Noise | None, dtype: str) -> Tolerance:
    """The attached noise bound or the cap of the coarser dtype, whichever is smaller.

    Rounding that the identity states comes on top.
    """
    scored = _scored_in(identity)
    cap = max(CAP.get(scored, CAP["bfloat16"]), CAP.get(dtype, CAP["bfloat16"]))
    rounding = Precision.parse(identity.precision).max_error
    if noise is not None and dtype == scored and float(noise.bound) < cap:
        return Tolerance(float(noise.bound) + rounding, f"measured noise bound {noise.bound}")
    return Tolerance(cap + rounding, f"cap for {scored} scored again in {dtype}")


def _scored_in(identity: Identity) -> str:
    """The dtype of the scoring; of an import what was asserted, which can only narrow the cap."""
    signal = identity.signal("teacher_logprobs")
    if signal is None and identity.imported is not None:
        return identity.imported.asserted.scoring.get("dtype", "an unknown dtype")
    return identity.scorings[signal.scoring if signal else "teacher"].dtype


def rescore(
    rows: Iterable[tuple[pa.RecordBatch, Tolerance]], scorer: Scorer, report: Report
) -> None:
    """Score rows again, each within its tolerance; report positions (20) that disagree."""
    tokens, worst, disagreeing = 0, 0.0, 0
    limits: dict[Tolerance, None] = {}
    for batch, limit in rows:
        limits[limit] = None
        sequences = Sequences(batch.column("prompt_ids"), batch.column("response_ids"))
        gaps, stored, again = _gaps(batch, scorer.score(sequences))
        over = np.flatnonzero(~(gaps <= limit.nats))
        report.add(
            ConsistencyError,
            _problems(batch, over[: MAX_NAMED - disagreeing], stored, again, limit),
        )
        disagreeing += len(over)
        tokens += _sampled(batch, len(gaps))
        worst = max(worst, float(gaps.max(initial=0.0)))
    allowed = ", ".join(f"{limit.nats:.3g} ({limit.why})" for limit in limits)
    report.notes.append(
        f"{tokens} tokens scored again: largest difference {worst:.3g} nats,"
        f" allowed {allowed}, {disagreeing} over it"
    )


def places(total: int, wanted: int) -> list[int]:
    """`wanted` of `total` rows in order: one of each of as many equal parts.

    Which one is drawn anew each time: a publisher who could foresee it would need to be honest
    there only.
    """
    wanted = min(wanted, total)
    chance = random.SystemRandom()
    edges = [total * part // wanted for part in range(wanted + 1)] if wanted else [0]
    return [chance.randrange(*part) for part in pairwise(edges)]


def at(rows: Iterable[pa.RecordBatch], chosen: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The rows with the numbers `chosen`, ascending; a batch without one of them is passed over."""
    first = 0
    for batch in rows:
        low, high = bisect_left(chosen, first), bisect_left(chosen, first + len(batch))
        if low < high:
            yield batch.take(pa.array([place - first for place in chosen[low:high]]))
        if high == len(chosen):
            return
        first += len(batch)


def chosen_rows(
    sources: Sequence[tuple[Path, Identity]],
    chosen: Sequence[int],
    *,
    noise: Noise | None,
    dtype: str,
) -> Iterator[tuple[pa.RecordBatch, Tolerance]]:
    """The chosen rows of all shards, each with what the identity of its own shard allows."""
    first = 0
    for path, identity in sources:
        shard = Shard.open(path)
        inside = [place - first for place in chosen if first <= place < first + shard.rows]
        first += shard.rows
        if inside:
            limit = tolerance(identity, noise, dtype)
            for batch in at(shard.batches(), inside):
                yield batch, limit


def _gaps(
    batch: pa.RecordBatch, answers: list[Floats]
) -> tuple[npt.NDArray[np.float64], Floats, Floats]:
    stored = flat.lists(batch.column("teacher_logprobs")).values
    again = np.concatenate(answers)
    gaps = np.abs(stored.astype(np.float64) - again)
    if "loss_mask" in batch.schema.names:
        gaps = np.where(flat.lists(batch.column("loss_mask")).values, gaps, 0.0)
    return gaps, stored, again


def _sampled(batch: pa.RecordBatch, tokens: int) -> int:
    """How many of a batch's response tokens the policy sampled: masked ones say nothing."""
    if "loss_mask" not in batch.schema.names:
        return tokens
    return int(np.count_nonzero(flat.lists(batch.column("loss_mask")).values))


def _problems(
    batch: pa.RecordBatch,
    positions: npt.NDArray[np.int64],
    stored: Floats,
    again: Floats,
    limit: Tolerance,
) -> list[Problem]:
    responses = flat.lists(batch.column("response_ids"))
    names = batch.column("sample_id")
    return [
        Problem(
            "rescore-disagrees",
            f"sample {names[int(row)].as_py()} position {place - responses.offsets[row]}",
            f"{stored[place]:.6g} ± {limit.nats:.3g} nats",
            f"{again[place]:.6g}",
        )
        for place, row in zip(positions, responses.rows_of(positions), strict=True)
    ]
