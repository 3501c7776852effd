"""What rounding would save: some row groups are rounded and written, and stand for the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from lopd_store import canonical
from lopd_store.artifacts import Artifact
from lopd_store.digest import Digest
from lopd_store.errors import UsageError
from lopd_store.publishing.changes import Change, changes
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.rows.precision import EXACT, Precision
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
        groups: row groups that rounding changes.
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

    Nothing, where log-probs are rounded already and cannot be rounded so far.

    Args:
        artifact: its shards are looked at as they lie there; their digests are not checked.
        precision: what to round to.
        sample: at most so many row groups are written, spread evenly.

    Raises:
        UsageError: `sample` below 1.
        NotFoundError, IntegrityError, FormatError: a shard is missing or damaged.
    """
    if sample < 1:
        raise UsageError(f"expected at least 1 row group to sample, found {sample}")
    rounded = _rounded(artifact, precision)
    blobs = artifact.store.blobs
    shards = [(Shard.open(blobs.path(each.digest)), each.identity) for each in artifact.shards]
    places = [
        (shard, at, rounded[identity])
        for shard, identity in shards
        for at in range(shard.row_groups)
        if identity in rounded
    ]
    now = _stored(group for shard, _ in shards for group in shard.groups)
    before = _stored(shard.groups[at] for shard, at, _ in places)
    chosen = places[:: max(1, -(-len(places) // sample))]
    seen = _stored(shard.groups[at] for shard, at, _ in chosen)
    written = sum(_rewritten(*place) for place in chosen)
    return Savings(
        precision=precision,
        now=now,
        then=now - before + (round(before * written / seen) if seen else 0),
        sampled=len(chosen),
        groups=len(places),
    )


def _rounded(artifact: Artifact, precision: Precision) -> dict[Digest, Change]:
    """Identity → what rounding does to its rows, for those that are changed by it."""
    try:
        found = changes(artifact, texts=False, precision=precision)
    except UsageError:  # rounded already, less far: that stays
        return {}
    return {identity: one for identity, one in found.items() if one.precision != EXACT}


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
    """Bytes of the log-prob columns of row groups."""
    chunks = (chunk for group in groups for chunk in group.chunks)
    return sum(chunk.stored for chunk in chunks if chunk.path[0] in LOGPROB_COLUMNS)
