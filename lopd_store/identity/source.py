"""From a model's name to its files: a folder, a snapshot in the Hub's cache, or `org/name@rev`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lopd_store import hub
from lopd_store.documents.model import HubSource
from lopd_store.errors import NotFoundError, UsageError
from lopd_store.identity.hub_cache import source_of

_SMALL_FILES: Final = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer.model.*")
_ELSEWHERE: Final = ("*/*", "consolidated*", "*.onnx*", "training_args.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on this machine.

    Attributes:
        folder: holds the files, or links to them.
        files: plain names of the files in it, sorted.
        hub: the repository and commit, where the folder is of the Hub's cache.
    """

    folder: Path
    files: tuple[str, ...]
    hub: HubSource | None


def locate(model: str) -> ModelFiles:
    """Find a model, downloading it where the name is the Hub's and the cache has not got it.

    Args:
        model: an existing folder, or `org/name` or `org/name@revision`. `HF_HUB_OFFLINE=1` and
            `HF_HOME` count as in huggingface_hub.

    Raises:
        UsageError: neither a folder nor a name the Hub allows.
        NotFoundError: no such repository, revision or cached copy.
    """
    folder = Path(model)
    if not model or not is_folder(folder):
        folder = _from_hub(model)
    files = tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))
    return ModelFiles(folder=folder, files=files, hub=source_of(folder))


def locate_without_weights(model: str) -> Path:
    """The folder of a model's small files, its tokenizer among them; weights are not downloaded.

    Raises as `locate` does.
    """
    folder = Path(model)
    if model and is_folder(folder):
        return folder
    _refuse_paths(model)
    return _download(model)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of that name, which need not be one that a file can have."""
    try:
        return path.is_dir()
    except OSError:  # too long for a file's name
        return False


def _from_hub(model: str) -> Path:
    _refuse_paths(model)
    folder = _download(model, "*.safetensors")
    if not any(folder.glob("*.safetensors")):
        folder = _download(model, "*.bin")
    return folder


def _refuse_paths(model: str) -> None:
    """What is meant as a folder and is none, or what the Hub has no name for."""
    if Path(model).is_absolute() or model.startswith((".", "~")):
        raise NotFoundError(f"expected a model folder at {model}, found none")
    if not hub.is_name(model):
        raise UsageError(f"expected a model folder, org/name or org/name@revision, found {model!r}")


def _download(model: str, *patterns: str) -> Path:
    """The snapshot's folder. Raises NotFoundError also where no file is of a model."""
    folder = hub.download(
        model, what="model", patterns=(*patterns, *_SMALL_FILES), ignore=_ELSEWHERE
    )
    if not folder.is_dir():  # the client makes none for no file
        raise NotFoundError(f"{model}: expected the files of a model on the Hub, found none")
    return folder
