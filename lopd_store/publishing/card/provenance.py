"""Who made the rows, as far as it is known, only asserted, or unknown."""

from collections.abc import Iterator
from typing import Final

from lopd_store.documents.identity import Identity, ModelIdentity, Scoring, TokenizerIdentity
from lopd_store.documents.noise import Noise
from lopd_store.inspect import sft_teacher
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import code, folded, plain, short, table
from lopd_store.publishing.card.origin import SERVER, givers
from lopd_store.publishing.card.refusal import PAPER, reasons

_MOST_IDENTITIES: Final = 8
_MOST_NAMES: Final = 2
_ASSERTED: Final = "**asserted, not proved:** "
_UNKNOWN: Final = "**UNKNOWN**"
_WORDS: Final = {
    "sft": "teacher, wrote the responses",
    "rollouts": "teacher",
    "signal": "teacher, scored",
}
_STUDENT: Final = "student, sampled the rollouts"
_STAMPED: Final = {
    "stamp made": "*made*: the trainer that did the SFT wrote it into the student's stamp.",
    "stamp asserted": "*asserted*: a person wrote it into the student's stamp; nothing proves it.",
}


def provenance(facts: CardFacts) -> Iterator[str]:
    """Lines: a table for each identity, with noise in the first; the chain."""
    first, *others = facts.artifact.identities[:_MOST_IDENTITIES]
    count = len(facts.artifact.identities)
    if others:
        yield f"Rows of identity {short(first.digest)}, 1 of {count}:"
        yield ""
    noises = [_noise(noise) for noise in facts.noises[:_MOST_IDENTITIES]]
    yield from table(("", ""), [*_identity(facts, first), *noises])
    if others:
        yield ""
        yield from folded(f"Further identities: {count - 1}", _others(facts, others))
    yield ""
    yield from _chain(facts)


def _others(facts: CardFacts, others: list[Identity]) -> Iterator[str]:
    for number, identity in enumerate(others):
        if number:
            yield ""
        yield f"Rows of identity {short(identity.digest)}:"
        yield ""
        yield from table(("", ""), _identity(facts, identity))
    if len(facts.artifact.identities) > _MOST_IDENTITIES:
        yield ""
        yield f"All identities are in `{facts.place.folder}`."


def teacher(facts: CardFacts) -> str | None:
    """The teachers in a few words, which say so where one is only asserted."""
    found = dict.fromkeys(_teacher(identity) for identity in facts.artifact.identities)
    named = [name for name in found if name is not None]
    if len(named) > _MOST_NAMES:
        return f"{len(named)} teachers"
    return ", ".join(named) or None


def _teacher(identity: Identity) -> str | None:
    if identity.kind == "rollouts":
        return None
    model = identity.teacher or identity.claimed("teacher")
    if model is None:
        return "unknown"
    name = model.source.repo if model.source else model.weights_digest.short
    return name if identity.teacher else f"{name} (asserted)"


def _identity(facts: CardFacts, identity: Identity) -> Iterator[tuple[str, str]]:
    yield from _model(identity, "teacher", _WORDS[identity.kind])
    yield from _model(identity, "policy", _STUDENT)
    others = sorted(identity.models.keys() - {"teacher", "policy"})
    for role in others:
        yield code(role), model(identity.models[role])
    yield "tokenizer", _tokenizer(identity.tokenizer, identity)
    yield "sampling", _sampling(identity)
    for name, scoring in sorted(identity.scorings.items()):
        columns = [each for each in identity.signals if each.scoring == name]
        gave = ", ".join(f"{code(each.column)} of the {code(each.model)}" for each in columns)
        yield f"scoring {code(name)}", f"{_scoring(scoring)}{f'; gave {gave}' if gave else ''}"
    if said := _asserted_scoring(identity):
        yield "scoring", said
    if whose := givers(facts, identity):
        yield "rounding", _rounding(identity.precision, " and ".join(whose))
    if identity.imported:
        yield "imported", _imported(identity)


def _model(identity: Identity, role: str, words: str) -> Iterator[tuple[str, str]]:
    known, said = identity.models.get(role), identity.claimed(role)
    if known:
        yield words, model(known)
    elif said:
        yield words, f"{_ASSERTED}{model(said)}"
    elif identity.imported and role in identity.imported.not_known:
        yield words, _UNKNOWN


def model(found: ModelIdentity) -> str:
    """A model in one cell: its name and revision, its weights."""
    parts = []
    if source := found.source:
        parts.append(f"{code(source.repo)} at commit {code(source.commit)}")
    parts.append(f"weights {short(found.weights_digest)}")
    if adapter := found.adapter:
        parts.append(
            f"LoRA adapter {short(adapter.digest)} of rank {adapter.rank}, alpha"
            f" {code(adapter.alpha)}"
        )
    if found.asserted_same_as:
        parts.append(f"{_ASSERTED}the same teacher as weights {short(found.asserted_same_as)}")
    return ", ".join(parts)


def _tokenizer(tokenizer: TokenizerIdentity | None, identity: Identity) -> str:
    if tokenizer is None:
        return _UNKNOWN
    eos = ", ".join(map(str, tokenizer.special_ids.eos[:16])) or "none"
    asserted = _ASSERTED if identity.imported else ""
    return (
        f"{asserted}core {short(tokenizer.core_digest)}, vocabulary of {tokenizer.vocab_size:,},"
        f" ends with id {eos}"
    )


def _sampling(identity: Identity) -> str:
    found = identity.sampling
    if found is None:
        return "not known"
    return (
        f"temperature {code(found.temperature)}, top-p {code(found.top_p)}, at most"
        f" {found.max_tokens:,} tokens, {found.n} a prompt, seed {found.seed}"
    )


def _scoring(found: Scoring) -> str:
    parts = [
        f"{code(found.engine)} {code(found.versions.get(found.engine, 'of unknown version'))}",
        f"dtype {code(found.dtype)}",
        f"quantization {code(found.quantization)}",
        f"on {code(found.device)}",
        f"{code(found.logprobs_mode)}",
        f"tensor parallel {found.tensor_parallel_size}",
        f"{found.chunk_tokens:,} tokens together"
        if found.chunk_tokens
        else "how many tokens together is unknown",
        *(f"{code(f'{key}={value}')}" for key, value in sorted(found.settings.items())[:16]),
    ]
    return ", ".join(parts)


def _asserted_scoring(identity: Identity) -> str:
    imported = identity.imported
    if imported is None:
        return ""
    if said := imported.asserted.scoring:
        return _ASSERTED + ", ".join(
            f"{code(name)} {code(text)}" for name, text in sorted(said.items())[:16]
        )
    return _UNKNOWN if "scoring" in imported.not_known else ""


def _rounding(precision: str, giver: str) -> str:
    """How exactly log-probs are kept."""
    if precision == "exact":
        return f"none: log-probs are the float32 numbers that {giver} gave"
    return f"every log-prob is within {code(precision)} nats of what {giver} gave"


def _imported(identity: Identity) -> str:
    imported = identity.imported
    if imported is None:
        return ""
    missing = ", ".join(code(fact) for fact in imported.not_known[:16])
    nobody = f"; nobody says: {missing}" if missing else ""
    if imported.read_as == SERVER:
        return f"from a live server, which proves nothing about who gave the log-probs{nobody}"
    made = (
        "ids were made again from text, and may not be those that were sampled"
        if imported.retokenised
        else "ids are those of the file"
    )
    how = f", read as {code(imported.read_as)}" if imported.read_as else ""
    return (
        f"from a file {short(imported.digest)}{how}, which proves nothing about who made the"
        f" rows; {made}{nobody}"
    )


def _noise(noise: Noise) -> tuple[str, str]:
    moved = (
        f"of {noise.rows:,} rows: {noise.differing:,} of {noise.tokens:,} log-probs moved, by"
        f" {code(noise.mean_abs)} nats in the mean, {code(noise.max_abs)} at most; bound"
        f" {code(noise.bound)}"
    )
    return f"{code(noise.scoring)} again", moved


def _chain(facts: CardFacts) -> Iterator[str]:
    """Whether the chain from teacher to signal is made, asserted or unknown."""
    said = sft_teacher(facts.artifact.identities)
    if said is None:
        yield (
            "These are a teacher's own responses: a student fine-tuned on them is stamped with"
            " this artifact's id, and may then learn from this teacher's signals only."
        )
        return
    if not reasons(facts):  # else the warning says it
        yield (
            "A signal may stand in for a live teacher only where the teacher that scored also wrote"
            f" the student's SFT data ({PAPER})."
        )
    yield f"Who wrote the SFT data of the student: **{plain(said)}**."
    yield from (words for stamp, words in _STAMPED.items() if stamp in said)
