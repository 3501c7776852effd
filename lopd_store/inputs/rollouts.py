"""Rollouts: an artifact of a store, or a file with prompt_ids and response_ids (or text)."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lopd_store.artifacts import Artifact, load
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, FormatError, UsageError
from lopd_store.inputs.conform import conformed
from lopd_store.inputs.files import JSONL_SUFFIXES, read_file
from lopd_store.inputs.source import RowSource
from lopd_store.inputs.text import Renderer, with_prompt_ids, with_response_ids
from lopd_store.rows.columns import SIGNAL_COLUMNS
from lopd_store.store import Store


def open_rollouts(store: Store, name: str, renderer: Renderer | None) -> RowSource:
    """The rollouts a person names: a file by its ending, else an artifact of the store.

    Raises what `rollouts_from_file` and `rollouts_from_store` raise.
    """
    path = Path(name)
    if path.suffix in (".parquet", *JSONL_SUFFIXES) or path.is_file():
        return rollouts_from_file(path, renderer)
    return rollouts_from_store(store, name)


def rollouts_from_store(store: Store, name: str) -> RowSource:
    """The rows of an artifact of kind rollouts or sft, or of a signal that was imported.

    Every blob read is checked against its digest first. Log-probs whose teacher nobody has seen
    are left behind.

    Raises:
        NotFoundError: no such ref or id.
        IntegrityError: a blob is not what its name says.
        UsageError: the artifact is a signal already, by a teacher that is known.
        ConsistencyError: its rows were made with different tokenizers.
    """
    artifact = load(store, name)
    if any(each.kind == "signal" and each.teacher for each in artifact.identities):
        raise UsageError(f"{name}: expected an artifact of kind rollouts or sft, found signal")
    identity = _one_identity(artifact, name)
    blob = identity.tokenizer_blob

    def read() -> Iterator[pa.RecordBatch]:
        for shard in artifact.open_shards():
            names = [name for name in shard.schema.names if name not in SIGNAL_COLUMNS]
            yield from shard.batches(names)

    return RowSource(
        digest=artifact.id,
        read=read,
        identity=identity,
        lineage=(Lineage(kind=artifact.document.kind, digest=artifact.id),),
        tokenizer_blob=store.blobs.get(blob) if blob else None,
    )


def _one_identity(artifact: Artifact, name: str) -> Identity:
    tokenizers = [each.tokenizer for each in artifact.identities]
    if len({one.core_digest if one else None for one in tokenizers}) > 1:
        raise ConsistencyError(f"{name}: expected rows of one tokenizer, found several")
    if len(artifact.identities) > 1:
        raise UsageError(
            f"{name}: expected rows made by one policy in one way, found"
            f" {len(artifact.identities)} identities; score each part by itself"
        )
    return artifact.identities[0]


def rollouts_from_file(path: Path, renderer: Renderer | None = None) -> RowSource:
    """Rollouts from a Parquet or JSONL file.

    Rows hold `prompt_ids` and `response_ids`; with a renderer, `messages` or `prompt` and
    `response` text will do. Then the ids are made here and need not be those that were sampled,
    which `retokenised` records.

    Raises:
        NotFoundError: no such file.
        FormatError: not JSONL or Parquet, no row, or columns that are missing or of other types.
    """
    first = next(iter(read_file(path)), None)
    if first is None or not len(first):
        raise FormatError(f"{path}: expected at least one row, found none")
    names = first.schema.names
    retokenised = "response_ids" not in names and "response" in names

    def read() -> Iterator[pa.RecordBatch]:
        for batch in read_file(path):
            yield conformed(with_response_ids(with_prompt_ids(batch, renderer), renderer))

    return RowSource.of_file(path, read, retokenised=retokenised)
