"""Files of the Hub in the cache of its own client."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest
from lopd_store.hub.explaining import What, reading
from lopd_store.hub.names import split_name
from lopd_store.hub.patience import patiently

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def download(name: str, *, what: What, patterns: Sequence[str], ignore: Sequence[str] = ()) -> Path:
    """The snapshot folder of a repository, named by its commit; what is cached is not asked for.

    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` count as in huggingface_hub.

    Args:
        name: `org/name` or `org/name@revision`.
        what: the type of repository.
        patterns: files to have; `*` matches across folders too.
        ignore: files not to have.

    Raises:
        UsageError: not a name that the Hub allows.
        NotFoundError: no such repository, revision or cached copy.
        HubError: no answer.
    """
    from huggingface_hub import snapshot_download

    repo, revision = split_name(name)
    with reading(name, repo, what):
        return Path(
            patiently(
                lambda: snapshot_download(
                    repo,
                    repo_type=what,
                    revision=revision,
                    allow_patterns=list(patterns),
                    ignore_patterns=list(ignore),
                )
            )
        )


def download_file(repo: str, path: str, *, commit: str, what: What) -> Path:
    """One file of a repository at a commit; what is cached is not asked for.

    Raises as `download` does.
    """
    from huggingface_hub import hf_hub_download

    with reading(f"{repo}@{commit} {path}", repo, what):
        return Path(patiently(lambda: hf_hub_download(repo, path, repo_type=what, revision=commit)))


def is_offline() -> bool:
    """Whether nothing is to be asked of the Hub (`HF_HUB_OFFLINE`): the cache is all there is."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached_digest(path: Path) -> Digest | None:
    """The SHA-256 by whose name the cache keeps a large file; None for any other file.

    That is the Hub's word when it was downloaded: the bytes are not read.
    """
    target = path.resolve()
    named = target.parent.name == "blobs" and _SHA256.fullmatch(target.name)
    return Digest.from_hex(target.name) if named and path.is_symlink() else None
