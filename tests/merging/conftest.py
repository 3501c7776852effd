"""Tiny models, a store of rollouts and one of a signal."""

from tests.building.fixtures import (
    built,
    models,
    origin,
    other,
    root,
    signal,
    store,
    student,
    teacher,
)

__all__ = [
    "built",
    "models",
    "origin",
    "other",
    "root",
    "signal",
    "store",
    "student",
    "teacher",
]
