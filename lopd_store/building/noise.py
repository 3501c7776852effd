"""Measured noise: a few rows scored again in other company, to say how exact the rest is."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.documents.noise import Noise
from lopd_store.engines.protocol import Scorer, Sequences
from lopd_store.rows import flat

ROWS: Final = 32
# A re-score may differ by this many times the noise measured: the largest of a small sample is a
# low guess at the largest of all.
HEADROOM: Final = 4.0
# What other batch shapes do to small float32 models (1.5e-5) and to bfloat16 ones, rounded up:
# a noise measured as zero must not refuse an honest re-score on the next machine.
FLOOR: Final = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


def measure(scorer: Scorer, rows: Iterator[pa.RecordBatch], *, name: str) -> Noise:
    """Score up to 32 rows one by one, the last first, and compare with what they got in a chunk.

    Args:
        scorer: the engine that gave `rows` their teacher_logprobs.
        rows: scored rows before any rounding.
        name: the scoring's name in the identity document.

    At least one row is there.
    """
    chosen = _first_rows(rows)
    stored = flat.lists(chosen.column("teacher_logprobs")).values
    sequences = Sequences(chosen.column("prompt_ids"), chosen.column("response_ids"))
    again = [scorer.score(sequences.slice(i, 1))[0] for i in reversed(range(len(sequences)))]
    gaps = np.abs(np.concatenate(again[::-1]).astype(np.float64) - stored)
    if "loss_mask" in chosen.schema.names:
        gaps = gaps[flat.lists(chosen.column("loss_mask")).values]
    return Noise.of(
        scoring=name,
        rows=len(chosen),
        tokens=len(gaps),
        differing=int(np.count_nonzero(gaps)),
        mean_abs=_nats(gaps.mean() if len(gaps) else 0.0),
        max_abs=_nats(_largest(gaps)),
        bound=_nats(max(HEADROOM * _largest(gaps), FLOOR.get(str(scorer.scoring["dtype"]), 1e-1))),
    )


def _first_rows(rows: Iterator[pa.RecordBatch]) -> pa.RecordBatch:
    held: list[pa.RecordBatch] = []
    missing = ROWS
    for batch in rows:
        held.append(batch.slice(0, missing))
        missing -= len(held[-1])
        if missing == 0:
            break
    return pa.concat_batches(held)


def _largest(gaps: npt.NDArray[np.float64]) -> float:
    return float(gaps.max(initial=0.0))


def _nats(value: float) -> str:
    return f"{value:.3g}"
