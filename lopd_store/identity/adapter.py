"""LoRA adapters: a base model and a few tensors on top of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest, tagged
from lopd_store.documents.model import Adapter
from lopd_store.errors import FormatError, UsageError
from lopd_store.identity import strangers
from lopd_store.identity.cache import FileCache
from lopd_store.identity.checkpoint import WeightFiles
from lopd_store.identity.hashing import Progress
from lopd_store.identity.weights import read_weights

_CONFIG: Final = "adapter_config.json"
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)

# Who saved the adapter, training-only settings, and what Adapter states in fields of its own.
_NEVER: Final = frozenset({
    "base_model_name_or_path", "revision", "auto_mapping", "inference_mode", "task_type",
    "peft_version", "peft_type", "lora_dropout", "init_lora_weights", "loftq_config",
    "eva_config", "corda_config", "megatron_config", "megatron_core", "runtime_config",
    "r", "lora_alpha", "target_modules",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterReading:
    """An adapter and the digests of its files."""

    adapter: Adapter
    files: Mapping[str, Digest]


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds a LoRA adapter rather than a model."""
    return (folder / _CONFIG).is_file() and not (folder / "config.json").is_file()


def base_name(folder: Path) -> str:
    """The Hub name of the base model that the adapter states.

    A path in the file is not followed: it is another machine's word for a place on this one.

    Raises:
        UsageError: it states a path or nothing; the caller must name the base.
    """
    stated = strangers.read_object(folder / _CONFIG).get("base_model_name_or_path")
    if isinstance(stated, str) and _HUB_NAME.fullmatch(stated) and not Path(stated).exists():
        return stated
    raise UsageError(
        f"{folder}: a LoRA adapter whose base is {stated!r}: name the base model explicitly"
    )


def read_adapter(
    folder: Path, *, cache: FileCache | None, rehash: bool, progress: Progress | None
) -> AdapterReading:
    """The adapter's digest, rank, alpha and targets.

    The digest covers its tensors and every setting that changes what they do.

    Raises:
        FormatError: not a LoRA adapter with safetensors weights.
    """
    config = strangers.without_floats(strangers.read_object(folder / _CONFIG))
    if config.get("peft_type", "LORA") != "LORA":
        raise FormatError(f"{folder}: expected a LoRA adapter, found {config['peft_type']!r}")
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise FormatError(f"{folder}: expected adapter_model.safetensors, found none")
    reading = read_weights(
        WeightFiles(paths=(path,)), cache=cache, rehash=rehash, progress=progress
    )
    settings = canonical.encode(_settings(config))
    digest = tagged("lopd.adapter.v1", bytes.fromhex(reading.weights.digest.hex), settings)
    return AdapterReading(
        adapter=Adapter(digest=digest, **_stated(config, where=folder)),
        files={**reading.files, _CONFIG: Digest.of_file(folder / _CONFIG)},
    )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is set, beyond rank, alpha and targets; what is unset says nothing."""
    return {
        key: value
        for key, value in config.items()
        if key not in _NEVER and value not in (None, False, "none", [], {})
    }


def _stated(config: Mapping[str, Any], *, where: Path) -> dict[str, Any]:
    rank, alpha, targets = (config.get(key) for key in ("r", "lora_alpha", "target_modules"))
    names = [targets] if isinstance(targets, str) else targets
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, str):
        raise FormatError(f"{where}: expected r and lora_alpha, found {rank!r} and {alpha!r}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"{where}: expected target_modules, found {targets!r}")
    return {"rank": rank, "alpha": str(alpha), "targets": tuple(sorted(names))}
