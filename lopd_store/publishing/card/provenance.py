"""Who made the rows, as far as it is known, only asserted, or unknown."""

from collections.abc import Iterator

from lopd_store.documents.identity import Identity, ModelIdentity, Scoring, TokenizerIdentity
from lopd_store.documents.noise import Noise
from lopd_store.inspect import sft_teacher
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import code, digest, plain, table

_MOST_IDENTITIES = 8
_ASSERTED = "**asserted, not proved:** "
_UNKNOWN = "**UNKNOWN**"
_WORDS = {"sft": "teacher, wrote the responses", "rollouts": "teacher", "signal": "teacher, scored"}
_STUDENT = "student, sampled the rollouts"


def provenance(facts: CardFacts) -> Iterator[str]:
    """Lines: a table for each identity, noise, the chain, lineage."""
    identities = facts.artifact.identities
    yield "### Who made it"
    for number, identity in enumerate(identities[:_MOST_IDENTITIES]):
        yield ""
        if len(identities) > 1:
            layer = facts.artifact.manifest.identities[number]
            yield f"Rows of identity {digest(layer.digest)}, {number + 1} of {len(identities)}:"
            yield ""
        yield from table(("", ""), _identity(identity))
    if len(identities) > _MOST_IDENTITIES:
        yield ""
        yield f"Further identities are in `{facts.place.folder}`."
    if facts.noises:
        yield ""
        yield from _noises(facts.noises)
    yield ""
    yield from _chain(facts)
    yield ""
    yield from _lineage(facts)


def _identity(identity: Identity) -> Iterator[tuple[str, str]]:
    yield from _model(identity, "teacher", _WORDS[identity.kind])
    yield from _model(identity, "policy", _STUDENT)
    others = sorted(identity.models.keys() - {"teacher", "policy"})
    for role in others:
        yield code(role), model(identity.models[role])
    yield "tokenizer", _tokenizer(identity.tokenizer, identity)
    yield "sampling", _sampling(identity)
    if identity.prompts:
        yield "prompts", f"source {digest(identity.prompts.digest)}"
    for name, scoring in sorted(identity.scorings.items()):
        columns = [each for each in identity.signals if each.scoring == name]
        gave = ", ".join(f"{code(each.column)} of the {code(each.model)}" for each in columns)
        yield f"scoring {code(name)}", f"{_scoring(scoring)}{f'; gave {gave}' if gave else ''}"
    if said := _asserted_scoring(identity):
        yield "scoring", said
    yield "rounding", rounding(identity.precision)
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
    """A model in one cell: its name and revision, its digests."""
    parts = []
    if source := found.source:
        parts.append(f"{code(source.repo)} at commit {code(source.commit)}")
    parts.append(f"weights {digest(found.weights_digest)}")
    parts.append(f"config {digest(found.config_digest)}")
    if adapter := found.adapter:
        parts.append(
            f"LoRA adapter {digest(adapter.digest)} of rank {adapter.rank}, alpha"
            f" {code(adapter.alpha)}"
        )
    if found.asserted_same_as:
        parts.append(f"{_ASSERTED}the same teacher as weights {digest(found.asserted_same_as)}")
    return ", ".join(parts)


def _tokenizer(tokenizer: TokenizerIdentity | None, identity: Identity) -> str:
    if tokenizer is None:
        return _UNKNOWN
    eos = ", ".join(map(str, tokenizer.special_ids.eos[:16])) or "none"
    parts = [
        f"core {digest(tokenizer.core_digest)}",
        f"vocabulary {digest(tokenizer.vocab_digest)} of {tokenizer.vocab_size:,}",
        f"ends with id {eos}",
    ]
    if tokenizer.chat_template_digest:
        parts.append(f"chat template {digest(tokenizer.chat_template_digest)}")
    return f"{_ASSERTED if identity.imported else ''}{', '.join(parts)}"


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


def rounding(precision: str) -> str:
    """How exactly log-probs are kept."""
    if precision == "exact":
        return "none: log-probs are the float32 numbers that the engine gave"
    return f"every log-prob is within {code(precision)} nats of what the engine gave"


def _imported(identity: Identity) -> str:
    imported = identity.imported
    if imported is None:
        return ""
    made = (
        "ids were made again from text, and may not be those that were sampled"
        if imported.retokenised
        else "ids are those of the file"
    )
    how = f", read as {code(imported.read_as)}" if imported.read_as else ""
    missing = ", ".join(code(fact) for fact in imported.not_known[:16])
    nobody = f"; nobody says: {missing}" if missing else ""
    return (
        f"from a file {digest(imported.digest)}{how}, which proves nothing about who made the"
        f" rows; {made}{nobody}"
    )


def _noises(noises: tuple[Noise, ...]) -> Iterator[str]:
    yield "How far log-probs moved when the same model scored some of these rows again:"
    yield ""
    head = ("scoring", "rows", "tokens", "moved", "mean, nats", "largest, nats", "bound, nats")
    yield from table(
        head,
        [
            (
                code(noise.scoring),
                f"{noise.rows:,}",
                f"{noise.tokens:,}",
                f"{noise.differing:,}",
                code(noise.mean_abs),
                code(noise.max_abs),
                code(noise.bound),
            )
            for noise in noises[:_MOST_IDENTITIES]
        ],
    )


def _chain(facts: CardFacts) -> Iterator[str]:
    """Whether the chain from teacher to signal is made, asserted or unknown."""
    said = sft_teacher(facts.artifact.identities)
    if said is None:
        yield (
            "These are a teacher's own responses: a student fine-tuned on them is stamped with"
            " this artifact's id, and may then learn from this teacher's signals only."
        )
        return
    yield (
        "A signal may stand in for a live teacher only where the teacher that scored also wrote"
        " the student's SFT data"
        " ([arXiv 2604.13010](https://arxiv.org/abs/2604.13010), theorem 3.8)."
    )
    yield f"Who wrote that data: **{plain(said)}**."
    yield (
        "*Made* is what the trainer that did the SFT wrote into the student's stamp; *asserted* is"
        " what a person wrote there, and nothing proves it."
    )


def _lineage(facts: CardFacts) -> Iterator[str]:
    links = facts.artifact.document.lineage
    if not links:
        yield "It came from no other artifact."
        return
    yield "It came from these artifacts, as it says itself:"
    yield ""
    rows = [(code(link.kind), digest(link.digest)) for link in links[:16]]
    yield from table(("kind", "id"), rows)
    if len(links) > len(rows):
        yield ""
        yield f"and {len(links) - len(rows)} more."
