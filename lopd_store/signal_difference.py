"""How far two teachers' signals lie apart on the same rollouts: teacher consistency, measured.

Δ_t is the log-prob that the teacher of A gave a token less the one that the teacher of B gave it.
With the SFT teacher as A's, assumption 3.4 of Lightning OPD (arXiv 2604.13010) bounds the mean of
(Σ_t |Δ_t|)² over the student's rollouts; its root is called sigma here.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from lopd_store.artifacts import Artifact, load
from lopd_store.common_samples import attached
from lopd_store.documents.model import ModelIdentity
from lopd_store.errors import FormatError, UsageError
from lopd_store.identity.compare import facts, same_teacher
from lopd_store.store import Store

COLUMN: Final = "teacher_logprobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDifference:
    """Δ over the tokens that both signals train, in nats.

    Attributes:
        teacher_a: who scored A: name and revision if known, digests; one each when several did.
        teacher_b: who scored B.
        same_teacher: whether every teacher of A is every teacher of B; None where one of them is
            unknown or only asserted.
        samples: samples in both, with a token that both train.
        tokens: such tokens.
        differing: tokens with Δ other than 0.
        mean: of Δ; above 0 where A's teacher finds the tokens likelier.
        std: of Δ.
        mean_abs: of |Δ|.
        max_abs: the largest |Δ|.
        over_one_nat: the share of tokens with |Δ| over 1.
        sigma_squared: the mean over samples of (Σ_t |Δ_t|)².
    """

    teacher_a: tuple[str, ...]
    teacher_b: tuple[str, ...]
    same_teacher: bool | None
    samples: int
    tokens: int
    differing: int
    mean: float
    std: float
    mean_abs: float
    max_abs: float
    over_one_nat: float
    sigma_squared: float

    @property
    def sigma(self) -> float:
        """The root of `sigma_squared`: 0 exactly when every Δ is 0.

        By theorem 3.8 the other teacher moves the gradient by at most G times this, whatever the
        student has become; G bounds the norm of ∇ log π_θ of a token.
        """
        return math.sqrt(self.sigma_squared)

    def to_json(self) -> dict[str, Any]:
        """Every attribute, and `sigma`."""
        return asdict(self) | {"sigma": self.sigma}


def compare_signals(store: Store, left: str, right: str) -> SignalDifference:
    """Measure Δ between two artifacts of kind signal, on the samples that both have.

    Raises:
        UsageError: an artifact without teacher_logprobs.
        FormatError: shards that are no shards, a sample twice, log-probs that are not finite or
            not as many in A as in B.
        NotFoundError, IntegrityError: as `artifacts.load` and what it opens.
    """
    a, b = load(store, left), load(store, right)
    for name, artifact in ((left, a), (right, b)):
        _refuse_other_kinds(name, artifact)
    with attached(a, b) as pair:
        for name, columns in zip((left, right), pair.columns, strict=True):
            if COLUMN not in columns:
                raise FormatError(f"{name}: expected {COLUMN} in every shard, found one without")
        found = pair.answer(_QUERY)
    measures = dict(zip(_MEASURES, found, strict=True))
    if broken := measures.pop("broken"):
        raise FormatError(
            f"expected samples with as many finite {COLUMN} in {left} as in {right},"
            f" found {broken} without: lopd-store verify says which"
        )
    scored_a, scored_b = _teachers(a), _teachers(b)
    return SignalDifference(
        teacher_a=tuple(scored_a),
        teacher_b=tuple(scored_b),
        same_teacher=_same([*scored_a.values()], [*scored_b.values()]),
        **measures,
    )


def _refuse_other_kinds(name: str, artifact: Artifact) -> None:
    if (kind := artifact.document.kind) != "signal":
        raise UsageError(f"{name}: expected an artifact of kind signal, found {kind}")


def _teachers(artifact: Artifact) -> dict[str, ModelIdentity | None]:
    """The teachers by what tells them apart. What a publisher or an importer asserts is no one."""
    found: dict[str, ModelIdentity | None] = {}
    for identity in artifact.identities:
        known, said = identity.teacher, identity.claimed("teacher")
        if known is not None:
            found[", ".join(facts(known))] = replace(known, asserted_same_as=None)
        elif said is not None:
            found[f"asserted, not proved: {', '.join(facts(said))}"] = None
        else:
            found["unknown"] = None
    return found


def _same(a: Sequence[ModelIdentity | None], b: Sequence[ModelIdentity | None]) -> bool | None:
    known_a, known_b = ([each for each in side if each is not None] for side in (a, b))
    if len(known_a) < len(a) or len(known_b) < len(b):
        return None
    return not any(same_teacher(one, other) for one in known_a for other in known_b)


_MEASURES: Final = (
    *("samples", "tokens", "differing", "mean", "std", "mean_abs", "max_abs", "over_one_nat"),
    *("sigma_squared", "broken"),
)
_QUERY: Final = f"select {', '.join(_MEASURES)} from compare('a', 'b')"  # noqa: S608 - our words
