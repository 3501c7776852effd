from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def torch_settings_stay_here() -> Iterator[None]:
    """Making a model fixes torch's threads and kernels for its process: put them back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
