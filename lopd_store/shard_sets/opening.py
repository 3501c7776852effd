"""From the name that a person gives to the shards it means."""

from collections.abc import Callable
from pathlib import Path

from lopd_store import hub
from lopd_store.artifacts import Artifact, load
from lopd_store.errors import NotFoundError, UsageError
from lopd_store.shard_sets.files import from_files, shards_in
from lopd_store.shard_sets.published import from_hub
from lopd_store.shard_sets.shard_set import ShardSet
from lopd_store.shard_sets.stored import from_store
from lopd_store.store import Store


def open_shard_set(name: str, *, root: Path | None) -> ShardSet:
    """Open what a person names: a file, a folder, else a ref or id, else a name on the Hub.

    Artifacts of kind sft and rollouts open too: `kind` says which it is.

    Args:
        name: a Parquet file; a folder with Parquet files in it or in its `data`; a ref or an id in
            the store; `org/name[/config[/split]][@revision][@sha256:…]` on the Hub, whose
            environment variables count (HF_HUB_OFFLINE, …).
        root: the store's folder; None when there is none to look in.

    Raises:
        NotFoundError: nothing has that name, or an artifact's shard is missing.
        UsageError: a whole store.
        IntegrityError: a document of the artifact is not what its name says.
        FormatError: a file that is not a shard, no shard at all, or shards of several kinds.
    """
    path = Path(name)
    store = Store.find(root) if root else None
    if _is(path, Path.is_file):
        return from_files(name, [path], store)
    if name and _is(path, Path.is_dir):
        if (path / "oci-layout").exists():
            raise UsageError(f"{name} is a whole store: name one artifact of it (--store {name})")
        if files := shards_in(path):
            return from_files(name, files, store)
    if path.suffix == ".parquet":
        raise NotFoundError(f"expected a shard at {name}, found no such file")
    if artifact := _in_store(name, root):
        return from_store(name, artifact)
    if hub.is_artifact_name(name):
        try:
            return from_hub(name, store)
        except NotFoundError as error:
            here = f"no ref or artifact {name!r} in {root or 'a store'}"
            raise NotFoundError(f"{here}, and on the Hub: {error}") from error
    raise NotFoundError(
        "expected a shard, a folder of *.parquet shards, an artifact of a store or org/dataset on"
        f" the Hub, found nothing named {name!r}"
    )


def _is(path: Path, kind: Callable[[Path], bool]) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # too long for a file's name, or a NUL in it
        return False


def _in_store(name: str, root: Path | None) -> Artifact | None:
    """The artifact of that name; None where no store has it and the Hub may."""
    if root is None:
        return None
    try:
        store = Store.open(root)
        store.refs.resolve(name)
    except NotFoundError:
        if hub.is_artifact_name(name):
            return None
        raise
    return load(store, name)
