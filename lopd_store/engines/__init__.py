"""Engines: token ids in, log-probs out.

Opening one imports its packages, and nothing else here does: `open_scorer` and `open_sampler`
are the way in, `protocol` states what they give back.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

from lopd_store.engines.protocol import Sampler, Scorer
from lopd_store.errors import EngineError, UsageError

SCORING_ENGINES: Final = ("vllm", "transformers")
_EXTRAS: Final = {"vllm": "vllm", "transformers": "train", "torch": "train"}
_TRANSFORMERS_ARGUMENTS: Final = frozenset({"batch_tokens", "device"})


def open_scorer(
    engine: str,
    model: str,
    *,
    dtype: str = "auto",
    quantization: str | None = None,
    tensor_parallel_size: int = 1,
    engine_args: Mapping[str, Any] | None = None,
    data_parallel: int = 1,
) -> Scorer:
    """Open a model for scoring.

    Args:
        engine: `vllm` or `transformers`.
        model: a local folder.
        dtype: `auto` (the model's own), `float32`, `bfloat16` or `float16`.
        quantization: a vLLM method applied at load; None for what the model's files say.
        tensor_parallel_size: GPUs of one engine.
        engine_args: further arguments of `vllm.LLM`; `batch_tokens` or `device` of transformers.
        data_parallel: engines side by side, each in its own process when more than one.

    Raises:
        UsageError: an unknown engine, or arguments it does not have.
        NotFoundError: no such model folder.
        EngineError: a package is missing, or the model does not open.
    """
    if engine not in SCORING_ENGINES:
        raise UsageError(f"engine: expected one of {', '.join(SCORING_ENGINES)}, found {engine!r}")
    _need(engine)
    arguments: dict[str, Any] = {
        "dtype": dtype,
        "quantization": quantization,
        "tensor_parallel_size": tensor_parallel_size,
        "engine_args": dict(engine_args or {}),
    }
    if data_parallel != 1:
        from lopd_store.engines.parallel import ParallelScorer

        return ParallelScorer({"engine": engine, "model": model} | arguments, workers=data_parallel)
    if engine == "transformers":
        return _open_transformers(model, **arguments)
    from lopd_store.engines.vllm import VllmScorer
    from lopd_store.engines.vllm_engine import VllmOptions

    return VllmScorer(VllmOptions(model=model, **arguments))


def open_sampler(
    model: str,
    *,
    dtype: str = "auto",
    quantization: str | None = None,
    tensor_parallel_size: int = 1,
    engine_args: Mapping[str, Any] | None = None,
) -> Sampler:
    """Open a model for sampling with vLLM; arguments and errors are those of `open_scorer`."""
    _need("vllm")
    from lopd_store.engines.vllm import VllmSampler
    from lopd_store.engines.vllm_engine import VllmOptions

    return VllmSampler(
        VllmOptions(
            model=model,
            dtype=dtype,
            quantization=quantization,
            tensor_parallel_size=tensor_parallel_size,
            engine_args=dict(engine_args or {}),
        )
    )


def _open_transformers(
    model: str,
    *,
    dtype: str,
    quantization: str | None,
    tensor_parallel_size: int,
    engine_args: Mapping[str, Any],
) -> Scorer:
    if quantization is not None or tensor_parallel_size != 1:
        raise UsageError("quantization and tensor parallelism need the vllm engine")
    if unknown := sorted(engine_args.keys() - _TRANSFORMERS_ARGUMENTS):
        raise UsageError(f"engine arguments the transformers engine does not have: {unknown}")
    from lopd_store.engines.transformers import TransformersScorer

    return TransformersScorer(model, dtype=dtype, **engine_args)


def _need(engine: str) -> None:
    for package in (engine, "torch"):
        if find_spec(package) is None:
            raise EngineError(
                f"the {engine} engine needs the package {package}, which is not installed: "
                f"pip install 'lopd[{_EXTRAS[engine]}]'"
            )
