from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from examples.arithmetic.pretrain import new_tokenizer

    return new_tokenizer()


@pytest.fixture(scope="session")
def student_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained student, saved as `pretrain` saves it."""
    from examples.arithmetic.pretrain import SHAPES, new_model

    folder = tmp_path_factory.mktemp("student")
    new_model(SHAPES["student"], tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def torch_settings_stay_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training fixes torch's threads and kernels for its process: put them back."""
    import torch

    from examples.arithmetic import training

    monkeypatch.setattr(training, "THREADS", 1)  # two would spin when the machine is busy
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
