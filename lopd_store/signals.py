"""A signal with what people do to it: `open_signal` is the way in."""

from dataclasses import dataclass, fields
from pathlib import Path

from lopd_store.shard_sets import ShardSet, open_shard_set


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(ShardSet):
    """Rows to train on, to check or to ask, and who made them."""


def open_signal(name: str, *, root: Path | None) -> Signal:
    """Open what a person names: a file, a folder, else a ref or id, else `org/dataset[@rev]`.

    The arguments and what is raised: `open_shard_set`.
    """
    found = open_shard_set(name, root=root)
    return Signal(**{each.name: getattr(found, each.name) for each in fields(found)})
