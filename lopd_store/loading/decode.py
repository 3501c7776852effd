"""Shards → one Arrow file a column, every value checked on the way."""

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


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group to be decoded; its rows are numbered from `first_row` within the shard."""

    shard: Shard
    number: int
    first_row: int
    vocab_size: int


def decode(shards: ShardSet, types: Mapping[str, pa.DataType], targets: Mapping[str, Path]) -> None:
    """Write these columns of all shards, in row order, each to its file.

    Row groups are read and checked by as many threads as there are cores.

    Args:
        shards: what to read.
        types: of the columns there are: `columns_of`.
        targets: column → file; if a column of `CORE` is among them, all that there are.

    Raises:
        FormatError: a shard, or a value in one of `CORE`, is not valid.
        NotFoundError, IntegrityError: a shard is gone or changed.
        OSError: a file cannot be written; those begun are left behind.
    """
    core = [name for name in targets if name in CORE]

    def read(group: _Group) -> dict[str, flat.Array]:
        return _arrays(group, list(targets), core, shards.name)

    threads = usable_cores()
    with ExitStack() as files, ThreadPoolExecutor(threads) as pool:
        columns = {
            name: spool.column(name, types[name], path, files) for name, path in targets.items()
        }
        for arrays in ahead(pool, read, _groups(shards), most=threads):
            for name, array in arrays.items():
                columns[name].append(array)
        for column in columns.values():
            column.finish()
    pa.default_memory_pool().release_unused()  # what decoding took is not needed for reading


def _groups(shards: ShardSet) -> Iterator[_Group]:
    for shard in shards.open_shards():
        identity = Identity.parse(shard.identity_bytes, what=f"{shard.path} footer")
        first = 0
        for number, group in enumerate(shard.groups):
            yield _Group(shard, number, first, identity.vocab_size)
            first += group.rows


def _arrays(
    group: _Group, names: Sequence[str], core: Sequence[str], subject: str
) -> dict[str, flat.Array]:
    shard = group.shard
    batch = shard.read(group.number, [name for name in names if name in shard.schema.names])
    if core:
        problems = row_problems(
            batch.select([name for name in core if name in batch.schema.names]),
            kind=shard.kind,
            vocab_size=group.vocab_size,
            where=str(shard.path),
            first_row=group.first_row,
        )
        if problems:
            raise FormatError.of(problems, subject=subject)
    found = {name: batch.column(name) for name in batch.schema.names}
    if MASK in names and MASK not in found:
        found[MASK] = _all_true(found["response_ids"])
    return found


def _all_true(responses: flat.Array) -> flat.Array:
    """The mask of a shard without one, beside shards that have one."""
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
