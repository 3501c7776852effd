"""Noise: how far the same teacher's log-probs move when the same rows are scored again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.documents import media
from lopd_store.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(Document):
    """Measured evidence about an artifact, attached to it by `subject`.

    Attributes:
        data: the canonical bytes.
        scoring: the scoring, by its name in the identity, that was repeated.
        rows: how many rows were scored again.
        tokens: how many response tokens they have.
        differing: how many of those tokens got another number.
        mean_abs: mean absolute difference over all tokens, nats, as decimal text.
        max_abs: largest absolute difference, nats, as decimal text.
        bound: what a re-score may differ by at most, nats, as decimal text.
    """

    SCHEMA: ClassVar[str] = "noise"

    scoring: str = field(compare=False)
    rows: int = field(compare=False)
    tokens: int = field(compare=False)
    differing: int = field(compare=False)
    mean_abs: str = field(compare=False)
    max_abs: str = field(compare=False)
    bound: str = field(compare=False)

    @classmethod
    def of(
        cls,
        *,
        scoring: str,
        rows: int,
        tokens: int,
        differing: int,
        mean_abs: str,
        max_abs: str,
        bound: str,
    ) -> Self:
        """Build the document; the attributes say what each argument is. Raises FormatError."""
        document = {
            "format": media.NOISE_FORMAT,
            "scoring": scoring,
            "rows": rows,
            "tokens": tokens,
            "differing": differing,
            "mean_abs": mean_abs,
            "max_abs": max_abs,
            "bound": bound,
        }
        return cls.from_json(document)

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        return cls(
            data=data,
            scoring=document["scoring"],
            rows=document["rows"],
            tokens=document["tokens"],
            differing=document["differing"],
            mean_abs=document["mean_abs"],
            max_abs=document["max_abs"],
            bound=document["bound"],
        )
