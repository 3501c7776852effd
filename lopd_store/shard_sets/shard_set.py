"""Shards in row order, wherever they lie."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import FormatError, IntegrityError, Problem
from lopd_store.rows.columns import type_text
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


def _no_tokenizer(_blob: Digest) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """Shards in row order, and who made their rows.

    Attributes:
        name: as it was given, with the commit where it came from the Hub.
        id: the artifact's id; None for shards that no manifest names.
        kind: `signal`, `sft` or `rollouts`.
        identities: the different ones among the shards, in row order.
        rows: rows in all shards.
        tokens: their response tokens, where a manifest counts them.
        content_digest: of their values, where an artifact document has it.
        store: where the artifact lies; for other shards the store at hand, if there is one.
    """

    name: str
    id: Digest | None
    kind: str
    identities: tuple[Identity, ...] = field(repr=False)
    rows: int
    tokens: int | None
    content_digest: Digest | None
    store: Store | None = field(repr=False)
    _open: Callable[[], Iterator[Shard]] = field(repr=False)
    _digests: Callable[[], tuple[Digest, ...]] = field(repr=False)
    _tokenizer: Callable[[Digest], bytes | None] = field(repr=False, default=_no_tokenizer)

    def open_shards(self) -> Iterator[Shard]:
        """Each shard in row order; where its digest is known, its bytes are checked first.

        Raises:
            NotFoundError: a shard is no longer there.
            IntegrityError: its bytes are not what its digest says.
            FormatError: it is not a shard.
        """
        return self._open()

    def shard_digests(self) -> tuple[Digest, ...]:
        """The shards' SHA-256 in row order; of those without a manifest, read once.

        Raises NotFoundError where a shard is no longer there.
        """
        return self._digests()

    def tokenizer_blob(self, identity: Identity) -> bytes | None:
        """The packed tokenizer of these rows, where the store at hand or their repository has it.

        Raises IntegrityError where it is not what its name says.
        """
        blob = identity.tokenizer_blob
        if blob is None:
            return None
        if self.store is not None and self.store.blobs.has(blob):
            return self.store.blobs.get(blob)
        return self._tokenizer(blob)


def column_problems(shard: Shard, document: ArtifactDocument, where: str) -> list[Problem]:
    """Where a shard has other columns, or another kind, than its artifact says."""
    found = {field.name: type_text(field.type) for field in shard.schema}
    claimed = {column.name: column.type for column in document.columns}
    if found == claimed and shard.kind == document.kind:
        return []
    expected, shown = f"{document.kind} {claimed}", f"{shard.kind} {found}"
    return [Problem("columns-differ", where, expected, shown)]


def as_named(shard: Shard, layer: Descriptor) -> Shard:
    """A shard whose footer says what the manifest says: what was checked is what is read.

    Raises IntegrityError or FormatError where it does not.
    """
    found = Digest.of(shard.identity_bytes)
    if found != layer.identity:
        where = f"shard {layer.digest.short}"
        problem = Problem("footer-identity", where, str(layer.identity), str(found))
        raise IntegrityError(str(problem), problems=[problem])
    if shard.rows != layer.rows:
        raise FormatError(f"{shard.path}: expected {layer.rows} rows, found {shard.rows}")
    return shard
