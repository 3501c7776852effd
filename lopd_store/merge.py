"""Artifacts one after another become one: `merge`.

Shards stay the blobs they are, so a merge moves few bytes. Only a shard with a sample that stood in
an earlier artifact is written anew, with the numbers that repetitions have in the whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lopd_store import canonical
from lopd_store.artifacts import Artifact, load, point
from lopd_store.building.assemble import Parts, columns_of, put_shard, scratch_in, store_parts
from lopd_store.building.outcome import Goal
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.work import Work, at_work
from lopd_store.digest import Digest, tagged
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import FormatError, UsageError
from lopd_store.rows.columns import arrow_schema
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.sample_id import HEX, Occurrences
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import write_shards
from lopd_store.store import Store

_TAG: Final = "lopd.merge.v1"
_WHOLE: Final = canonical.MAX_INTEGER  # tokens: a shard stays one shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge came to.

    Attributes:
        artifact: the id.
        rows: rows of the artifact.
        tokens: their response tokens.
        duplicates: rows that repeat an earlier sample; they are kept and numbered.
        identities: how many different ones the rows have.
        shards: all of its shards.
        rewritten: how many of them are no shard of a source, as their samples are numbered anew.
    """

    artifact: Digest
    rows: int
    tokens: int
    duplicates: int
    identities: int
    shards: int
    rewritten: int

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        return {
            "id": str(self.artifact),
            "rows": self.rows,
            "tokens": self.tokens,
            "duplicates": self.duplicates,
            "identities": self.identities,
            "shards": self.shards,
            "rewritten_shards": self.rewritten,
        }


def merge(
    store: Store, names: Sequence[str], *, ref: str, progress: Progress | None = None
) -> Merged:
    """Make `ref` name all rows of several artifacts, one artifact after another.

    A sample that stands in several is kept each time, whatever its log-probs: a further one gets
    the next number. Identities and tokenizers are all kept, each once. What was skipped when the
    sources were made stays with them: they are the lineage. The same sources in the same order
    give the same artifact.

    Args:
        store: where the artifacts lie.
        names: refs or ids, two at least, of one kind and with the same columns.
        ref: the result's name; it may be one of `names`.
        progress: is told what happens.

    Raises:
        UsageError: fewer than two artifacts, one of them twice, or kinds or columns that differ.
        NotFoundError, IntegrityError, FormatError: a source is missing or damaged.
        RefMovedError: somebody moved `ref` meanwhile; the artifact is stored all the same.
        StoreError: the disk is full or read-only.
    """
    progress = progress or Silence()
    goal = Goal.of(store, ref)
    sources = [load(store, name) for name in names]
    _require_alike(names, sources)
    ids = [source.id for source in sources]
    work_name = f"merge-{tagged(_TAG, *(str(each).encode() for each in ids)).hex}"
    progress.begin(total_tokens=sum(each.document.tokens for each in sources), done_tokens=0)
    with at_work(store, work_name, progress=progress) as work:
        for each in ids:
            work.hold(each)
        made = _store_merged(store, sources, work, progress)
        point(store, goal.ref, made, expected=goal.expected)
    result = load(store, str(made))
    before = {shard.digest for source in sources for shard in source.shards}
    return Merged(
        artifact=made,
        rows=result.document.rows,
        tokens=result.document.tokens,
        duplicates=result.document.duplicates,
        identities=len(result.identities),
        shards=len(result.shards),
        rewritten=sum(shard.digest not in before for shard in result.shards),
    )


def _require_alike(names: Sequence[str], sources: Sequence[Artifact]) -> None:
    """Raise UsageError unless the rows can stand in one artifact."""
    if len(sources) < 2:  # noqa: PLR2004 - one artifact is merged already
        raise UsageError(f"expected two artifacts or more to merge, found {len(sources)}")
    first = sources[0]
    for number, (name, source) in enumerate(zip(names, sources, strict=True)):
        for other, earlier in zip(names[:number], sources[:number], strict=True):
            if source.id == earlier.id:
                raise UsageError(
                    f"expected different artifacts to merge, found {source.id.short} twice:"
                    f" {other} and {name}"
                )
        if source.document.kind != first.document.kind:
            raise UsageError(
                f"expected artifacts of one kind to merge, found {first.document.kind} {names[0]}"
                f" and {source.document.kind} {name}"
            )
        if difference := _columns(source) ^ _columns(first):
            shown = ", ".join(f"{column} {kind}" for column, kind in sorted(difference))
            raise UsageError(
                f"expected the columns of {names[0]} in {name} too, found only one of them with"
                f" {shown}: merge what has the same columns"
            )


def _columns(source: Artifact) -> set[tuple[str, str]]:
    return {(column.name, column.type) for column in source.document.columns}


def _store_merged(
    store: Store, sources: Sequence[Artifact], work: Work, progress: Progress
) -> Digest:
    schema = arrow_schema(_columns(sources[0]))
    content = ContentDigest(schema)
    shards = []
    with scratch_in(work.scratch) as folder, Occurrences(folder) as occurrences:
        numbering = _Numbering(store, work, occurrences, content)
        for source in sources:
            for layer, shard in zip(source.shards, source.open_shards(), strict=True):
                shards.append(numbering.shard(layer, shard))
                progress.advance(layer.tokens)
    identities = {each.digest: each for source in sources for each in source.identities}
    tokenizers = {each.digest: each for source in sources for each in source.manifest.tokenizers}
    parts = Parts(
        identities=tuple(identities.values()),
        tokenizers=tuple(tokenizers.values()),
        shards=tuple(shards),
        columns=columns_of(schema),
        prompt_tokens=sum(source.document.prompt_tokens for source in sources),
        content_digest=content.digest(),
        duplicates=occurrences.duplicates,
        lineage=tuple(Lineage(kind=each.document.kind, digest=each.id) for each in sources),
    )
    return store_parts(store, parts, hold=work.hold).digest


class _Numbering:
    """Numbers repeated samples over all shards, told one after another."""

    def __init__(
        self, store: Store, work: Work, occurrences: Occurrences, content: ContentDigest
    ) -> None:
        self._store = store
        self._work = work
        self._occurrences = occurrences
        self._content = content

    def shard(self, layer: Descriptor, shard: Shard) -> Descriptor:
        """The shard itself where its numbers are right; else one with the right ones."""
        groups = range(shard.row_groups)
        for group in groups:
            rows, same = self._numbered(shard.read(group))
            if not same:
                earlier = map(shard.read, groups[:group])
                later = (self._numbered(shard.read(at))[0] for at in groups[group + 1 :])
                return self._written(layer, shard, chain(earlier, [rows], later))
        return layer

    def _numbered(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, bool]:
        """The rows with the numbers they have in the whole; whether these are those they had."""
        found = rows.column("sample_id")
        if found.null_count:
            raise FormatError(
                "expected a sample_id in every row, found null: see lopd-store verify"
            )
        wanted = self._occurrences.number(pc.utf8_slice_codeunits(found, 0, HEX))
        same = bool(found.equals(wanted))
        if not same:
            rows = rows.set_column(rows.schema.get_field_index("sample_id"), "sample_id", wanted)
        self._content.update(rows)
        return rows, same

    def _written(
        self, layer: Descriptor, shard: Shard, rows: Iterator[pa.RecordBatch]
    ) -> Descriptor:
        with scratch_in(self._work.scratch) as folder:
            (file,) = write_shards(
                rows, identity=shard.identity_bytes, folder=folder, shard_tokens=_WHOLE
            )
            return put_shard(self._store, file, layer.identity, self._work.hold)
