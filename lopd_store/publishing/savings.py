"""What rounding would save: some row groups are rounded and written, and stand for the others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from lopd_store import canonical
from lopd_store.artifacts import Artifact
from lopd_store.errors import UsageError
from lopd_store.publishing.changes import Change, changes
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.rows.precision import Precision
from lopd_store.shards.footer import Group
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import write_shards

SAMPLE: Final = 8  # row groups, about 2.4M tokens: a second or two


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Stored bytes of an artifact's log-prob columns, as they are and rounded.

    Attributes:
        precision: what they would be rounded to.
        now: bytes now, as the shards' footers say.
        then: bytes rounded; estimated unless `sampled` is `groups`.
        sampled: row groups that were rounded and written to know it.
        groups: row groups in all.
    """

    precision: Precision
    now: int
    then: int
    sampled: int
    groups: int

    @property
    def saved(self) -> int:
        """Bytes that would not be sent; below 0 where rounded ones take more."""
        return self.now - self.then

    @property
    def is_exact(self) -> bool:
        """Whether every row group was written, so that nothing is estimated."""
        return self.sampled == self.groups

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        return {
            "max_error": self.precision.text,
            "now": self.now,
            "then": self.then,
            "estimated": not self.is_exact,
            "sampled_row_groups": self.sampled,
            "row_groups": self.groups,
        }


def savings(artifact: Artifact, precision: Precision, *, sample: int = SAMPLE) -> Savings:
    """What `derive` with this precision would save, without making it.

    Args:
        artifact: its shards are looked at as they lie there; their digests are not checked.
        precision: what to round to.
        sample: how many row groups to write, spread evenly; all of them where there are fewer.

    Raises:
        UsageError: log-probs that are rounded already cannot be rounded so far; `sample` below 1.
        NotFoundError, IntegrityError, FormatError: a shard is missing or damaged.
    """
    if sample < 1:
        raise UsageError(f"expected at least 1 row group to sample, found {sample}")
    change_of = changes(artifact, texts=False, precision=precision)
    blobs = artifact.store.blobs
    shards = [(Shard.open(blobs.path(each.digest)), each.identity) for each in artifact.shards]
    places = [(shard, at, who) for shard, who in shards for at in range(shard.row_groups)]
    now = sum(_stored(shard.groups) for shard, _ in shards)
    chosen = np.unique(np.linspace(0, len(places) - 1, min(sample, len(places))).round())
    before = after = 0
    for shard, group, identity in (places[int(place)] for place in chosen):
        stored = _stored([shard.groups[group]])
        change = change_of.get(identity)
        before += stored
        after += stored if change is None else _rewritten(shard, group, change)
    return Savings(
        precision=precision,
        now=now,
        then=round(now * after / before) if before else 0,
        sampled=len(chosen),
        groups=len(places),
    )


def _rewritten(shard: Shard, group: int, change: Change) -> int:
    """Bytes of the log-prob columns of a row group, once it is rounded and written."""
    rows = change.apply(shard.read(group), None)
    with TemporaryDirectory() as folder:
        files = write_shards(
            [rows],
            identity=change.identity.encode(),
            folder=Path(folder),
            shard_tokens=canonical.MAX_INTEGER,
        )
        return sum(_stored(Shard.open(file.path).groups) for file in files)


def _stored(groups: Iterable[Group]) -> int:
    return sum(_sizes(groups))


def _sizes(groups: Iterable[Group]) -> Iterator[int]:
    for group in groups:
        for chunk in group.chunks:
            if chunk.path[0] in LOGPROB_COLUMNS:
                yield chunk.stored
