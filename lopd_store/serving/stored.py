"""Signals of a store as `Answers`: every number was given by the teacher and is read as it lies."""

from collections.abc import Sequence as Several
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.compare import same_teacher, same_tokenizer
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.rows import flat
from lopd_store.serving.answers import Ids, Missing, Scored, Sequence
from lopd_store.serving.index import SequenceIndex
from lopd_store.serving.served import Served, ServedArtifact, model_names
from lopd_store.shard_sets import ShardSet, open_shard_set


class StoredRows:
    """The rows of one signal, found by their ids."""

    def __init__(self, rows: DecodedRows) -> None:
        self._prompts = rows.lists("prompt_ids")
        self._index = SequenceIndex(self._prompts, rows.lists("response_ids"))
        self._logprobs = rows.lists("teacher_logprobs")
        self._mask = rows.lists("loss_mask") if "loss_mask" in rows.columns else None

    def find(self, sequence: Sequence) -> Scored | None:
        """What is stored of a sequence; None where it is not.

        Where the same ids are stored with prompts of several lengths, the prompt asked for counts,
        else the shortest: it leaves the most log-probs.
        """
        rows = self._index.rows(sequence.ids)
        if not rows:
            return None
        lengths = {int(_length(self._prompts, row)): row for row in rows}
        wanted = sequence.prompt_length
        length = wanted if wanted in lengths else min(lengths)
        row = lengths[length]
        return Scored(
            prompt_length=length,
            logprobs=_row(self._logprobs, row),
            known=None if self._mask is None else _row(self._mask, row),
            stored=True,
        )

    def longest_prefix(self, ids: Ids) -> int:
        """The largest k such that the first k ids are those of a stored sequence."""
        return self._index.longest_prefix(ids)


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """`Answers` out of signals; of those that have a sequence, the first one says."""

    parts: tuple[StoredRows, ...]

    async def answer(self, sequence: Sequence) -> Scored | Missing:
        """See `Answers`."""
        for part in self.parts:
            if (found := part.find(sequence)) is not None:
                return found
        prefixes = [part.longest_prefix(sequence.ids) for part in self.parts]
        return Missing(longest_prefix=max(prefixes, default=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSignals:
    """Signals by one teacher, ready to answer.

    Attributes:
        served: what the server says of itself.
        answers: what it says of sequences.
    """

    served: Served
    answers: StoredAnswers

    @classmethod
    def open(cls, refs: Several[str], *, root: Path | None, names: Several[str] = ()) -> Self:
        """Open and index signals.

        Args:
            refs: what `open_shard_set` takes; where several have a sequence, the first one counts.
            root: the store's folder; None when there is none to look in.
            names: what requests call the model; the refs and the teacher's Hub name by default.

        Raises:
            UsageError: no ref, or an artifact that is no signal.
            ConsistencyError: signals of several teachers or tokenizers.
            NotFoundError, IntegrityError, FormatError, StoreError: as reading them raises.
        """
        if not refs:
            raise UsageError("expected at least one signal to serve, found none")
        opened = [_open(ref, root) for ref in refs]
        first = _one_teacher(opened)
        artifacts = (
            ServedArtifact(name=shards.name, id=shards.id, rows=shards.rows) for shards in opened
        )
        served = Served(
            names=model_names(names, refs, first.teacher),
            artifacts=tuple(artifacts),
            teacher=first.teacher,
            asserted=first.claimed("teacher"),
            vocab_size=first.teacher.vocab_size if first.teacher else first.vocab_size,
        )
        parts = (StoredRows(DecodedRows.open(shards)) for shards in opened)
        return cls(served=served, answers=StoredAnswers(tuple(parts)))


def _open(ref: str, root: Path | None) -> ShardSet:
    shards = open_shard_set(ref, root=root)
    if shards.kind != "signal":
        raise UsageError(f"{ref}: expected a signal to serve, found kind {shards.kind}")
    return shards


def _one_teacher(opened: Several[ShardSet]) -> Identity:
    """The first identity, once all others name its teacher and tokenizer."""
    first, *others = chain.from_iterable(shards.identities for shards in opened)
    problems = []
    for other in others:
        if other == first:
            continue
        if not (first.teacher and other.teacher and first.tokenizer and other.tokenizer):
            raise ConsistencyError(
                "expected signals of one known teacher behind one address, found imported rows"
                " that cannot prove theirs: serve them one by one"
            )
        problems += same_teacher(first.teacher, other.teacher)
        problems += same_tokenizer(first.tokenizer, other.tokenizer)
    if problems:
        subject = "signals behind one address have one teacher: serve these one by one"
        raise ConsistencyError.of(problems, subject=subject)
    return first


def _length(lists: flat.Lists, row: int) -> int:
    return int(lists.offsets[row + 1] - lists.offsets[row])


def _row(lists: flat.Lists, row: int) -> flat.Numbers:
    return lists.values[lists.offsets[row] : lists.offsets[row + 1]]
