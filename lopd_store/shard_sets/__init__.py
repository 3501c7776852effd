"""Shards by any name a person gives them: a ref, a file, a folder, a dataset on the Hub."""

from lopd_store.shard_sets.files import shards_in
from lopd_store.shard_sets.opening import open_shard_set
from lopd_store.shard_sets.shard_set import ShardSet, as_named, column_problems

__all__ = ["ShardSet", "as_named", "column_problems", "open_shard_set", "shards_in"]
