"""What both long jobs are asked for: where the result goes and how the engine runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lopd_store.building.job import ALL, Share
from lopd_store.engines import open_sampler, open_scorer
from lopd_store.engines.protocol import Sampler, Scorer
from lopd_store.errors import UsageError
from lopd_store.shards.writer import SHARD_TOKENS

CHUNK_TOKENS: Final = {"cpu": 100_000, "gpu": 2_000_000}  # about a minute's work, docs/adr/0004
ON_ERROR: Final = ("skip", "fail")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a model is run.

    Attributes:
        engine: `vllm` or `transformers`.
        dtype: `auto` takes the checkpoint's own.
        quantization: handed to vLLM; None takes the checkpoint's own.
        tensor_parallel_size: GPUs that share one copy of the model.
        data_parallel: engines on this machine, each with its own copy.
        engine_args: anything else the engine takes, by its own names.
    """

    engine: str = "vllm"
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    data_parallel: int = 1
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def scorer(self, folder: Path) -> Scorer:
        """Open the model in `folder` for scoring; raises as `engines.open_scorer` does."""
        return open_scorer(
            self.engine, str(folder), data_parallel=self.data_parallel, **self._how()
        )

    def sampler(self, folder: Path) -> Sampler:
        """Open the model in `folder` for sampling; raises as `engines.open_sampler` does."""
        return open_sampler(str(folder), **self._how())

    def _how(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "quantization": self.quantization,
            "tensor_parallel_size": self.tensor_parallel_size,
            "engine_args": self.engine_args,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How a job is cut and what it does with rows it cannot use.

    Attributes:
        chunk_tokens: tokens kept together; None takes about a minute's work of the device.
        shard_tokens: tokens in a shard of the artifact.
        on_error: `skip` lists bad rows in the artifact, `fail` stops at the first chunk with one.
        share: which of several workers this is.
    """

    chunk_tokens: int | None = None
    shard_tokens: int = SHARD_TOKENS
    on_error: str = "skip"
    share: Share = ALL

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise UsageError(f"expected on_error skip or fail, found {self.on_error!r}")
        for name, value in (("chunk", self.chunk_tokens), ("shard", self.shard_tokens)):
            if value is not None and value < 1:
                raise UsageError(f"expected at least 1 token a {name}, found {value}")

    def chunk_tokens_on(self, device: str) -> int:
        """The chunk size for an engine's device; part of the identity, as it changes numbers."""
        return self.chunk_tokens or CHUNK_TOKENS["cpu" if device == "cpu" else "gpu"]
