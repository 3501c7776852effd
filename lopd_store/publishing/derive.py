"""An artifact as it is published: with text beside its ids, and rounded if that is asked for.

It is another artifact, with another id, made shard by shard: shard i of the source becomes shard i,
whatever stands beside it. So versions that share shards also share what is made of them.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import pyarrow as pa

from lopd_store import canonical
from lopd_store.artifacts import Artifact, is_whole, load, noises
from lopd_store.building.assemble import (
    Hold,
    Parts,
    columns_of,
    no_hold,
    put_shard,
    scratch_in,
    store_parts,
)
from lopd_store.building.progress import Progress, Silence
from lopd_store.building.publish import attach_noise
from lopd_store.building.work import Work, at_work
from lopd_store.digest import Digest, tagged
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import FormatError, IntegrityError, NotFoundError
from lopd_store.identity.tokenizer import blob_problems, open_tokenizer
from lopd_store.publishing.changes import Change, changes
from lopd_store.publishing.derived import Derived
from lopd_store.publishing.texts import Texts
from lopd_store.rows.columns import arrow_schema
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.precision import Precision
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import write_shards
from lopd_store.store import Store

_TAG: Final = "lopd.derived-artifact.v1"
_WHOLE: Final = canonical.MAX_INTEGER  # tokens: a shard stays one shard


def derive(
    store: Store,
    artifact: Artifact,
    *,
    texts: bool = True,
    precision: Precision | None = None,
    progress: Progress | None = None,
    hold: Hold = no_hold,
) -> Artifact:
    """The artifact to publish in the place of `artifact`: itself when nothing changes.

    Skipped rows, tokenizers and measured noise go with it; signatures do not, as they are of other
    bytes. What was made is remembered: killed and run again, or run for the next version, finished
    shards are not made again. The same source and versions give the same artifact.

    Args:
        store: where `artifact` lies, and the result will.
        artifact: the source. Its shards are checked against their digests.
        texts: add `prompt_text` and `response_text`, where they are missing.
        precision: round log-probs so far; None leaves them as they are.
        progress: is told what happens; tokens are the response tokens of the source.
        hold: is told the result's id before gc might take it; no ref names it yet.

    Raises:
        UsageError: log-probs that are rounded already cannot be rounded so far.
        NotFoundError, IntegrityError, FormatError: the source is damaged.
        StoreError: the disk is full or read-only; finished shards are kept.
    """
    progress = progress or Silence()
    change_of = changes(artifact, texts=texts, precision=precision)
    if texts:
        _say_what_has_no_text(artifact, progress)
    if not change_of:
        return artifact
    words = [str(artifact.id), *(change.key for change in change_of.values())]
    key = tagged(_TAG, *(word.encode() for word in words)).hex
    with at_work(store, f"derive-{key}", progress=progress) as work:
        work.hold(artifact.id)
        made = _Derivation(store, artifact, change_of, work).result(key, progress)
        _attach_noise_of(store, artifact, made, hold=work.hold)
        hold(made.digest)
    return load(store, str(made.digest))


def _say_what_has_no_text(artifact: Artifact, progress: Progress) -> None:
    unknown = {each.digest for each in artifact.identities if each.tokenizer_blob is None}
    rows = sum(shard.rows for shard in artifact.shards if shard.identity in unknown)
    if rows:
        progress.say(
            f"no text beside the ids of {rows:,} rows: nobody says which tokenizer they are of"
            " (lopd-store import --tokenizer says it)"
        )


class _Derivation:
    """One source on its way to what is published."""

    def __init__(
        self, store: Store, source: Artifact, change_of: Mapping[Digest, Change], work: Work
    ) -> None:
        self._store = store
        self._source = source
        self._change_of = change_of
        self._work = work
        self._derived = Derived(store, work)
        columns = {column.name: column.type for column in source.document.columns}
        texts = dict.fromkeys(
            (name for each in change_of.values() for name in each.texts), "string"
        )
        self._schema = arrow_schema(columns | texts)
        self._content = ContentDigest(self._schema)
        self._reader = lru_cache(maxsize=1)(self._open_reader)

    def result(self, key: str, progress: Progress) -> Descriptor:
        """The manifest of an earlier run, if all of it is still there; else a new one."""
        source = self._source.id
        state = self._derived.state(source)
        made = self._derived.recall(source, key)
        if made is None or not self._is_sound(made.digest):
            made = self._make(progress)
            self._derived.remember(source, key, made, state=state)
        return made

    def _is_sound(self, artifact: Digest) -> bool:
        """Whether all of it is there and the shards are what their digests say."""
        if not is_whole(self._store, artifact):
            return False
        try:
            for shard in load(self._store, str(artifact)).shards:
                self._store.blobs.check_once(shard.digest, size=shard.size)
        except IntegrityError:
            return False
        return True

    def _make(self, progress: Progress) -> Descriptor:
        source, document = self._source, self._source.document
        progress.begin(total_tokens=document.tokens, done_tokens=0)
        shards = []
        for layer, shard in zip(source.shards, source.open_shards(), strict=True):
            shards.append(self._shard(layer, shard))
            progress.advance(layer.tokens)
        identities = [self._change_of[each.digest].identity for each in source.identities]
        parts = Parts(
            identities=tuple({each.digest: each for each in identities}.values()),
            tokenizers=source.manifest.tokenizers,
            shards=tuple(shards),
            skipped=source.manifest.skipped,
            skipped_counts=document.skipped,
            columns=columns_of(self._schema),
            prompt_tokens=document.prompt_tokens,
            content_digest=self._content.digest(),
            duplicates=document.duplicates,
            lineage=(*document.lineage, Lineage(kind=document.kind, digest=source.id)),
        )
        return store_parts(self._store, parts, hold=self._work.hold)

    def _shard(self, layer: Descriptor, source: Shard) -> Descriptor:
        """What is published in the place of a shard."""
        change = self._change_of[layer.identity]
        if found := self._recalled(layer, change):
            made, shard = found
            for batch in shard.batches():
                self._content.update(batch)
            return made
        state = self._derived.state(layer.digest)
        with scratch_in(self._work.scratch) as folder:
            (file,) = write_shards(
                self._changed(source, change),
                identity=change.identity.encode(),
                folder=folder,
                shard_tokens=_WHOLE,
            )
            made = put_shard(self._store, file, change.identity.digest, self._work.hold)
        self._derived.remember(layer.digest, change.key, made, state=state)
        return made

    def _recalled(self, layer: Descriptor, change: Change) -> tuple[Descriptor, Shard] | None:
        """What an earlier run made of a shard, if its bytes are still those."""
        made = self._derived.recall(layer.digest, change.key)
        if made is None:
            return None
        try:
            self._store.blobs.check_once(made.digest, size=made.size)
            return made, Shard.open(self._store.blobs.path(made.digest))
        except (NotFoundError, IntegrityError, FormatError):
            return None  # making it again mends it

    def _changed(self, source: Shard, change: Change) -> Iterator[pa.RecordBatch]:
        reader = self._reader(change.tokenizer) if change.tokenizer else None
        for batch in source.batches():
            rows = change.apply(batch, reader)
            self._content.update(rows)
            yield rows

    def _open_reader(self, blob: Digest) -> Texts:
        """Text of another tokenizer than the one that identities describe would be a lie."""
        data = self._store.blobs.get(blob)
        known = [each.tokenizer for each in self._source.identities if each.tokenizer]
        if problems := blob_problems(data, [one for one in known if one.blob == blob]):
            raise IntegrityError(
                f"{problems[0]}: see lopd-store verify {self._source.id}", problems=problems
            )
        return Texts(open_tokenizer(data))


def _attach_noise_of(store: Store, source: Artifact, made: Descriptor, *, hold: Hold) -> None:
    """Noise was measured before any rounding; it says the same of what is published."""
    for noise in noises(store, source.id):
        if noise not in noises(store, made.digest):
            attach_noise(store, made, noise, hold=hold)
