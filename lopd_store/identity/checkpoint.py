"""Which files of a model folder hold its weights.

The choice is that of the loaders: an index names the shards, else `model.safetensors`, else the
same in `.bin`. A name read from an index never leaves the folder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.errors import FormatError, NotFoundError
from lopd_store.identity import strangers

MAX_INDEX_BYTES: Final = 100_000_000
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,250}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFiles:
    """The files of one checkpoint.

    Attributes:
        paths: in name order, all in one folder, all `.safetensors` or all `.bin`.
        index: tensor name to file name, from `*.index.json`; None for a lone file.
        index_path: the index itself, where there is one.
    """

    paths: tuple[Path, ...]
    index: Mapping[str, str] | None = None
    index_path: Path | None = None


def find_weights(folder: Path) -> WeightFiles:
    """The weight files that a loader would read from `folder`.

    Raises:
        NotFoundError: no weights.
        FormatError: an index that breaks a rule, or two checkpoints in one folder.
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        lone = folder / f"{stem}{suffix}"
        index_path = folder / f"{stem}{suffix}.index.json"
        if index_path.is_file():
            found = _sharded(folder, index_path, suffix=suffix)
            if lone.is_file() and lone not in found.paths:
                raise FormatError(
                    f"{folder}: expected one checkpoint, found both {lone.name} and"
                    f" {index_path.name}: loaders disagree on which counts; remove one"
                )
            return found
        if lone.is_file():
            return WeightFiles(paths=(lone,))
    raise NotFoundError(
        f"{folder}: expected model.safetensors, model.safetensors.index.json or their"
        " pytorch_model.bin forms, found none (GGUF and other formats are not read)"
    )


def _sharded(folder: Path, index_path: Path, *, suffix: str) -> WeightFiles:
    document = strangers.read_object(index_path, limit=MAX_INDEX_BYTES)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{index_path}: expected a non-empty object weight_map")
    names = {_plain(name, suffix=suffix, where=index_path) for name in weight_map.values()}
    paths = tuple(folder / name for name in sorted(names))
    if missing := [path.name for path in paths if not path.is_file()]:
        raise NotFoundError(f"{index_path}: names {missing[0]}, which is not there")
    return WeightFiles(paths=paths, index=weight_map, index_path=index_path)


def _plain(name: Any, *, suffix: str, where: Path) -> str:
    if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name) or not name.endswith(suffix):
        raise FormatError(f"{where}: expected plain file names ending in {suffix}, found {name!r}")
    return name


def check_names(files: WeightFiles, tensors: Mapping[Path, list[str]]) -> None:
    """Every tensor is where the index says, and in one file only.

    Raises:
        FormatError: a tensor in two files, missing, elsewhere, or unknown to the index.
    """
    home: dict[str, str] = {}
    for path, names in tensors.items():
        for name in names:
            if name in home:
                raise FormatError(f"tensor {name!r}: in both {home[name]} and {path.name}")
            home[name] = path.name
    if files.index is None or home == files.index:
        return
    for name in sorted(home.keys() | files.index.keys()):
        if home.get(name) != files.index.get(name):
            raise FormatError(
                f"{files.index_path}: tensor {name!r}: expected in {files.index.get(name)},"
                f" found in {home.get(name)}"
            )
