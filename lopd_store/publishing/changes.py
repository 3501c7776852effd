"""What is changed in rows before they are published: text added, log-probs rounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import pyarrow as pa

from lopd_store.artifacts import Artifact
from lopd_store.building.complete import with_column
from lopd_store.digest import Digest, tagged
from lopd_store.documents.identity import Identity
from lopd_store.errors import UsageError
from lopd_store.publishing.texts import Texts
from lopd_store.rows.columns import LOGPROB_COLUMNS
from lopd_store.rows.precision import EXACT, Precision

TEXTS: Final = {"prompt_text": "prompt_ids", "response_text": "response_ids"}
"""Column of text → the ids it shows."""

_TAG: Final = "lopd.derived.v1"
_MADE_BY: Final = ("lopd", "pyarrow", "tokenizers")  # other versions may write other bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of the rows of one identity.

    Attributes:
        identity: who made the rows, once they are rounded.
        precision: to round the log-probs to; `EXACT` leaves them as they are.
        texts: the columns of text to add.
        tokenizer: whose texts they are; None adds nulls, where nobody knows the tokenizer.
    """

    identity: Identity
    precision: Precision
    texts: tuple[str, ...]
    tokenizer: Digest | None

    @property
    def key(self) -> str:
        """A name for the change and for what makes the bytes: equal keys, equal shards."""
        versions = [f"{name} {version(name)}" for name in _MADE_BY]
        words = [*versions, str(self.identity.digest), str(self.tokenizer), *self.texts]
        return tagged(_TAG, *(word.encode() for word in words)).hex

    def apply(self, rows: pa.RecordBatch, reader: Texts | None) -> pa.RecordBatch:
        """The rows as they are published, their text by a reader of the `tokenizer` named here.

        Raises FormatError as `Texts.decoded` does.
        """
        if self.precision != EXACT:
            for name in LOGPROB_COLUMNS:
                if name in rows.schema.names:
                    rounded = self.precision.round_lists(rows.column(name))
                    rows = with_column(rows, name, rounded)
        for name in self.texts:
            if reader is None:
                shown = pa.nulls(len(rows), pa.string())
            else:
                shown = reader.decoded(rows.column(TEXTS[name]))
            rows = with_column(rows, name, shown)
        return rows


def changes(
    artifact: Artifact, *, texts: bool, precision: Precision | None
) -> Mapping[Digest, Change]:
    """Identity of a shard → what becomes of its rows; empty when nothing changes at all.

    Columns of text that are there stay as they are. Rows that are rounded as far already, too.

    Raises:
        UsageError: rows are rounded already, less far: the errors would add up.
    """
    names = [column.name for column in artifact.document.columns]
    known = any(identity.tokenizer_blob for identity in artifact.identities)
    added = tuple(name for name in TEXTS if name not in names) if texts and known else ()
    rounds = precision is not None and any(name in names for name in LOGPROB_COLUMNS)
    found = {}
    for identity in artifact.identities:
        step = _rounding(identity, precision) if rounds and precision else EXACT
        found[identity.digest] = Change(
            identity=_rounded(identity, step),
            precision=step,
            texts=added,
            tokenizer=identity.tokenizer_blob if added else None,
        )
    unchanged = not added and all(change.precision == EXACT for change in found.values())
    return {} if unchanged else found


def _rounding(identity: Identity, wanted: Precision) -> Precision:
    """How far rows are to be rounded that are what their identity says."""
    now = Precision.parse(identity.precision)
    if now == EXACT:
        return wanted
    if now.max_error >= wanted.max_error or wanted == EXACT:
        return EXACT
    raise UsageError(
        f"expected exact log-probs to round to {wanted.text}, found some rounded to {now.text}"
        f" (identity {identity.digest.short}): the errors would add up; publish them as they are,"
        " or what they were rounded from"
    )


def _rounded(identity: Identity, precision: Precision) -> Identity:
    if precision == EXACT:
        return identity
    return Identity.from_json(identity.json | {"precision": {"max_error": precision.text}})
