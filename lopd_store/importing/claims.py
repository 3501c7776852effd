"""What the importer of a file says of its rows, and the identity document that records it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from lopd_store.documents.identity import Asserted, Identity, Imported
from lopd_store.documents.imported import ASSERTED, OF_LOGPROBS, UNKNOWN
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.compare import same_tokenizer
from lopd_store.identity.model import Fingerprint
from lopd_store.identity.source import locate_without_weights
from lopd_store.identity.tokenizer import TokenizerReading, read_tokenizer
from lopd_store.inputs.source import RowSource
from lopd_store.inputs.text import ModelRenderer

KINDS: Final = ("signal", "rollouts")
_NO_FILE_SAYS: Final = ("eos", "sampling")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTokenizer:
    """A tokenizer that a person named.

    Attributes:
        folder: its files; chat templates are read there.
        reading: who it is.
    """

    folder: Path
    reading: TokenizerReading

    @classmethod
    def open(cls, model: str) -> Self:
        """The tokenizer of a folder or `org/name[@revision]`; weights are not looked at.

        Raises:
            NotFoundError: no such model, or no tokenizer in it.
            FormatError: it does not load.
            UsageError: neither a folder nor a name the Hub allows.
        """
        folder = locate_without_weights(model)
        return cls(folder=folder, reading=read_tokenizer(folder))

    @property
    def renderer(self) -> ModelRenderer:
        """What makes ids of text with it."""
        return ModelRenderer(self.folder, self.reading.blob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a person says of a file's rows. All of it is recorded as asserted, none as known.

    Attributes:
        tokenizer: of the ids, and to make ids of text; None takes the teacher's or the policy's.
        teacher: who gave teacher_logprobs.
        policy: whose rollouts these are.
        engine: what ran the teacher, such as `sglang`.
        dtype: of its forward pass, such as `bfloat16`; a re-score is held to it.
    """

    tokenizer: NamedTokenizer | None = None
    teacher: Fingerprint | None = None
    policy: Fingerprint | None = None
    engine: str | None = None
    dtype: str | None = None

    def one_tokenizer(self) -> NamedTokenizer | None:
        """The tokenizer that all claims agree on; None where nobody named one.

        Raises ConsistencyError where the models named read ids as other text.
        """
        found = list(self._tokenizers())
        for other in found[1:]:
            if problems := same_tokenizer(found[0].reading.identity, other.reading.identity):
                subject = "the models named have several tokenizers"
                raise ConsistencyError.of(problems, subject=subject)
        return found[0] if found else None

    def _tokenizers(self) -> Iterator[NamedTokenizer]:
        if self.tokenizer is not None:
            yield self.tokenizer
        for model in (self.teacher, self.policy):
            if model is not None and model.tokenizer is not None:
                yield NamedTokenizer(folder=model.folder, reading=model.require_tokenizer())

    def identity(self, source: RowSource, *, kind: str, read_as: str) -> Identity:
        """Who made the rows, as far as anybody says.

        Raises:
            UsageError: claims about log-probs that rows of kind rollouts do not have.
            ConsistencyError: as `one_tokenizer`.
        """
        tokenizer = self.one_tokenizer()
        models = {
            role: model.model
            for role, model in (("teacher", self.teacher), ("policy", self.policy))
            if model is not None
        }
        settings = {"engine": self.engine, "dtype": self.dtype}
        scoring = {name: text for name, text in settings.items() if text is not None}
        said = {*models, *(["scoring"] if scoring else [])}
        if kind != "signal" and (wrong := said.intersection(OF_LOGPROBS)):
            raise UsageError(
                f"expected no word on the {' and '.join(sorted(wrong))} of rows nobody scored,"
                " found one: --kind signal keeps log-probs"
            )
        facts = {*_NO_FILE_SAYS, "policy", *(OF_LOGPROBS if kind == "signal" else ())}
        return Identity.of(
            kind=kind,
            models={},
            tokenizer=tokenizer.reading.identity if tokenizer else None,
            scorings={},
            signals=(),
            precision="exact",
            imported=Imported(
                digest=source.digest,
                retokenised=source.retokenised,
                tokenizer=ASSERTED if tokenizer else UNKNOWN,
                read_as=read_as,
                asserted=Asserted(models=models, scoring=scoring),
                not_known=tuple(sorted(facts - said)),
            ),
        )
