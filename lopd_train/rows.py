"""The rows of a signal to train on, as flat arrays in pages the kernel can drop."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import FormatError, UsageError
from lopd_store.loading.decoded import ELSEWHERE, explained
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.loading.sample_index import SampleIndex
from lopd_store.rows import flat
from lopd_store.shard_sets import ShardSet

Ints: TypeAlias = npt.NDArray[np.int64]
_KINDS: Final = ("signal", "sft")
_COPIED_ROWS: Final = 4096  # at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Prompts, responses and what was said of them, row after row. R rows.

    Row r's prompt is `prompt_ids[prompt_offsets[r]:prompt_offsets[r + 1]]`; what stands per
    response id is cut by `response_offsets` in the same way. All values were checked.

    Attributes:
        prompt_offsets: int64 [R + 1].
        prompt_ids: int32.
        response_offsets: int64 [R + 1].
        response_ids: int32.
        trained: bool per response id: is it to be learnt? `loss_mask`, or all true.
        teacher_logprobs: float32 per response id, natural logs; None in kind sft.
        rollout_logprobs: float32 per response id; None unless every shard has them.
        left_out: rows of the signal that are not here because loss_mask is false throughout.
        too_long: rows that are not here because they are longer than the `max_length` asked for.
        sample_ids: the rows' names, string [R]; None for rows that were made by hand.
    """

    prompt_offsets: Ints
    prompt_ids: npt.NDArray[np.int32]
    response_offsets: Ints
    response_ids: npt.NDArray[np.int32]
    trained: npt.NDArray[np.bool_]
    teacher_logprobs: npt.NDArray[np.float32] | None = None
    rollout_logprobs: npt.NDArray[np.float32] | None = None
    left_out: int = 0
    too_long: int = 0
    sample_ids: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.prompt_offsets) - 1

    @cached_property
    def lengths(self) -> Ints:
        """Prompt and response ids of each row, int64 [R]."""
        return np.diff(self.prompt_offsets) + np.diff(self.response_offsets)

    @cached_property
    def trained_lengths(self) -> Ints:
        """Trained response ids of each row, int64 [R], at least 1."""
        return _counts(self.trained, self.response_offsets)

    def index(self, sample_id: str) -> int:
        """The row of that name. Raises NotFoundError."""
        return self._names.row(sample_id)

    @cached_property
    def _names(self) -> SampleIndex:
        return SampleIndex(
            pa.chunked_array([], pa.string()) if self.sample_ids is None else self.sample_ids
        )

    @classmethod
    def read(cls, signal: ShardSet, *, max_length: int | None = None) -> "Rows":
        """Map the rows of a signal or of sft data, checked and decoded by `DecodedRows`.

        Where rows are left out, the others are copied into unnamed temporary files (TMPDIR).

        Args:
            signal: what `open_signal` opened.
            max_length: leave out rows with more ids than this; None for no bound.

        Raises:
            UsageError: rollouts nobody scored.
            NotFoundError, IntegrityError: a shard is gone or changed.
            FormatError: a shard or a value in it is not valid, or no row is left to train on.
            StoreError: no room for the decoded rows.
        """
        if signal.kind not in _KINDS:
            raise UsageError(
                f"{signal.name}: expected a signal or sft data, found {signal.kind}; `lopd-store"
                " build` scores rollouts with a teacher"
            )
        rows = _all_rows(DecodedRows.open(signal))
        some = rows.trained_lengths > 0
        short = rows.lengths <= (np.iinfo(np.int64).max if max_length is None else max_length)
        left_out, too_long = int((~some).sum()), int((some & ~short).sum())
        if not (some & short).any():
            raise FormatError(
                f"{signal.name}: expected rows to train on, found none: of {len(rows)} rows"
                f" {left_out} have a loss_mask that is false throughout, {too_long} are longer"
                " than the longest allowed"
            )
        if left_out or too_long:
            return _only(rows, some & short, left_out=left_out, too_long=too_long)
        return rows


def _all_rows(decoded: DecodedRows) -> Rows:
    """The arrays as they are mapped: nothing is copied."""
    prompts, responses = decoded.lists("prompt_ids"), decoded.lists("response_ids")

    def values(name: str) -> npt.NDArray[Any] | None:
        return decoded.lists(name).values if name in decoded.columns else None

    mask = values("loss_mask")
    return Rows(
        prompt_offsets=prompts.offsets,
        prompt_ids=prompts.values,
        response_offsets=responses.offsets,
        response_ids=responses.values,
        trained=np.ones(len(responses.values), np.bool_) if mask is None else mask,
        teacher_logprobs=values("teacher_logprobs"),
        rollout_logprobs=values("rollout_logprobs"),
        sample_ids=decoded.column("sample_id"),
    )


def _only(rows: Rows, keep: npt.NDArray[np.bool_], *, left_out: int, too_long: int) -> Rows:
    """The rows that `keep` marks, R bools."""

    def offsets(of: Ints) -> Ints:
        return flat.running(np.diff(of)[keep])

    def responses(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return _copied(values, rows.response_offsets, keep)

    teacher, rollout = rows.teacher_logprobs, rows.rollout_logprobs
    return Rows(
        prompt_offsets=offsets(rows.prompt_offsets),
        prompt_ids=_copied(rows.prompt_ids, rows.prompt_offsets, keep),
        response_offsets=offsets(rows.response_offsets),
        response_ids=responses(rows.response_ids),
        trained=responses(rows.trained),
        teacher_logprobs=None if teacher is None else responses(teacher),
        rollout_logprobs=None if rollout is None else responses(rollout),
        left_out=left_out,
        too_long=too_long,
        sample_ids=None if rows.sample_ids is None else rows.sample_ids.filter(pa.array(keep)),
    )


def _copied(
    values: npt.NDArray[Any], offsets: Ints, keep: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    """The values of the rows to keep, in a file without a name that goes with the array."""
    lengths, count = np.diff(offsets), 0
    with explained(tempfile.gettempdir(), ELSEWHERE), tempfile.TemporaryFile(buffering=0) as file:
        for first in range(0, len(keep), _COPIED_ROWS):
            some = slice(first, first + _COPIED_ROWS)
            block = values[offsets[first] : offsets[min(first + _COPIED_ROWS, len(keep))]]
            kept = block[np.repeat(keep[some], lengths[some])]
            left = kept.view(np.uint8).data
            while left:
                left = left[file.write(left) :]
            count += len(kept)
        return np.memmap(file, values.dtype, mode="r", shape=(count,))


def _counts(marks: npt.NDArray[np.bool_], offsets: Ints) -> Ints:
    """How many marks are true in each row; no row is empty."""
    return np.add.reduceat(marks, offsets[:-1], dtype=np.int64)
