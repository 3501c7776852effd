"""The rows of a signal as flat arrays: checked once, decoded once, in pages the kernel can drop."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_store.rows import flat
from lopd_store.rows.check import row_problems
from lopd_store.rows.columns import required
from lopd_store.shards.reader import Shard
from lopd_store.signals import Signal

Ints: TypeAlias = npt.NDArray[np.int64]
_KINDS: Final = ("signal", "sft")
_OPTIONAL: Final = ("rollout_logprobs", "loss_mask")


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

    @classmethod
    def read(cls, signal: Signal, *, max_length: int | None = None) -> "Rows":
        """Decode and check every shard of a signal or of sft data.

        The arrays lie in unlinked temporary files (TMPDIR), so that rows are page cache, not heap.

        Args:
            signal: what `open_signal` opened.
            max_length: leave out rows with more ids than this; None for no bound.

        Raises:
            UsageError: rollouts nobody scored.
            NotFoundError, IntegrityError: a shard is gone or changed.
            FormatError: a shard or a value in it is not valid, or no row is left to train on.
            StoreError: no room for the temporary files.
        """
        if signal.kind not in _KINDS:
            raise UsageError(
                f"{signal.name}: expected a signal or sft data, found {signal.kind}; `lopd-store"
                " build` scores rollouts with a teacher"
            )
        with ExitStack() as files:  # their mappings outlive them
            reading = _Reading(signal, max_length, files)
            for shard in signal.open_shards():
                reading.take(shard)
            return reading.rows()


class _Reading:
    """Rows on their way into flat files."""

    def __init__(self, signal: Signal, max_length: int | None, files: ExitStack) -> None:
        self._signal = signal
        self._longest = np.iinfo(np.int64).max if max_length is None else max_length
        self._columns = list(required(signal.kind))
        self._prompts, self._responses = _Lists(np.int32, files), _Lists(np.int32, files)
        self._trained = _Values(np.bool_, files)
        self._teacher = _Values(np.float32, files) if signal.kind == "signal" else None
        self._rollout: _Values | None = _Values(np.float32, files)
        self._left_out = self._too_long = 0

    def take(self, shard: Shard) -> None:
        """Append the rows of one shard. Raises FormatError with the problems of a row group."""
        identity = Identity.parse(shard.identity_bytes, what=f"{shard.path} footer")
        names = self._columns + [name for name in _OPTIONAL if name in shard.schema.names]
        if "rollout_logprobs" not in names:
            self._rollout = None
        first = 0
        for batch in shard.batches(names):
            problems = row_problems(
                batch,
                kind=shard.kind,
                vocab_size=identity.vocab_size,
                where=str(shard.path),
                first_row=first,
            )
            if problems:
                raise FormatError.of(problems, subject=self._signal.name)
            self._append(batch)
            first += batch.num_rows

    def _append(self, batch: pa.RecordBatch) -> None:
        prompts, responses = (flat.lists(batch.column(n)) for n in ("prompt_ids", "response_ids"))
        trained = np.ones(len(responses.values), np.bool_)
        if "loss_mask" in batch.schema.names:
            trained = flat.lists(batch.column("loss_mask")).values
        short = prompts.lengths + responses.lengths <= self._longest
        some = _counts(trained, responses.offsets) > 0
        keep = short & some
        self._left_out += int((~some).sum())
        self._too_long += int((some & ~short).sum())
        inside = np.repeat(keep, responses.lengths)
        self._prompts.append(prompts, keep)
        self._responses.append(responses, keep)
        self._trained.append(trained[inside])
        for name, to in (("teacher_logprobs", self._teacher), ("rollout_logprobs", self._rollout)):
            if to is not None:
                to.append(flat.lists(batch.column(name)).values[inside])

    def rows(self) -> Rows:
        """What was appended. Raises FormatError when that is nothing."""
        if not self._trained.count:
            raise FormatError(
                f"{self._signal.name}: expected rows to train on, found none: of"
                f" {self._signal.rows} rows {self._left_out} have a loss_mask that is false"
                f" throughout, {self._too_long} are longer than the longest allowed"
            )
        return Rows(
            prompt_offsets=self._prompts.offsets(),
            prompt_ids=self._prompts.values.mapped(),
            response_offsets=self._responses.offsets(),
            response_ids=self._responses.values.mapped(),
            trained=self._trained.mapped(),
            teacher_logprobs=None if self._teacher is None else self._teacher.mapped(),
            rollout_logprobs=None if self._rollout is None else self._rollout.mapped(),
            left_out=self._left_out,
            too_long=self._too_long,
        )


class _Values:
    """Numbers of one type, appended to a file without a name and read back as a mapping."""

    def __init__(self, dtype: npt.DTypeLike, files: ExitStack) -> None:
        self._dtype = np.dtype(dtype)
        with _explained():
            opened = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - `files` closes it
        self._file = files.enter_context(opened)
        self.count = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write these after the others."""
        left = np.ascontiguousarray(values, self._dtype).view(np.uint8).data
        with _explained():
            while left:
                left = left[self._file.write(left) :]
        self.count += len(values)

    def mapped(self) -> npt.NDArray[Any]:
        """All of them; the file goes with the array."""
        with _explained():
            return np.memmap(self._file, self._dtype, mode="r", shape=(self.count,))


class _Lists:
    """Lists of numbers: their values in a file, their lengths in memory."""

    def __init__(self, dtype: npt.DTypeLike, files: ExitStack) -> None:
        self.values = _Values(dtype, files)
        self._lengths: list[Ints] = []

    def append(self, lists: flat.Lists, keep: npt.NDArray[np.bool_]) -> None:
        """Write the lists that `keep` marks after the others."""
        self.values.append(lists.values[np.repeat(keep, lists.lengths)])
        self._lengths.append(lists.lengths[keep])

    def offsets(self) -> Ints:
        """Running counts from 0, one more than lists."""
        return flat.running(np.concatenate(self._lengths))


def _counts(marks: npt.NDArray[np.bool_], offsets: Ints) -> Ints:
    """How many marks are true in each row; no row is empty."""
    return np.add.reduceat(marks, offsets[:-1], dtype=np.int64)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot keep the decoded rows in {tempfile.gettempdir()}: {error.strerror}: free some"
            " space there, or name another folder with TMPDIR"
        ) from error
