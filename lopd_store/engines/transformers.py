"""Scoring with Hugging Face transformers: the reference engine, on a CPU or one GPU.

The output layer is applied to response positions only, in blocks of rows and of vocabulary with
a running logsumexp, so a float32 array of [tokens, vocabulary] never exists.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors import SafetensorError

from lopd_store.engines.answers import RawAnswer, checked
from lopd_store.engines.protocol import (
    LOGPROBS_MODE,
    Floats,
    Scorer,
    Sequences,
    refuse_unscorable,
    row,
)
from lopd_store.errors import EngineError, NotFoundError, UsageError

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BATCH_TOKENS: Final = {"cpu": 2048, "cuda": 16384}
BLOCKS: Final = {"cpu": (512, 4096), "cuda": (1024, 16384)}
"""Rows and vocabulary of one block of logits: 8 MiB stays in a CPU's cache, 64 MiB feeds a GPU."""

NO_POSITIONS: Final = 32768  # a bound for models that state none
_FAILURES: Final = (
    SafetensorError,
    OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError, AttributeError,
)  # fmt: skip
PROBE_TOLERANCE: Final = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.1}
"""Nats; rounding of the blocked path. A forgotten logit transform is off by far more."""


@dataclass(frozen=True, slots=True)
class _Head:
    """The output layer: logits = cap(hidden @ weight.T + bias).

    Attributes:
        weight: [vocabulary, hidden], the model's dtype.
        bias: [vocabulary] or None.
        scale: logits are multiplied by it.
        cap: logits become cap * tanh(logits / cap); None where the model has none.
        block: rows and vocabulary entries of the logits made at once.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    scale: float
    cap: float | None
    block: tuple[int, int]

    def logits(self, hidden: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Float32 logits [rows, last - first] of one block of the vocabulary."""
        bias = None if self.bias is None else self.bias[first:last]
        logits = torch.nn.functional.linear(hidden, self.weight[first:last], bias)
        if self.scale != 1:
            logits = logits * self.scale
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits.float()

    def logprobs(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Natural log-probs of `targets` [rows] given `hidden` [rows, hidden], float32."""
        if not len(targets):
            return torch.zeros(0)
        blocks = zip(hidden.split(self.block[0]), targets.split(self.block[0]), strict=True)
        return torch.cat([self._block_of_rows(*block) for block in blocks])

    def _block_of_rows(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.full(targets.shape, -torch.inf, device=hidden.device)
        chosen = torch.zeros_like(total)
        for first in range(0, self.weight.shape[0], self.block[1]):
            last = min(first + self.block[1], self.weight.shape[0])
            logits = self.logits(hidden, first, last)
            here = (targets >= first) & (targets < last)
            column = (targets - first).clamp(0, last - first - 1).unsqueeze(1)
            chosen = torch.where(here, logits.gather(1, column).squeeze(1), chosen)
            total = torch.logaddexp(total, torch.logsumexp(logits, dim=1))
        return chosen - total


class TransformersScorer(Scorer):
    """A `Scorer` over `AutoModelForCausalLM`, local safetensors only, no code from the model.

    Sequences are sorted by length, padded on the right and run under a token budget. No mask is
    needed: a causal model's real tokens never see what stands to their right.

    Raises:
        NotFoundError: `model` is not a folder.
        UsageError: a dtype, quantization or engine argument this engine does not have.
        EngineError: the model does not load, or its logits are not what this engine computes.
    """

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        if not Path(model).is_dir():
            raise NotFoundError(f"expected a model folder, found none at {model}")
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self._device not in BATCH_TOKENS:
            raise UsageError(f"device: expected cpu or cuda, found {device!r}")
        self._batch_tokens = BATCH_TOKENS[self._device] if batch_tokens is None else batch_tokens
        if self._batch_tokens < 1:
            raise UsageError(f"batch_tokens: expected at least 1, found {batch_tokens}")
        self._model: Any = _load(model, dtype, self._device)
        self._config: Any = self._model.config.get_text_config()
        self._dtype = str(self._model.dtype).removeprefix("torch.")
        self._head: Any = _head(self._model, self._config, BLOCKS[self._device])
        self._scoring = self._facts()
        self._check_against_full_logits()

    @property
    def scoring(self) -> Mapping[str, Any]:
        """Facts for the identity document."""
        return self._scoring

    @property
    def vocab_size(self) -> int:
        """Rows of the model's vocabulary."""
        return int(self._config.vocab_size)

    @property
    def max_tokens(self) -> int:
        """The model's positions."""
        return int(getattr(self._config, "max_position_embeddings", NO_POSITIONS))

    def score(self, sequences: Sequences) -> list[Floats]:
        """Validated log-probs of every response, in order. Raises EngineError."""
        if self._model is None:
            raise EngineError("expected an open transformers engine, found a closed one")
        refuse_unscorable(sequences, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        answers: list[Floats] = [np.empty(0, np.float32)] * len(sequences)
        for batch in _batches(sequences.lengths, self._batch_tokens):
            for index, values in zip(batch, self._run(sequences, batch), strict=True):
                answers[index] = checked(
                    RawAnswer(logprobs=values),
                    row(sequences.response, index),
                    sequence=index,
                    engine="transformers",
                )
        return answers

    def close(self) -> None:
        """Free the model."""
        self._model = self._head = None
        if self._device == "cuda":
            torch.cuda.empty_cache()

    def _facts(self) -> dict[str, Any]:
        settings = {
            "attention": str(self._config._attn_implementation),  # noqa: SLF001 - no public name
            "batch_tokens": str(self._batch_tokens),
            "block_rows": str(BLOCKS[self._device][0]),
            "block_vocabulary": str(BLOCKS[self._device][1]),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        }
        if self._device == "cuda":
            settings["gpu"] = torch.cuda.get_device_name()
        return {
            "engine": "transformers",
            "versions": {
                "torch": str(torch.__version__),
                "transformers": str(transformers.__version__),
            },
            "dtype": self._dtype,
            "quantization": _quantization(self._model.config),
            "device": self._device,
            "logprobs_mode": LOGPROBS_MODE,
            "tensor_parallel_size": 1,
            "settings": settings,
        }

    def _run(self, sequences: Sequences, batch: list[int]) -> list[Floats]:
        rows = [torch.from_numpy(sequences.ids(index)).long() for index in batch]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)
        firsts = sequences.prompt_lengths[batch].tolist()
        spans = list(zip(firsts, sequences.lengths[batch].tolist(), strict=True))
        with torch.inference_mode(), _as_engine_error(f"on a batch of shape {[*padded.shape]}"):
            flat = self._logprobs(padded, spans).cpu().numpy()
        return np.split(flat, np.cumsum([last - first for first, last in spans])[:-1])

    def _logprobs(self, padded: torch.Tensor, spans: list[tuple[int, int]]) -> torch.Tensor:
        """Log-probs of the tokens in each row's span, one row after the other."""
        hidden = self._model.base_model(input_ids=padded, use_cache=False).last_hidden_state
        before = [hidden[n, first - 1 : last - 1] for n, (first, last) in enumerate(spans)]
        targets = [padded[n, first:last] for n, (first, last) in enumerate(spans)]
        return self._head.logprobs(torch.cat(before), torch.cat(targets))

    def _check_against_full_logits(self) -> None:
        """A probe, alone and padded in a batch, must agree with the model's own logits."""
        length = min(17, self.max_tokens)
        ids = (torch.arange(length, device=self._device) * 7919 + 11) % self.vocab_size
        short = length // 2 + 1
        batch = torch.stack([ids, torch.cat([ids[:short], ids.new_zeros(length - short)])])
        with torch.inference_mode(), _as_engine_error("on its probe"):
            own = self._logprobs(batch, [(1, length), (1, short)])
            logits = self._model(input_ids=ids[None], use_cache=False).logits[0, :-1]
            full = logits.float().log_softmax(-1).gather(1, ids[1:, None]).squeeze(1)
            off = float((own - torch.cat([full, full[: short - 1]])).abs().max())
        if not off <= PROBE_TOLERANCE[self._dtype]:
            raise EngineError(
                f"{type(self._model).__name__}: expected this engine to agree with the model's "
                f"own logits within {PROBE_TOLERANCE[self._dtype]} nats, found {off:.3g}: "
                "use the vllm engine for this architecture"
            )


def _load(model: str, dtype: str, device: str) -> Any:
    if dtype != "auto" and dtype not in DTYPES:
        raise UsageError(f"dtype: expected auto or one of {', '.join(DTYPES)}, found {dtype!r}")
    with _no_progress_bars(), _as_engine_error("to load this model"):
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            model,
            dtype=DTYPES.get(dtype, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        loaded = loaded.to(device).eval()
    if loaded.dtype not in DTYPES.values():
        raise EngineError(f"expected a dtype among {', '.join(DTYPES)}, found {loaded.dtype}")
    return loaded


@contextmanager
def _as_engine_error(doing: str) -> Iterator[None]:
    """What transformers and torch raise, as an EngineError that keeps the cause."""
    try:
        yield
    except _FAILURES as error:
        raise EngineError(f"transformers failed {doing}: {error}") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _head(model: Any, config: Any, block: tuple[int, int]) -> _Head:
    layer = model.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear) or model.base_model is model:
        raise EngineError(
            f"{type(model).__name__}: expected a base model and a linear output layer, found "
            f"{type(layer).__name__}: use the vllm engine for this architecture"
        )
    scale = (getattr(config, "logit_scale", None) or 1) / (
        getattr(config, "logits_scaling", None) or 1
    )
    cap = getattr(config, "final_logit_softcapping", None)
    cap = None if cap is None else float(cap)
    return _Head(layer.weight, layer.bias, float(scale), cap, block)


def _quantization(config: Any) -> str:
    stated = getattr(config, "quantization_config", None)
    if stated is None:
        return "none"
    method = stated.get("quant_method") if isinstance(stated, dict) else stated.quant_method
    return str(getattr(method, "value", method))


def _batches(lengths: npt.NDArray[np.int64], budget: int) -> Iterator[list[int]]:
    """Rows of similar length, longest first, at most `budget` padded tokens a batch."""
    batch: list[int] = []
    for index in np.argsort(-lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
