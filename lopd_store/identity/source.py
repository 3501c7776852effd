"""From a model's name to its files: a folder, a snapshot in the Hub's cache, or `org/name@rev`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lopd_store.documents.model import HubSource
from lopd_store.errors import NotFoundError, UsageError
from lopd_store.identity.hub_cache import source_of

_HUB_NAME: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII
)
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
    if not model or not folder.is_dir():
        folder = _from_hub(model)
    files = tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))
    return ModelFiles(folder=folder, files=files, hub=source_of(folder))


def _from_hub(model: str) -> Path:
    name = _HUB_NAME.fullmatch(model)
    if Path(model).is_absolute() or model.startswith((".", "~")):
        raise NotFoundError(f"expected a model folder at {model}, found none")
    if not name:
        raise UsageError(f"expected a model folder, org/name or org/name@revision, found {model!r}")
    repo, revision = name["repo"], name["revision"]
    folder = _download(repo, revision, ("*.safetensors", *_SMALL_FILES))
    if not any(folder.glob("*.safetensors")):
        folder = _download(repo, revision, ("*.bin", *_SMALL_FILES))
    return folder


def _download(repo: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    named = f"{repo}@{revision}" if revision else repo
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(_ELSEWHERE),
            )
        )
    except hub.HFValidationError as error:
        raise UsageError(f"{named}: expected a name the Hub allows: {error}") from error
    except hub.GatedRepoError as error:
        raise NotFoundError(
            f"{named}: the Hub wants you to accept its terms: open its page, then log in with"
            " `hf auth login`"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise NotFoundError(f"{named}: the Hub has {repo} but no such revision") from error
    except hub.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"{named}: expected a folder or a model on the Hub, found neither; a private one needs"
            " `hf auth login`"
        ) from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        raise NotFoundError(
            f"{named}: not in the local cache, and the Hub cannot be reached: unset HF_HUB_OFFLINE,"
            " check the network, or give a folder"
        ) from error
    except (hub.HfHubHTTPError, OSError) as error:
        raise NotFoundError(f"{named}: the Hub did not answer: {error}") from error
