"""Shards → checked row groups → one Arrow file a column."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from lopd_store.ahead import ahead
from lopd_store.cores import usable_cores
from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError
from lopd_store.loading import spool
from lopd_store.rows import flat
from lopd_store.rows.check import row_problems
from lopd_store.rows.columns import TYPES
from lopd_store.shard_sets import ShardSet
from lopd_store.shards.reader import Shard

CORE: Final = (
    "sample_id",
    "prompt_id",
    "prompt_ids",
    "response_ids",
    "teacher_logprobs",
    "rollout_logprobs",
    "loss_mask",
    "finish_reason",
    "reference_logprobs",
)
"""What is decoded together, because its values are checked against each other."""

MASK: Final = "loss_mask"

_CHECKED: Final = frozenset(TYPES) - {"prompt_text", "response_text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """A row group to be read and checked.

    Attributes:
        shard: whose.
        number: within the shard, from 0.
        first_row: of this group, within the shard.
        vocab_size: of the model that the shard's identity names.
        subject: the set of shards, for messages.
    """

    shard: Shard
    number: int
    first_row: int
    vocab_size: int
    subject: str

    def read(self, names: Sequence[str]) -> pa.RecordBatch:
        """These columns in this order; a `loss_mask` nobody stored is true throughout.

        With a column of the format, all of `CORE` is read and checked: values vouch for each other.

        Raises:
            FormatError: a value or the shard is not valid, or it lacks a column.
            NotFoundError, IntegrityError: the shard is gone or changed.
        """
        there = self.shard.schema.names
        core = CORE if set(names) & _CHECKED else ()
        wanted = dict.fromkeys([*names, *(name for name in core if name in there)])
        batch = self.shard.read(self.number, [n for n in wanted if n != MASK or n in there])
        if core:
            self._check(batch)
        if MASK in names and MASK not in there:
            batch = batch.append_column(MASK, _all_true(batch.column("response_ids")))
        return batch.select(list(names))

    def _check(self, batch: pa.RecordBatch) -> None:
        problems = row_problems(
            batch,
            kind=self.shard.kind,
            vocab_size=self.vocab_size,
            where=str(self.shard.path),
            first_row=self.first_row,
        )
        if problems:
            raise FormatError.of(problems, subject=self.subject)


def row_groups(shards: ShardSet) -> Iterator[RowGroup]:
    """The row groups of all shards in row order, unread. Raises as `ShardSet.open_shards`."""
    for shard in shards.open_shards():
        identity = Identity.parse(shard.identity_bytes, what=f"{shard.path} footer")
        first = 0
        for number, group in enumerate(shard.groups):
            yield RowGroup(
                shard=shard,
                number=number,
                first_row=first,
                vocab_size=identity.vocab_size,
                subject=shards.name,
            )
            first += group.rows


def decode(shards: ShardSet, types: Mapping[str, pa.DataType], targets: Mapping[str, Path]) -> None:
    """Write these columns of all shards, in row order, each to its file.

    Row groups are read and checked by as many threads as there are cores.

    Args:
        shards: what to read.
        types: of the columns there are: `columns_of`.
        targets: column → file.

    Raises:
        FormatError, NotFoundError, IntegrityError: as `RowGroup.read`.
        OSError: a file cannot be written; those begun are left behind.
    """

    def read(group: RowGroup) -> pa.RecordBatch:
        return group.read(list(targets))

    threads = usable_cores()
    with ExitStack() as files, ThreadPoolExecutor(threads) as pool:
        columns = {
            name: spool.column(name, types[name], path, files) for name, path in targets.items()
        }
        for batch in ahead(pool, read, row_groups(shards), most=threads):
            for name, column in columns.items():
                column.append(batch.column(name))
        for column in columns.values():
            column.finish()
    pa.default_memory_pool().release_unused()  # what decoding took is not needed for reading


def _all_true(responses: flat.Array) -> flat.Array:
    """A mask of rows as long as these."""
    ones = pa.array(np.ones(len(flat.items(responses)), np.bool_))
    return flat.lists_of(ones, like=responses)


def columns_of(shards: ShardSet) -> dict[str, pa.DataType]:
    """The columns that every shard has, in shard order; a loss_mask is enough in one of them."""
    schemas = [shard.schema for shard in shards.open_shards()]
    common = [
        field
        for field in schemas[0]
        if all(field.name in schema.names for schema in schemas) and field.name != MASK
    ]
    found = {field.name: field.type for field in common}
    for schema in schemas[1:]:
        for name, first in found.items():
            if (other := schema.field(name).type) != first:
                raise FormatError(
                    f"{shards.name}: expected {name} of one type, found {first} and {other}"
                )
    if any(MASK in schema.names for schema in schemas):
        found[MASK] = TYPES[MASK]
    return found
