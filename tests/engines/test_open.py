import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lopd_store.engines import open_sampler, open_scorer
from lopd_store.errors import EngineError, NotFoundError, UsageError


def test_an_unknown_engine_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match="expected one of vllm, transformers, found 'sglang'"):
        open_scorer("sglang", model)


@pytest.mark.parametrize(
    ("engine", "missing", "extra"),
    [
        pytest.param("vllm", "vllm", "vllm", id="vllm"),
        pytest.param("transformers", "transformers", "train", id="transformers"),
        pytest.param("transformers", "torch", "train", id="torch"),
    ],
)
def test_a_missing_package_names_its_extra(
    engine: str, missing: str, extra: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == missing else found(name, package)

    monkeypatch.setattr("lopd_store.engines.find_spec", without)
    with pytest.raises(EngineError, match=rf"package {missing}, .* 'lopd\[{extra}\]'"):
        open_scorer(engine, model)


def test_arguments_an_engine_does_not_have_are_refused(model: str) -> None:
    with pytest.raises(UsageError, match="max_num_seqs"):
        open_scorer("transformers", model, engine_args={"max_num_seqs": 4})
    with pytest.raises(UsageError, match="vllm engine"):
        open_scorer("transformers", model, quantization="fp8")
    with pytest.raises(UsageError, match="vllm engine"):
        open_scorer("transformers", model, tensor_parallel_size=2)


@pytest.mark.parametrize(
    "name", ["enable_prefix_caching", "logprobs_mode", "trust_remote_code", "dtype", "seed"]
)
def test_vllm_arguments_that_break_answers_are_refused(name: str, model: str) -> None:
    for opened in (
        lambda **k: open_scorer("vllm", model, **k),
        lambda **k: open_sampler(model, **k),
    ):
        with pytest.raises(UsageError, match=rf"{name} is not accepted: \w+"):
            opened(engine_args={name: True})


def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    for engine in ("vllm", "transformers"):
        with pytest.raises(NotFoundError):
            open_scorer(engine, str(tmp_path / "missing"))


def test_importing_the_engines_imports_no_engine() -> None:
    code = (
        "import sys, lopd_store.engines, lopd_store.engines.parallel, lopd_store.engines.answers\n"
        "print([n for n in ('torch', 'vllm', 'transformers', 'ray') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
