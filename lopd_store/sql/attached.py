"""A shard set as a schema of a session: its shards checked, and what their columns allow."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lopd_store.errors import UsageError
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.shard_sets import ShardSet
from lopd_store.shards.reader import Shard

MASK: Final = "loss_mask"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TAKEN: Final = frozenset(
    {"information_schema", "main", "memory", "pg_catalog", "system", "temp", "tmp"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A shard set under a name. DuckDB trusts what is checked in `of`.

    Attributes:
        name: of its schema.
        shards: in row order, digests and pages checked.
        columns: the columns that any of them has.
        everywhere: those that all of them have.
        tokenizer: the packed tokenizer of their ids, if there is one for all.
    """

    name: str
    shards: tuple[Shard, ...]
    columns: frozenset[str]
    everywhere: frozenset[str]
    tokenizer: bytes | None

    @classmethod
    def of(cls, name: str, shard_set: ShardSet) -> "Attached":
        """Check the shards, the pages of all their columns, and the tokenizer's digest.

        Raises:
            UsageError: a name that SQL would not take unquoted, or that DuckDB uses itself; columns
                whose names differ in case only.
            NotFoundError, IntegrityError, FormatError: as `ShardSet.open_shards`; FormatError also
                for pages that are not what a footer claims.
        """
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise UsageError(
                f"expected a name of a-z, 0-9 and _ that begins with a letter and is none of"
                f" {', '.join(sorted(_TAKEN))}; found {name!r}"
            )
        attached = cls.checked(name, shard_set.open_shards(), tokenizer=_tokenizer(shard_set))
        if shard_set.id is None:  # no manifest has its shards' digests, and DuckDB skips CRCs
            for shard in attached.shards:
                shard.check_crcs()
        return attached

    @classmethod
    def checked(
        cls, name: str, shards: Iterable[Shard], *, tokenizer: bytes | None = None
    ) -> "Attached":
        """Shards whose digests are checked already.

        Raises UsageError for columns that SQL would take for one; else as `Shard.check_pages`.
        """
        opened = tuple(shards)
        for shard in opened:
            shard.check_pages(shard.schema.names)
        names = [frozenset(shard.schema.names) for shard in opened]
        columns: frozenset[str] = frozenset().union(*names)
        _refuse_alike(columns)
        return cls(
            name=name,
            shards=opened,
            columns=columns,
            everywhere=frozenset.intersection(*names),
            tokenizer=tokenizer,
        )

    @property
    def schema(self) -> str:
        """The name as SQL has it, whatever word it is."""
        return f'"{self.name}"'

    @property
    def logprobs(self) -> frozenset[str]:
        """The columns of log-probs that all shards have."""
        return self.everywhere.intersection(LOGPROB_COLUMNS)


def _refuse_alike(columns: Iterable[str]) -> None:
    """SQL does not see the case of a name: it would give the values of one for the other."""
    seen: dict[str, str] = {}
    for column in sorted(columns):
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise UsageError(
                f"expected columns that differ in more than case, found {other!r} and {column!r}:"
                " SQL cannot tell them apart"
            )


def _tokenizer(shard_set: ShardSet) -> bytes | None:
    """None also where vocabularies differ or one is unknown: better no text than a wrong one."""
    tokenizers = [identity.tokenizer for identity in shard_set.identities]
    if len({each and each.vocab_digest for each in tokenizers}) > 1:
        return None
    blobs = (shard_set.tokenizer_blob(identity) for identity in shard_set.identities)
    return next((blob for blob in blobs if blob is not None), None)
