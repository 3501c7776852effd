"""All digests of an artifact, in full, folded away: for machines and for careful people."""

from collections.abc import Iterator
from typing import Final

from lopd_store.documents.identity import Identity, ModelIdentity
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import code, digest, folded, table

_MOST_IDENTITIES: Final = 8
_MOST_LINKS: Final = 16


def digests(facts: CardFacts) -> Iterator[str]:
    """Lines: a table that opens when somebody clicks on it."""
    left = len(facts.artifact.document.lineage) - _MOST_LINKS
    more = ["", f"It was made of {left} more."] if left > 0 else []
    folder = facts.place.folder
    return folded(
        "Digests in full",
        [
            *table(("", ""), _all(facts)),
            *more,
            "",
            f"The documents that they name are in [`{folder}`](./{folder}).",
        ],
    )


def _all(facts: CardFacts) -> Iterator[tuple[str, str]]:
    artifact = facts.artifact
    yield "values, however stored", digest(artifact.document.content_digest)
    several = len(artifact.identities) > 1
    for number, identity in enumerate(artifact.identities[:_MOST_IDENTITIES], start=1):
        for what, found in _identity(identity):
            yield f"{what}, {number}" if several else what, found
    for link in artifact.document.lineage[:_MOST_LINKS]:
        yield f"made of {code(link.kind)}", digest(link.digest)


def _identity(identity: Identity) -> Iterator[tuple[str, str]]:
    yield "identity document", digest(identity.digest)
    asserted = identity.imported.asserted.models if identity.imported else {}
    for words, models in (("", identity.models), ("asserted ", asserted)):
        for role, model in sorted(models.items(), reverse=True):
            yield f"{words}{code(role)}", _model(model)
    if found := identity.tokenizer:
        template = found.chat_template_digest
        yield (
            "tokenizer",
            (
                f"core {digest(found.core_digest)}, vocabulary {digest(found.vocab_digest)}"
                f"{f', chat template {digest(template)}' if template else ''}"
            ),
        )
    if identity.prompts:
        yield "prompts", digest(identity.prompts.digest)
    if identity.imported:
        yield "imported file", digest(identity.imported.digest)


def _model(model: ModelIdentity) -> str:
    named = {
        "weights": model.weights_digest,
        "config": model.config_digest,
        "LoRA adapter": model.adapter.digest if model.adapter else None,
        "asserted to be": model.asserted_same_as,
    }
    return ", ".join(f"{what} {digest(of)}" for what, of in named.items() if of)
