"""Model folders and engines that live for the whole session: opening one takes seconds."""

from collections.abc import Iterator

import pytest

from lopd_store.engines import open_sampler, open_scorer
from lopd_store.engines.protocol import Sampler, Scorer
from tests.models import ARCHITECTURES, save_model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model folder per architecture, and `large` with Qwen2's vocabulary of 151,936."""
    root = tmp_path_factory.mktemp("models")
    made = {name: str(save_model(root / name, name)) for name in ARCHITECTURES}
    large = save_model(root / "large", "qwen2", vocab_size=151_936, tie_word_embeddings=True)
    return made | {"large": str(large)}


@pytest.fixture(scope="session")
def model(folders: dict[str, str]) -> str:
    return folders["qwen2"]


@pytest.fixture(scope="session")
def transformers_scorer(model: str) -> Iterator[Scorer]:
    with open_scorer("transformers", model, dtype="float32") as scorer:
        yield scorer


@pytest.fixture(scope="session")
def vllm_scorer(model: str) -> Iterator[Scorer]:
    with open_scorer("vllm", model, dtype="float32") as scorer:
        yield scorer


@pytest.fixture(scope="session")
def sampler(model: str) -> Iterator[Sampler]:
    with open_sampler(model, dtype="float32") as opened:
        yield opened


@pytest.fixture(scope="session")
def parallel_scorer(model: str) -> Iterator[Scorer]:
    with open_scorer("transformers", model, dtype="float32", data_parallel=2) as scorer:
        yield scorer
