"""At the top of a card stands a list of the artifacts in it, made of what their sections say."""

import itertools
import json
import re
import time

import pytest
from markdown_it import MarkdownIt

from lopd_store.errors import FormatError
from lopd_store.publishing.card.about import About
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.rendering import render
from lopd_store.remote.layout import Place
from tests.publishing.card_facts import facts_of
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("signals"), rows=30)


@pytest.fixture(scope="module")
def facts(made: Made) -> CardFacts:
    return facts_of(made)


def fresh(facts: CardFacts) -> str:
    return render(None, facts, license=None)


LISTED = """\
<!-- lopd:begin -->
| config | split | kind | rows | tokens | version | teacher |
| --- | --- | --- | --- | --- | --- | --- |
"""


def listed(card: str) -> list[str]:
    """The rows of the list of artifacts, which a card has once."""
    assert card.count(LISTED) == card.count("<!-- lopd:begin -->") == 1
    return card.partition(LISTED)[2].partition("\n\n")[0].splitlines()


def test_the_list_names_every_section_and_its_heading(made: Made) -> None:
    card = None
    for ref, place in (
        ("signal", Place()),
        ("rollouts", Place("v1.0-x", "test")),
        ("sft", Place("V10-X", "test")),
    ):
        card = render(card, facts_of(made, ref, place=place), license=None)
    assert card is not None
    tokens = f"{facts_of(made).statistics.tokens:,}"
    teacher = made.teacher.model.weights_digest.short
    default, numbers = "[`default`](#default-split-train)", f"30 | {tokens} | `v1`"
    assert listed(card) == [
        f"| {default} | `train` | signal | {numbers} | `{teacher}` |",
        f"| [`v1.0-x`](#v10-x-split-test) | `test` | rollouts | {numbers} |  |",
        f"| [`V10-X`](#v10-x-split-test-1) | `test` | sft | {numbers} | `{teacher}` |",
    ]
    tokens_of_body = MarkdownIt().parse(card.split("---\n", 2)[2])
    headings = [
        after.content
        for one, after in itertools.pairwise(tokens_of_body)
        if one.type == "heading_open"
    ]
    assert len(set(headings)) == len(headings) == 1 + 3 * 5


def test_the_list_stands_below_the_title_and_stays_where_somebody_puts_it(
    facts: CardFacts,
) -> None:
    card = render("\n# Mine\nText.\n", facts, license=None)
    assert "---\n\n# Mine\n<!-- lopd:begin -->\n" in card
    assert (
        render("Text.\n", facts, license=None)
        .partition("\n---\n")[2]
        .startswith("<!-- lopd:begin -->\n")
    )
    start, stop = card.index("<!-- lopd:begin -->"), card.index("Text.")
    moved = card[:start] + card[stop:] + card[start:stop]
    assert render(moved, facts, license=None) == moved


@pytest.mark.parametrize(
    "line",
    [
        "",
        "<!-- lopd:about -->\n",
        "<!-- lopd:about {} -->\n",
        "<!-- lopd:about [[[[ -->\n",
        '<!-- lopd:about {"kind": "x"} -->\n',
        f"<!-- lopd:about {'[' * 100_000} -->\n",
    ],
)
def test_a_line_about_an_artifact_that_somebody_spoiled_says_nothing(
    made: Made, facts: CardFacts, line: str
) -> None:
    both = render(fresh(facts), facts_of(made, place=Place("b")), license=None)
    spoiled = re.sub(r"<!-- lopd:about .* -->\n", lambda _: line, both, count=1)
    again = render(spoiled, facts_of(made, place=Place("b")), license=None)
    assert listed(again)[0] == "| [`default`](#default-split-train) | `train` |  |  |  |  |  |"
    assert listed(again)[1] == listed(both)[1]


def test_a_forged_line_about_an_artifact_stays_text(made: Made, facts: CardFacts) -> None:
    both = render(fresh(facts), facts_of(made, place=Place("b")), license=None)
    mark = "a | b --> <script> [x](y)"
    forged = json.dumps(mark).replace("<", "\\u003c").replace(">", "\\u003e")
    again = render(both.replace('"v1"}', f"{forged}}}", 1), facts_of(made), license=None)
    assert render(again, facts_of(made), license=None) == again
    spoiled = both.replace('"version": "v1"', f'"version": {forged}', 1)
    row = listed(render(spoiled, facts_of(made, place=Place("b")), license=None))[0]
    assert row.count("|") == 8
    assert "<script>" not in row


def test_what_a_line_says_comes_back_and_does_not_end_the_comment() -> None:
    name = 'a --> b <!-- "c" --!> \u2028 \n é'
    about = About(kind="sft", rows=1, tokens=2, stored=3, version=None, teacher=name)
    assert About.parse(about.encode()) == about
    assert not set("<>\n\u2028") & set(about.encode())


def test_a_card_of_more_parts_than_anybody_has_is_refused_at_once(facts: CardFacts) -> None:
    pairs = [f"<!-- lopd:begin a{n}/b -->\n<!-- lopd:end a{n}/b -->\n" for n in range(60_000)]
    before = time.process_time()
    with pytest.raises(FormatError, match="at most 1000 parts between markers"):
        render("".join(pairs), facts, license=None)
    assert time.process_time() - before < 5
    assert render("".join(pairs[:900]), facts, license=None)
