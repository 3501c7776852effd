"""The identity document: who made these rows. Complete before the first row is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.document import Document
from lopd_store.documents.imported import Asserted, Imported
from lopd_store.documents.model import Adapter, HubSource, ModelIdentity
from lopd_store.documents.part import json_object, unknown_fields
from lopd_store.documents.scoring import Prompts, Sampling, Scoring, SignalColumn
from lopd_store.documents.stamp import Stamp
from lopd_store.documents.tokenizer import SpecialIds, TokenizerIdentity

__all__ = [
    "Adapter",
    "Asserted",
    "HubSource",
    "Identity",
    "Imported",
    "ModelIdentity",
    "Prompts",
    "Sampling",
    "Scoring",
    "SignalColumn",
    "SpecialIds",
    "TokenizerIdentity",
]

MAX_VOCABULARY: Final = 1 << 31
"""Ids are int32: where nobody knows the tokenizer, every one of them may be an id."""

_FIELDS = (
    "format",
    "kind",
    "models",
    "tokenizer",
    "sampling",
    "prompts",
    "imported",
    "scorings",
    "signals",
    "precision",
    "policy_stamp",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Document):
    """Who made rows: models, tokenizer, engines, sampling, precision.

    Attributes:
        data: the canonical bytes.
        kind: `sft`, `rollouts` or `signal`.
        models: name in this document (`teacher`, `policy`, …) → who it is. What was only asserted
            of imported rows is not among them: see `claimed`.
        tokenizer: of every id in the rows; None where nobody says which, in imported rows only.
        scorings: name → engine and settings that gave log-probs.
        signals: the columns of log-probs and who gave them.
        precision: `exact`, or the largest rounding error as a power of two, such as `2^-12`.
        sampling: how responses were sampled, if they were.
        prompts: where the prompts came from, if known.
        imported: the file the rows came from, if they came from a file.
        policy_stamp: the stamp that the policy's checkpoint carried, if it had one.
        unknown: fields of a later minor version, kept; pass them to `of` when rewriting.
    """

    SCHEMA: ClassVar[str] = "identity"

    kind: str = field(compare=False)
    models: Mapping[str, ModelIdentity] = field(compare=False)
    tokenizer: TokenizerIdentity | None = field(compare=False, repr=False)
    scorings: Mapping[str, Scoring] = field(compare=False, repr=False)
    signals: tuple[SignalColumn, ...] = field(compare=False, repr=False)
    precision: str = field(compare=False)
    sampling: Sampling | None = field(compare=False, repr=False)
    prompts: Prompts | None = field(compare=False, repr=False)
    imported: Imported | None = field(compare=False, repr=False)
    policy_stamp: Stamp | None = field(compare=False, repr=False)
    unknown: Mapping[str, Any] = field(compare=False, repr=False)

    @classmethod
    def of(  # noqa: PLR0913 -- the document has this many facts, each named at the call
        cls,
        *,
        kind: str,
        models: Mapping[str, ModelIdentity],
        tokenizer: TokenizerIdentity | None,
        scorings: Mapping[str, Scoring],
        signals: Sequence[SignalColumn],
        precision: str,
        sampling: Sampling | None = None,
        prompts: Prompts | None = None,
        imported: Imported | None = None,
        policy_stamp: Stamp | None = None,
        unknown: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build the document; the attributes say what each argument is.

        Raises:
            FormatError: with every problem, such as a signal that names no model.
        """
        fields = {
            "format": media.IDENTITY_FORMAT,
            "kind": kind,
            "models": {name: model.to_json() for name, model in models.items()},
            "tokenizer": tokenizer.to_json() if tokenizer else None,
            "scorings": {name: scoring.to_json() for name, scoring in scorings.items()},
            "signals": [signal.to_json() for signal in signals],
            "precision": precision if precision == "exact" else {"max_error": precision},
            "sampling": sampling.to_json() if sampling else None,
            "prompts": prompts.to_json() if prompts else None,
            "imported": imported.to_json() if imported else None,
            "policy_stamp": policy_stamp.json if policy_stamp else None,
        }
        return cls.from_json(json_object(unknown or {}, fields))

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        def part(name: str, kind: Any) -> Any:
            return kind.read(document[name]) if name in document else None

        precision = document["precision"]
        stamp = document.get("policy_stamp")
        return cls(
            data=data,
            kind=document["kind"],
            models={name: ModelIdentity.read(one) for name, one in document["models"].items()},
            tokenizer=part("tokenizer", TokenizerIdentity),
            scorings={name: Scoring.read(one) for name, one in document["scorings"].items()},
            signals=tuple(SignalColumn.read(signal) for signal in document["signals"]),
            precision=precision if isinstance(precision, str) else precision["max_error"],
            sampling=part("sampling", Sampling),
            prompts=part("prompts", Prompts),
            imported=part("imported", Imported),
            policy_stamp=Stamp.from_json(stamp) if stamp is not None else None,
            unknown=unknown_fields(document, _FIELDS),
        )

    @property
    def vocab_size(self) -> int:
        """Every token id is below this: the smallest vocabulary of the models, else tokenizer's.

        Models that were only asserted count too: an id beyond theirs contradicts the assertion.
        """
        asserted = self.imported.asserted.models.values() if self.imported else ()
        sizes = [model.vocab_size for model in (*self.models.values(), *asserted)]
        return min(sizes, default=self.tokenizer.vocab_size if self.tokenizer else MAX_VOCABULARY)

    @property
    def eos(self) -> tuple[int, ...]:
        """The ids that end a response; none where nobody knows the tokenizer."""
        return self.tokenizer.special_ids.eos if self.tokenizer else ()

    @property
    def tokenizer_blob(self) -> Digest | None:
        """The packed tokenizer's name; None where nobody knows the tokenizer."""
        return self.tokenizer.blob if self.tokenizer else None

    def signal(self, column: str) -> SignalColumn | None:
        """Who gave the log-probs of `column`, if this document says."""
        return next((signal for signal in self.signals if signal.column == column), None)

    @property
    def teacher(self) -> ModelIdentity | None:
        """Who gave teacher_logprobs or, in kind `sft`, wrote the responses.

        None in rollouts, and in a signal that was imported: see `claimed`.
        """
        return self.models.get("teacher")

    def claimed(self, role: str) -> ModelIdentity | None:
        """Who the importer of the rows says `role` is; None where nobody says, or it is known."""
        return self.imported.asserted.models.get(role) if self.imported else None
