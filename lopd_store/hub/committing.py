"""Files to the Hub: sent first, where nobody sees them, and made visible by one commit."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.errors import DigestMismatchError, HubError
from lopd_store.hub.client import api, no_bars_in_logs
from lopd_store.hub.explaining import writing
from lopd_store.hub.patience import patiently

_TOGETHER: Final = 8  # files a request for upload links names: what is sent is told as it goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A file to be in the next commit.

    Attributes:
        path: in the repository.
        source: its bytes, or the file that has them.
        digest: what the bytes must hash to; they are hashed before they are sent.
        size: bytes.
    """

    path: str
    source: Path | bytes
    digest: Digest
    size: int

    @classmethod
    def of(cls, path: str, data: bytes) -> "Addition":
        """A small file."""
        return cls(path=path, source=data, digest=Digest.of(data), size=len(data))


def exists(repo: str) -> bool:
    """Whether a dataset's repository is there, and for us to see. Raises HubError: no answer."""
    with writing(repo):
        return bool(patiently(lambda: api().repo_exists(repo, repo_type="dataset")))


def require_writer(repo: str) -> None:
    """Look at the token before any work is done for nothing.

    Raises HubError: no token, one that only reads or is of somebody without this namespace, or no
    answer. A token with finer permissions may still turn out to lack some.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import LocalTokenNotFoundError
    from huggingface_hub.utils import validate_repo_id

    with writing(repo):
        validate_repo_id(repo)
        if get_token() is None:
            raise LocalTokenNotFoundError
        who = patiently(lambda: api().whoami())
    match who:
        case {"auth": {"accessToken": {"role": "read"}}}:
            found = "one that only reads"
        case {"name": str(name), "orgs": list(orgs)}:
            mine = [name, *(org["name"] for org in orgs if isinstance(org, dict) and "name" in org)]
            if repo.partition("/")[0] in mine:
                return
            found = f"one of {', '.join(map(str, mine))}"
        case _:
            return
    raise HubError(
        f"{repo}: expected a token that may write to {repo.partition('/')[0]}, found {found}: take"
        " another, or name another organisation"
    )


def create_repository(repo: str, *, private: bool | None) -> None:
    """Make a dataset's repository unless it is there; one that is there stays as it is.

    Raises HubError: no token, no permission, or no answer.
    """
    with writing(repo):
        api().create_repo(repo, repo_type="dataset", private=private, exist_ok=True)


def send(
    repo: str, additions: Sequence[Addition], *, sent: Callable[[Addition], None]
) -> list[Any]:
    """Send large files ahead of their commit; what the Hub has already is not sent.

    Returns what `commit` takes.

    Raises:
        IntegrityError: a file is not what its digest says: nothing of it was sent.
        HubError: no token, no permission, no room, or no answer.
    """
    operations = []
    for first in range(0, len(additions), _TOGETHER):
        chosen = additions[first : first + _TOGETHER]
        batch = [_operation(addition) for addition in chosen]
        with writing(repo), no_bars_in_logs():
            _preupload(repo, batch)
        operations += batch
        for addition in chosen:
            sent(addition)
    return operations


def _preupload(repo: str, batch: Sequence[Any]) -> None:
    """In a thread of its own: the client's wait for files under way does not end at Ctrl-C."""
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(
            api().preupload_lfs_files, repo, batch, repo_type="dataset", free_memory=False
        ).result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def commit(
    repo: str, operations: Sequence[Any], *, removed: Sequence[str], parent: str, message: str
) -> str:
    """One commit on the main branch, on top of `parent`; returns its name.

    Raises:
        RefMovedError: the branch is not at `parent` any more; nothing has changed.
        HubError: as `send`.
    """
    from huggingface_hub import CommitOperationDelete

    gone = [CommitOperationDelete(path_in_repo=path) for path in removed]
    with writing(repo):
        made = api().create_commit(
            repo,
            [*operations, *gone],
            commit_message=message,
            repo_type="dataset",
            parent_commit=parent,
        )
    return str(made.oid)


def create_tag(repo: str, name: str, *, commit: str, message: str) -> None:
    """Give a commit a name. Raises RefMovedError where the name is taken, and HubError."""
    with writing(repo):
        api().create_tag(repo, tag=name, revision=commit, tag_message=message, repo_type="dataset")


def page(repo: str, revision: str) -> str:
    """The address of a dataset's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{repo}/tree/{revision}"


def _operation(addition: Addition) -> Any:
    from huggingface_hub import CommitOperationAdd

    source = addition.source if isinstance(addition.source, bytes) else str(addition.source)
    operation = CommitOperationAdd(path_in_repo=addition.path, path_or_fileobj=source)
    found = operation.upload_info.sha256.hex()
    if found != addition.digest.hex:
        raise DigestMismatchError(
            where=str(addition.path), expected=str(addition.digest), found=f"sha256:{found}"
        )
    return operation
