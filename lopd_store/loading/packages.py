"""Packages that answer in a frame of theirs, imported when they are asked for."""

from importlib import import_module
from typing import Any

from lopd_store.errors import UsageError


def package(name: str) -> Any:
    """A package that the store does without. Raises UsageError where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(f"expected the package {name}, found none: pip install {name}") from error
