import time
from pathlib import Path

import pytest

from tests.models import save_model


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with its tokenizer, older than a clock tick: read it, never change it."""
    folder = save_model(tmp_path_factory.mktemp("qwen") / "model")
    time.sleep(0.05)
    return folder
