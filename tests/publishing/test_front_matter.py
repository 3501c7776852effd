"""YAML of strangers at the top of a card: one meaning to all readers, bounded in what it costs."""

import time
from contextlib import suppress
from dataclasses import replace

import pytest

from lopd_store.errors import FormatError
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.rendering import render
from lopd_store.remote.front_matter import MAX_YAML_BYTES, FrontMatter
from lopd_store.remote.layout import Place
from tests.publishing.card_facts import facts_of
from tests.train.signals_made import make_signals


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    return facts_of(make_signals(tmp_path_factory.mktemp("signals"), rows=30))


def updated(yaml_text: str, facts: CardFacts) -> str:
    """The card that comes of one with this YAML."""
    return render(f"---\n{yaml_text}---\nmine\n", facts, license=None)


def test_a_number_that_no_count_is_is_refused(facts: CardFacts) -> None:
    """Python does not even print it."""
    for number in (
        "0x" + "f" * 5000,
        "1" + "0" * 30,
        str(1 << 63),
        "-" + str(1 << 63),
        "1:" * 40 + "1",
    ):
        split = f"  - name: a\n    num_examples: {number}\n"
        old = f"dataset_info:\n- config_name: other\n  splits:\n{split}"
        with pytest.raises(FormatError, match="numbers of at most 64 bits, found more in line 6"):
            updated(old, facts)


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\r"])
def test_yaml_with_lines_that_end_otherwise_is_refused(facts: CardFacts, sign: str) -> None:
    """YAML breaks a line there, readers of the fences do not, or the other way round."""
    with pytest.raises(FormatError, match=r"expected lines that end in \\n, found"):
        updated(f"license: mit{sign}tags: [x]\n", facts)
    assert render(f"body{sign}\n", facts, license=None).endswith("-->\n")


@pytest.mark.parametrize(
    "card", ["--- \nlicense: mit\n---\n", "---\rlicense: mit\r---\r", " ---\n"]
)
def test_yaml_that_only_some_readers_see_is_refused(facts: CardFacts, card: str) -> None:
    with pytest.raises(FormatError, match="expected --- alone on the first line"):
        render(card, facts, license=None)


def test_a_card_that_could_not_be_read_again_is_not_made(facts: CardFacts) -> None:
    with pytest.raises(FormatError, match="its card to have at most 4,194,304 bytes with what is"):
        render("a" * (4 << 20), facts, license=None)
    keys = "".join(f"k{number}: {'a' * 90}\n" for number in range(1345))
    with pytest.raises(FormatError, match="its YAML to have at most 131,072 bytes with what is"):
        updated(keys, facts)


COSTLY = {
    "comments": "x:\n" + "#\n" * 64_000 + " - a\n",
    "blanks": "x: |\n" + " \n" * 64_000 + " a\n",
    "a flow": "x: [" + "y," * 64_000 + "]\n",
    "depths": "x: [" + ("[" * 28 + "]" * 28 + ",") * 2_200 + "]\n",
    "digits of 60": "x: " + "1:" * 64_000 + "1\n",
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY)
def test_yaml_within_its_bound_takes_seconds_at_worst(text: str) -> None:
    before = time.process_time()
    with suppress(FormatError):
        FrontMatter.parse(text)
    assert time.process_time() - before < 10


def test_a_hundred_configs_fit(facts: CardFacts) -> None:
    cards = [render(None, facts, license=None)]
    for number in range(4):
        there = Place(f"a-config-of-some-length-{number}")
        cards.append(render(cards[-1], replace(facts, place=there), license=None))
    sizes = [len(card.split("---\n")[1]) for card in cards]
    assert sizes[-1] - sizes[-2] < MAX_YAML_BYTES / 100
