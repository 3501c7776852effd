"""Tiny models with their tokenizer, a store of rollouts, and one of a signal."""

from tests.building.fixtures import built, models, origin, root, signal, store, student, teacher

__all__ = ["built", "models", "origin", "root", "signal", "store", "student", "teacher"]
