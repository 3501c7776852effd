"""The rows of an artifact on their way into another layout: checked, a row group at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from lopd_store.errors import UsageError
from lopd_store.loading.decode import MASK, columns_of, row_groups
from lopd_store.rows import flat
from lopd_store.shard_sets import ShardSet

_RESPONSE: Final = "response_ids"


def _silent(_tokens: int) -> None:
    """What hears of progress where nobody asked for it."""


@dataclass(slots=True, kw_only=True)
class Source:
    """What an adapter's `export` reads from, and what has gone through it.

    Attributes:
        signal: the artifact, of any kind; `expect` refuses those an adapter has no place for.
        columns: what every shard has, in shard order; one that only some have is left out.
        advance: is told the response tokens of each row group once it was read.
        rows: given so far.
        tokens: response tokens in them.
        left_out: rows not given because their loss_mask is false throughout.
    """

    signal: ShardSet
    columns: tuple[str, ...]
    advance: Callable[[int], None] = _silent
    rows: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)

    @classmethod
    def of(cls, signal: ShardSet, *, advance: Callable[[int], None] = _silent) -> "Source":
        """Look at the footer of every shard. Raises what `ShardSet.open_shards` raises."""
        return cls(signal=signal, columns=tuple(columns_of(signal)), advance=advance)

    def expect(self, *kinds: str) -> None:
        """Raise UsageError unless the artifact is of one of these kinds."""
        if self.signal.kind not in kinds:
            raise UsageError(
                f"{self.signal.name}: expected kind {' or '.join(kinds)}, found"
                f" {self.signal.kind}; `lopd-store build` makes a signal of rollouts"
            )

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The columns `names`, a row group at a time, once their values were checked.

        A `loss_mask` may always be asked for: it is true throughout where there is none. Rows
        where it is false throughout have nothing to learn from and are left out.

        Raises:
            NotFoundError, IntegrityError: a shard is gone or changed.
            FormatError: a shard or a value in it is not valid.
        """
        for group in row_groups(self.signal):
            batch = group.read(list(dict.fromkeys([*names, MASK, _RESPONSE])))
            mask = flat.lists(batch.column(MASK))
            some = mask.rows_with(mask.values)
            kept = batch if some.all() else batch.filter(pa.array(some))
            self.rows += kept.num_rows
            self.left_out += batch.num_rows - kept.num_rows
            self.tokens += _tokens(kept)
            self.advance(_tokens(batch))
            if kept.num_rows:
                yield kept.select(list(names))

    def every(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As `batches`, with the rows too that have nothing to learn from."""
        for group in row_groups(self.signal):
            batch = group.read(names)
            self.rows += batch.num_rows
            self.tokens += _tokens(batch)
            self.advance(_tokens(batch))
            yield batch


def _tokens(batch: pa.RecordBatch) -> int:
    return int(flat.lengths(batch.column(_RESPONSE)).sum())
