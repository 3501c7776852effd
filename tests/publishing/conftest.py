"""Tiny models, a store of rollouts and one of a signal of several shards."""

from tests.building.fixtures import (
    built,
    lineage,
    models,
    origin,
    origin_lineage,
    other,
    root,
    signal,
    store,
    student,
    teacher,
)

__all__ = [
    "built",
    "lineage",
    "models",
    "origin",
    "origin_lineage",
    "other",
    "root",
    "signal",
    "store",
    "student",
    "teacher",
]
