"""Depth 3: some rows scored again by the real teacher agree with what is stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.documents.identity import Identity, SignalColumn
from lopd_store.documents.noise import Noise
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.errors import ConsistencyError, Problem
from lopd_store.rows import flat
from lopd_store.rows.precision import Precision
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
    scored = identity.scorings[_teacher_column(identity).scoring].dtype
    cap = max(CAP.get(scored, CAP["bfloat16"]), CAP.get(dtype, CAP["bfloat16"]))
    rounding = Precision.parse(identity.precision).max_error
    if noise is not None and dtype == scored and float(noise.bound) < cap:
        return Tolerance(float(noise.bound) + rounding, f"measured noise bound {noise.bound}")
    return Tolerance(cap + rounding, f"cap for {scored} scored again in {dtype}")


def rescore(
    rows: Iterator[pa.RecordBatch], scorer: Scorer, limit: Tolerance, report: Report
) -> None:
    """Score `rows` again and report every position (the first 20) that disagrees."""
    tokens, worst, disagreeing = 0, 0.0, 0
    for batch in rows:
        sequences = Sequences(batch.column("prompt_ids"), batch.column("response_ids"))
        gaps, stored, again = _gaps(batch, scorer.score(sequences))
        over = np.flatnonzero(~(gaps <= limit.nats))
        report.add(
            ConsistencyError,
            _problems(batch, over[: MAX_NAMED - disagreeing], stored, again, limit),
        )
        disagreeing += len(over)
        tokens += len(gaps)
        worst = max(worst, float(gaps.max(initial=0.0)))
    report.notes.append(
        f"{tokens} tokens scored again: largest difference {worst:.3g} nats,"
        f" allowed {limit.nats:.3g} ({limit.why}), {disagreeing} over it"
    )


def evenly(rows: Iterator[pa.RecordBatch], *, total: int, wanted: int) -> Iterator[pa.RecordBatch]:
    """`wanted` of `total` rows, evenly spread."""
    step = max(1, total // max(1, wanted))
    place = taken = 0
    for batch in rows:
        chosen = np.arange(-place % step, len(batch), step)[: wanted - taken]
        place += len(batch)
        taken += len(chosen)
        if len(chosen):
            yield batch.take(pa.array(chosen))
        if taken == wanted:
            return


def _teacher_column(identity: Identity) -> SignalColumn:
    return next(signal for signal in identity.signals if signal.column == "teacher_logprobs")


def _gaps(
    batch: pa.RecordBatch, answers: list[Floats]
) -> tuple[npt.NDArray[np.float64], Floats, Floats]:
    stored = flat.lists(batch.column("teacher_logprobs")).values
    again = np.concatenate(answers)
    gaps = np.abs(stored.astype(np.float64) - again)
    if "loss_mask" in batch.schema.names:
        gaps = np.where(flat.lists(batch.column("loss_mask")).values, gaps, 0.0)
    return gaps, stored, again


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
