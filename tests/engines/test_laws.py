"""Every engine against the laws of a scorer."""

from collections.abc import Callable

import pytest

from lopd_store.engines.protocol import Scorer
from tests.engines.laws import LAWS

ENGINES = [
    pytest.param("transformers_scorer", id="transformers"),
    pytest.param("parallel_scorer", id="parallel"),
    pytest.param("vllm_scorer", id="vllm", marks=pytest.mark.engine),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.replace("_", "-"))
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_keeps_the_law(
    engine: str, law: Callable[[Scorer, str], None], model: str, request: pytest.FixtureRequest
) -> None:
    law(request.getfixturevalue(engine), model)
