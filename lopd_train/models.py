"""Checkpoints of Hugging Face in and out: local safetensors, no code from the model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_train.options import LoraOptions, TrainOptions
from lopd_train.policy import Policy

_STORED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip


def load_policy(folder: Path, options: TrainOptions, device: torch.device) -> Policy:
    """The checkpoint in `folder` with float32 weights, ready to train.

    Raises:
        NotFoundError: no such folder.
        FormatError: transformers cannot load what is there, or a weight is missing.
        UsageError: an architecture whose output layer is not understood or whose rows cannot be
            packed as asked, or LoRA without peft.
    """
    if not folder.is_dir():
        raise NotFoundError(f"expected a checkpoint's folder, found none at {folder}")
    transformers.utils.logging.disable_progress_bar()
    stored_dtype(folder)
    with _explained(folder):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    if missing := sorted(info["missing_keys"]):  # transformers would draw them at random
        raise FormatError(
            f"{folder}: expected every weight of {type(model).__name__}, found no {missing[0]}"
            f" ({len(missing)} missing)"
        )
    model.to(device)
    if options.lora:
        model = _with_adapters(model, options.lora, seed=options.batches.seed)
    if options.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    with _explained(folder):
        policy = Policy(model.train())
        if options.batches.layout == "packed":
            policy.check_packing()
        return policy


def stored_dtype(folder: Path) -> torch.dtype:
    """What the config says that the weights are stored in: float32 where it says nothing.

    Raises FormatError for a type that a model is not trained to; the config digest leaves it out.
    """
    with _explained(folder):
        dtype = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ).dtype
    if dtype is not None and dtype not in _STORED:
        names = ", ".join(str(one).removeprefix("torch.") for one in _STORED)
        raise FormatError(f"{folder}: expected a dtype of {names} in its config, found {dtype}")
    return dtype or torch.float32


_RAISED: Final = (
    SafetensorError, StrictDataclassError, OSError, ValueError, RuntimeError, ImportError,
    LookupError, TypeError, AttributeError, ArithmeticError, AssertionError,
)  # fmt: skip


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """A stranger's config makes transformers raise whatever there is."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _RAISED as error:
        raise FormatError(
            f"{folder}: expected a checkpoint that transformers loads: {error}"
        ) from error


def _with_adapters(model: Any, lora: LoraOptions, *, seed: int) -> Any:
    try:
        import peft
    except ImportError as error:
        raise UsageError("expected the package peft for LoRA: pip install 'lopd[lora]'") from error
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.get_peft_model(model, config)


def save_model(
    start: Path, options: TrainOptions, weights: Mapping[str, Any], folder: Path
) -> None:
    """Write a whole model into `folder`: config and tokenizer of `start`, these weights.

    Adapters are merged, so that vLLM loads the result and its weights have one digest. Weights
    are stored in the dtype that `start` has.

    Args:
        start: the checkpoint that training started from.
        options: as it was trained.
        weights: of the policy, whole, by parameter name.
        folder: an empty one.
    """
    policy = load_policy(start, options, torch.device("cpu"))
    policy.load_state_dict(weights)
    model = policy.model
    if options.lora:
        model = model.merge_and_unload()
    model.to(stored_dtype(start)).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (start / name).is_file():
            (folder / name).write_bytes((start / name).read_bytes())
