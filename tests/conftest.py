"""The longest files come first: where tests run in several processes, none is left for the end."""

from typing import Final

import pytest

LONGEST: Final = ("test_readme.py", "test_training.py", "test_vllm.py", "test_push_interrupted.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them first; all others stay in their order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
