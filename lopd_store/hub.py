"""The Hugging Face Hub through its own client: `org/name[@revision]` → a folder in its cache."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from lopd_store.digest import Digest
from lopd_store.errors import NotFoundError, UsageError

_NAME: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def is_name(name: str) -> bool:
    """Whether the text reads as `org/name` or `org/name@revision`."""
    return _NAME.fullmatch(name) is not None


def download(
    name: str,
    *,
    what: Literal["model", "dataset"],
    patterns: Sequence[str],
    ignore: Sequence[str] = (),
) -> Path:
    """The snapshot folder of a repository, named by its commit; what is cached is not asked for.

    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` count as in huggingface_hub.

    Args:
        name: `org/name` or `org/name@revision`.
        what: the type of repository.
        patterns: files to have; `*` matches across folders too.
        ignore: files not to have.

    Raises:
        UsageError: not a name that the Hub allows.
        NotFoundError: no such repository, revision or cached copy, or no answer.
    """
    from huggingface_hub import snapshot_download

    if not (found := _NAME.fullmatch(name)):
        raise UsageError(f"expected org/name or org/name@revision, found {name!r}")
    with _explained(name, found["repo"], what):
        return Path(
            snapshot_download(
                found["repo"],
                repo_type=what,
                revision=found["revision"],
                allow_patterns=list(patterns),
                ignore_patterns=list(ignore),
            )
        )


def cached_digest(path: Path) -> Digest | None:
    """The SHA-256 by whose name the cache keeps a large file; None for any other file.

    That is the Hub's word when it was downloaded: the bytes are not read.
    """
    target = path.resolve()
    named = target.parent.name == "blobs" and _SHA256.fullmatch(target.name)
    return Digest.from_hex(target.name) if named and path.is_symlink() else None


@contextmanager
def _explained(name: str, repo: str, what: str) -> Iterator[None]:
    """The client's errors as ours, each with what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{name}: expected a name the Hub allows: {error}") from error
    except errors.GatedRepoError as error:
        raise NotFoundError(
            f"{name}: the Hub wants you to accept its terms: open its page, then log in with"
            " `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFoundError(f"{name}: the Hub has {repo} but no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"{name}: expected something here of that name or a {what} on the Hub, found neither;"
            " a private one needs `hf auth login`"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise NotFoundError(
            f"{name}: not in the local cache, and the Hub cannot be reached: unset HF_HUB_OFFLINE,"
            " check the network, or name something that is here"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise NotFoundError(f"{name}: the Hub did not answer: {error}") from error
