"""What a card says of rows in numbers: counted in one pass, a row group in memory at a time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.errors import FormatError
from lopd_store.rows import flat
from lopd_store.rows.columns import FINISH_REASONS, UNKNOWN_REASON
from lopd_store.shards.reader import Shard

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of response lengths."""

BIN: Final = 0.25
"""Nats from one edge of the histogram to the next: exact in binary, and so are its multiples."""

BINS: Final = 48
"""Bins of that width below 0; whatever is at or below their last edge is in one more."""

MEASURED: Final = ("teacher_logprobs", "rollout_logprobs")
_READ: Final = ("prompt_ids", "response_ids", "loss_mask", "finish_reason", *MEASURED)
_CONFIDENT: Final = float(np.log(0.99))
_REASONS: Final = (*FINISH_REASONS, UNKNOWN_REASON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logprobs:
    """A column of log-probs, at trained tokens.

    Attributes:
        column: its name.
        tokens: how many.
        mean: nats.
        lowest: nats.
        confident: the share whose probability is over 0.99.
        bins: how many are in (-BIN, 0], (-2 BIN, -BIN], …, and at or below -BIN * BINS.
    """

    column: str
    tokens: int
    mean: float
    lowest: float
    confident: float
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Rows in numbers.

    Attributes:
        rows: how many.
        tokens: response tokens.
        trained: response tokens whose loss_mask is true, or all where there is none.
        prompt_tokens: how many.
        expanded: bytes of all columns once decompressed, as the shards' footers say.
        lengths: response lengths in tokens at `QUANTILES`; the shortest that at least that share
            of the rows does not exceed.
        finish_reasons: why responses ended and how many did, in the format's order.
        logprobs: of each column of `MEASURED` that rows have and trained tokens.
        advantage: mean of log π_T - log π_rollout over trained tokens, nats; None without both.
    """

    rows: int
    tokens: int
    trained: int
    prompt_tokens: int
    expanded: int
    lengths: tuple[int, ...]
    finish_reasons: tuple[tuple[str, int], ...]
    logprobs: tuple[Logprobs, ...]
    advantage: float | None


def measure(shards: Iterable[Shard]) -> Statistics:
    """Read every row once.

    The numbers do not depend on where row groups and shards end, but for the last bits of means.

    Raises:
        FormatError: values that no artifact may have, so that nothing false is published.
        IntegrityError: a page is not what its CRC says.
    """
    tally = _Tally()
    for shard in shards:
        tally.expanded += sum(chunk.expanded for group in shard.groups for chunk in group.chunks)
        names = [name for name in _READ if name in shard.schema.names]
        for group in range(shard.row_groups):
            tally.add(shard.read(group, names), where=f"{shard.path.name}, row group {group}")
    return tally.done()


@dataclass(slots=True)
class _Sums:
    tokens: int = 0
    total: float = 0.0
    lowest: float = 0.0
    confident: int = 0
    bins: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS + 1, np.int64))

    def add(self, values: npt.NDArray[np.float64]) -> None:
        if len(values) == 0:
            return
        self.tokens += len(values)
        self.total += float(values.sum())
        self.lowest = min(self.lowest, float(values.min()))
        self.confident += int(np.count_nonzero(values > _CONFIDENT))
        places = np.minimum(-values / BIN, BINS).astype(np.int64)
        self.bins += np.bincount(places, minlength=BINS + 1)


@dataclass(slots=True)
class _Tally:
    """Sums over the row groups so far."""

    tokens: int = 0
    trained: int = 0
    prompt_tokens: int = 0
    expanded: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    logprobs: dict[str, _Sums] = field(default_factory=dict)
    gap: float = 0.0
    compared: int = 0

    def add(self, batch: pa.RecordBatch, *, where: str) -> None:
        lengths = flat.lengths(batch.column("response_ids"))
        self.lengths.update(_counts(lengths))
        self.reasons.update(_reasons(batch, where))
        tokens = int(lengths.sum())
        self.tokens += tokens
        self.prompt_tokens += int(flat.lengths(batch.column("prompt_ids")).sum())
        trained = _aligned(batch, "loss_mask", lengths, where)
        self.trained += tokens if trained is None else int(np.count_nonzero(trained))
        found = {}
        for name in MEASURED:
            values = _aligned(batch, name, lengths, where)
            if values is not None:
                found[name] = _logprobs(values if trained is None else values[trained], name, where)
                self.logprobs.setdefault(name, _Sums()).add(found[name])
        if len(found) == len(MEASURED):
            teacher, rollout = (found[name] for name in MEASURED)
            self.gap += float((teacher - rollout).sum())
            self.compared += len(teacher)

    def done(self) -> Statistics:
        rows = self.lengths.total()
        return Statistics(
            rows=rows,
            tokens=self.tokens,
            trained=self.trained,
            prompt_tokens=self.prompt_tokens,
            expanded=self.expanded,
            lengths=_quantiles(self.lengths),
            finish_reasons=tuple((name, n) for name in _REASONS if (n := self.reasons[name])),
            logprobs=tuple(
                _measured(name, sums)
                for name, sums in sorted(self.logprobs.items(), reverse=True)
                if sums.tokens
            ),
            advantage=self.gap / self.compared if self.compared else None,
        )


def _measured(column: str, sums: _Sums) -> Logprobs:
    return Logprobs(
        column=column,
        tokens=sums.tokens,
        mean=sums.total / sums.tokens,
        lowest=sums.lowest,
        confident=sums.confident / sums.tokens,
        bins=tuple(int(count) for count in sums.bins),
    )


def _counts(lengths: npt.NDArray[np.int64]) -> dict[int, int]:
    values, counts = np.unique(lengths, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _quantiles(lengths: Counter[int]) -> tuple[int, ...]:
    """The lengths at `QUANTILES`; empty without rows."""
    values = np.array(sorted(lengths), np.int64)
    running = np.cumsum([lengths[value] for value in values.tolist()])
    if len(values) == 0:
        return ()
    places = [int(np.searchsorted(running, share * running[-1])) for share in QUANTILES]
    return tuple(int(values[place]) for place in places)


def _reasons(batch: pa.RecordBatch, where: str) -> dict[str, int]:
    counts: Any = batch.column("finish_reason").value_counts()
    found = {item["values"]: item["counts"] for item in counts.to_pylist()}
    if strange := set(found) - set(_REASONS):
        shown = str(strange.pop())[:40]
        raise FormatError(
            f"{where}: expected a finish_reason of {', '.join(_REASONS)}, found {shown!r}; see"
            " lopd-store verify"
        )
    return found


def _aligned(
    batch: pa.RecordBatch, name: str, lengths: npt.NDArray[np.int64], where: str
) -> flat.Numbers | None:
    """The items of a list column beside the response ids; None where there is no such column."""
    if name not in batch.schema.names:
        return None
    found = flat.lists(batch.column(name))
    if flat.items(batch.column(name)).null_count or not np.array_equal(found.lengths, lengths):
        raise FormatError(
            f"{where}: expected one item of {name} for each response id, found others; see"
            " lopd-store verify"
        )
    return found.values


def _logprobs(values: flat.Numbers, name: str, where: str) -> npt.NDArray[np.float64]:
    wide = values.astype(np.float64)
    if not (np.isfinite(wide) & (wide <= 0)).all():
        raise FormatError(
            f"{where}: expected finite {name} of at most 0, found others; see lopd-store verify"
        )
    return wide
