"""How numbers were made: engines and their settings, sampling, the signal columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from lopd_store.digest import Digest
from lopd_store.documents.part import Part, json_object, unknown_fields

_SCORING_FIELDS = (
    "engine",
    "versions",
    "dtype",
    "quantization",
    "device",
    "logprobs_mode",
    "tensor_parallel_size",
    "chunk_tokens",
    "settings",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring(Part):
    """An engine with everything about it that changes numbers.

    Attributes:
        engine: `vllm`, `transformers`, …
        versions: library → version.
        dtype: of the forward pass, such as `float32`.
        quantization: applied at load, or `none`.
        device: the kind of device, such as `cpu`.
        logprobs_mode: `raw_logprobs` is before temperature and masks.
        tensor_parallel_size: at least 1.
        chunk_tokens: tokens of consecutive rows that the engine was given at once, since what
            stands beside a row changes its last bits; 0 when unknown.
        settings: further flags that change numbers, as text.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#scoring"

    engine: str
    versions: Mapping[str, str]
    dtype: str
    quantization: str
    device: str
    logprobs_mode: str
    tensor_parallel_size: int
    chunk_tokens: int
    settings: Mapping[str, str]
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            engine=document["engine"],
            versions=dict(document["versions"]),
            dtype=document["dtype"],
            quantization=document["quantization"],
            device=document["device"],
            logprobs_mode=document["logprobs_mode"],
            tensor_parallel_size=document["tensor_parallel_size"],
            chunk_tokens=document["chunk_tokens"],
            settings=dict(document["settings"]),
            unknown=unknown_fields(document, _SCORING_FIELDS),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "engine": self.engine,
            "versions": dict(self.versions),
            "dtype": self.dtype,
            "quantization": self.quantization,
            "device": self.device,
            "logprobs_mode": self.logprobs_mode,
            "tensor_parallel_size": self.tensor_parallel_size,
            "chunk_tokens": self.chunk_tokens,
            "settings": dict(self.settings),
        }
        return json_object(self.unknown, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalColumn(Part):
    """A column of log-probs, and who gave them.

    Attributes:
        column: the Parquet column, such as `teacher_logprobs`.
        role: what the model is to the rollouts: `teacher`, `policy`, `reference`, …
        model: a name in the identity's `models`.
        scoring: a name in the identity's `scorings`.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#signal"

    column: str
    role: str
    model: str
    scoring: str
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            column=document["column"],
            role=document["role"],
            model=document["model"],
            scoring=document["scoring"],
            unknown=unknown_fields(document, ("column", "role", "model", "scoring")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "column": self.column,
            "role": self.role,
            "model": self.model,
            "scoring": self.scoring,
        }
        return json_object(self.unknown, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(Part):
    """How responses were sampled.

    Attributes:
        temperature: decimal text, such as `0.8`; `0` is greedy.
        top_p: decimal text; `1` keeps everything.
        max_tokens: the longest response allowed.
        seed: the run's seed.
        n: responses per prompt.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#sampling"

    temperature: str
    top_p: str
    max_tokens: int
    seed: int
    n: int
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        return cls(
            temperature=document["temperature"],
            top_p=document["top_p"],
            max_tokens=document["max_tokens"],
            seed=document["seed"],
            n=document["n"],
            unknown=unknown_fields(document, ("temperature", "top_p", "max_tokens", "seed", "n")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        fields = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "n": self.n,
        }
        return json_object(self.unknown, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts(Part):
    """Where the prompts came from.

    Attributes:
        digest: of the source's bytes.
        unknown: fields of a later minor version, kept.
    """

    SCHEMA: ClassVar[str] = "identity#prompts"

    digest: Digest
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        unknown = unknown_fields(document, ("digest",))
        return cls(digest=Digest(document["digest"]), unknown=unknown)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        return json_object(self.unknown, {"digest": str(self.digest)})
