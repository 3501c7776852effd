"""Tiny models and a store of rollouts."""

from tests.building.fixtures import models, origin, root, store, student, teacher

__all__ = ["models", "origin", "root", "store", "student", "teacher"]
