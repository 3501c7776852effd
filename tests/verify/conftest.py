"""Tiny models, a store of rollouts, one of a signal, and a whole chain with SFT data."""

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
