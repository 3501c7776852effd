"""The card (README.md) of a repository that holds an artifact."""

from lopd_store.publishing.card import metadata
from lopd_store.publishing.card.about import About
from lopd_store.publishing.card.body import Body
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import plain
from lopd_store.publishing.card.sections import section
from lopd_store.remote import front_matter


def render(old: str | None, facts: CardFacts, *, license: str | None) -> str:  # noqa: A002 - the Hub's word
    """The card that describes the artifact at its place, too.

    The same facts give the same card, and rendering again changes nothing. What stands outside our
    markers in the body keeps its bytes; so do fields of the YAML that are not about the artifact.

    Args:
        old: the card that is there; None for none.
        facts: what is published.
        license: to be stated; None keeps the one that is there, if any is: none is invented.

    Raises:
        FormatError: a card whose YAML or markers are not what they should be, or which would be
            larger than the cards that are read.
        UsageError: no name of a license; a config that has files of others, or other columns.
    """
    front, text = front_matter.split(old or "")
    if not text.strip():
        text = _opening(facts)
    body, place, about = Body.parse(text), facts.place, About.of(facts)
    stored = {
        there.split: said.stored if said else None
        for there, said in body.sections.items()
        if there.config == place.config
    } | {place.split: about.stored}
    yaml = metadata.updated(front, facts, license=license, stored=stored)
    return front_matter.joined(yaml, body.having(place, section(facts), about))


def stated_license(card: str) -> str | None:
    """The license that a card states; None where it states none. Raises FormatError."""
    return metadata.stated_license(front_matter.split(card)[0])


def _opening(facts: CardFacts) -> str:
    title = plain(facts.repo.partition("/")[2])
    return (
        f"\n# {title}\n\n"
        "Data for on-policy distillation, as artifacts of lopd: Parquet files that say which models"
        " made them, and can be checked.\n"
        "Text outside the `lopd:begin` and `lopd:end` comments is yours: a push keeps it.\n\n"
        "<!-- lopd:begin -->\n<!-- lopd:end -->\n\n"
    )
