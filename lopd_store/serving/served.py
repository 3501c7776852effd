"""What a server speaks for: one teacher, under the names that requests may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lopd_store.digest import Digest
from lopd_store.documents.model import ModelIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedArtifact:
    """A signal that is served.

    Attributes:
        name: as it was given.
        id: the artifact's id; None for shards without a manifest.
        rows: how many it has.
    """

    name: str
    id: Digest | None
    rows: int

    def to_json(self) -> dict[str, Any]:
        """The JSON object with these fields."""
        return {"name": self.name, "id": str(self.id) if self.id else None, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Everything a protocol says about the server itself.

    Attributes:
        names: of the model; requests may use any of them, and the first stands for none.
        artifacts: what is read, in the order in which it is asked.
        teacher: who gave the log-probs; None where the rows came with a file, which proves nothing.
        asserted: who is said to have given them, in that case, if anybody says.
        vocab_size: ids at or above it are no ids of the teacher.
    """

    names: tuple[str, ...]
    artifacts: tuple[ServedArtifact, ...]
    teacher: ModelIdentity | None
    asserted: ModelIdentity | None = None
    vocab_size: int

    @property
    def rows(self) -> int:
        """Rows of all artifacts."""
        return sum(artifact.rows for artifact in self.artifacts)

    def to_json(self) -> dict[str, Any]:
        """The JSON object that describes the server."""
        return {
            "models": list(self.names),
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "rows": self.rows,
            "teacher": _model(self.teacher),
            "asserted_teacher": _model(self.asserted),
            "vocab_size": self.vocab_size,
        }


def model_names(
    given: Sequence[str], refs: Sequence[str], teacher: ModelIdentity | None
) -> tuple[str, ...]:
    """The names of the model: those given, else the refs and the teacher's name on the Hub."""
    hub = [teacher.source.repo] if teacher is not None and teacher.source is not None else []
    return tuple(dict.fromkeys(given or [*refs, *hub]))


def _model(model: ModelIdentity | None) -> dict[str, Any] | None:
    """Who a model is, in few words."""
    if model is None:
        return None
    return {
        "weights_digest": str(model.weights_digest),
        "config_digest": str(model.config_digest),
        "source": model.source.to_json() if model.source else None,
    }
