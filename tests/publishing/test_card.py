"""A card says what its artifact says, keeps what people wrote, and never what a stranger wants."""

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from lopd_store.errors import FormatError, UsageError
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.histogram import draw
from lopd_store.publishing.card.rendering import render, stated_license
from lopd_store.remote.layout import Place
from tests.publishing.card_facts import facts_of, with_document, with_identity
from tests.train.signals_made import Made, make_signals

HOSTILE = [
    "`| x | y |`",
    "a | forged | cell",
    "<img src=x onerror=alert(1)>",
    "<!-- lopd:end default/train -->",
    "--> <script>alert(1)</script>",
    "[click](https://evil.example)",
    "![](https://evil.example/x.png)",
    "https://evil.example www.evil.example a@evil.example",
    "**bold** _x_ ~~y~~ \\` $z$",
    "&lt;b&gt;",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("signals"), rows=30, precision="2^-12")


@pytest.fixture(scope="module")
def facts(made: Made) -> CardFacts:
    return facts_of(made)


def fresh(facts: CardFacts) -> str:
    return render(None, facts, license="apache-2.0")


def test_a_card_says_who_made_the_rows_by_name_revision_and_digest(facts: CardFacts) -> None:
    identity = facts.artifact.identities[0]
    teacher = identity.json["models"]["teacher"]
    source = {"repo": "Qwen/Qwen3-8B", "commit": "b968826d9c46dd6066d109eabc6255188de91218"}
    models = {**identity.json["models"], "teacher": {**teacher, "source": source}}
    card = fresh(with_identity(facts, {"models": models}))

    assert identity.tokenizer is not None
    for expected in (
        "`Qwen/Qwen3-8B` at commit `b968826d9c46dd6066d109eabc6255188de91218`",
        teacher["weights_digest"],
        teacher["config_digest"],
        models["policy"]["weights_digest"],
        str(identity.tokenizer.core_digest),
        "--teacher Qwen/Qwen3-8B@b968826d9c46dd6066d109eabc6255188de91218",
    ):
        assert expected in card


def test_a_card_says_what_came_out_and_how(facts: CardFacts, made: Made) -> None:
    card = fresh(facts)
    for expected in (
        str(made.signal),
        str(made.rollouts),
        str(facts.artifact.document.content_digest),
        "within `2^-12` nats",
        "300 tokens together",
        f"Version `v1`, id `{made.signal}`.",
        "| [`default`](#default-split-train) | `train` | signal | 30 |",
        "temperature `1`",
        "| `teacher_logprobs` | `list<float32>` | nats |",
        "![Histogram of log-probs in nats](lopd/default/train/histogram.svg)",
        "lopd-store verify org/name/default/train@v1\n",
        f"org/name/default/train@v1@{made.signal}",
        "'hf://datasets/org/name@v1/data/default/train-*.parquet'",
        f"bound `{facts.noises[0].bound}`",
        "unknown&#58; the policy carries no stamp",
        "It is not signed",
    ):
        assert expected in card


def test_a_card_tells_what_is_asserted_and_what_nobody_knows(made: Made) -> None:
    facts = facts_of(made)
    first = facts.artifact.identities[0].json
    policy = first["models"].pop("policy")
    imported = {
        "digest": str(made.sft),
        "retokenised": True,
        "tokenizer": "asserted",
        "read_as": "jsonl",
        "asserted": {"models": {"policy": policy}},
        "unknown": ["scoring", "teacher"],
    }
    changes = {"models": {}, "imported": imported, "signals": [], "scorings": {}}
    card = fresh(with_identity(facts, changes))
    weights = policy["weights_digest"]
    assert f"**asserted, not proved:** weights `{weights[7:19]}`" in card
    assert f"| asserted `policy` | weights `{weights}`, config" in card
    assert "| tokenizer | **asserted, not proved:** core" in card
    assert "| teacher, scored | **UNKNOWN** |" in card
    assert "ids were made again from text" in card


def test_the_keys_that_signed_are_named(made: Made) -> None:
    card = fresh(facts_of(made, signed_by=("ab" * 32,)))
    assert f"Signed with `{'ab' * 32}`" in card
    assert "--key signer.pub" in card


def test_without_a_tag_names_end_in_the_id_and_the_section_says_why(made: Made) -> None:
    facts = facts_of(made, version=None)
    card = fresh(facts)
    assert "It was pushed without a version: it is what the main branch has" in card
    assert "`load_dataset` and DuckDB read the main branch as it is now" in card
    assert "revision=" not in card.replace("`revision=`", "")
    assert "| main |" in card
    assert f"lopd-store verify org/name/default/train@{made.signal}\n" in card
    assert "@v1" not in card


@pytest.mark.parametrize("kind", ["signal", "rollouts", "sft"])
def test_each_kind_says_what_can_be_done_with_it(made: Made, kind: str) -> None:
    commands = {"signal": "lopd-train opd", "rollouts": "lopd-store build", "sft": "lopd-train sft"}
    card = fresh(facts_of(made, kind))
    assert {one for one, command in commands.items() if command in card} == {kind}


@pytest.mark.parametrize("kind", ["signal", "rollouts", "sft"])
def test_rendering_again_changes_nothing(made: Made, kind: str) -> None:
    facts = facts_of(made, kind)
    card = fresh(facts)
    assert render(card, facts, license=None) == card
    assert render(card, facts, license="apache-2.0") == card
    assert fresh(facts_of(made, kind)) == card


HAND = """\
---
# kept: a comment
language:
- en   # flow and style of others are kept
task_ids: [language-modeling]   
license: mit
---
# My data

Written by hand,  with  odd   blanks.\t
"""  # noqa: W291 - bytes that have to come back


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_what_people_wrote_keeps_its_bytes(facts: CardFacts, newline: str) -> None:
    old = HAND.replace("\n", newline)
    card = render(old, facts, license=None)
    front, body = old.split(f"---{newline}")[1:]
    assert front in card
    assert outside(card) == f"{body}\n"  # a blank line before the section
    between = f"<!-- lopd:end -->\n{newline}Between.{newline}"
    later = card.replace("<!-- lopd:end -->\n", between) + f"{newline}After.{newline}"
    newer = render(later, replace(facts, version="v2"), license=None)
    assert newer == later.replace("@v1", "@v2").replace("`v1`", "`v2`").replace('"v1"', '"v2"')
    assert outside(newer) == outside(later)


def outside(card: str) -> str:
    """A card's body without the parts of ours."""
    part = r"^<!-- lopd:begin(.*) -->\n(?s:.*?)^<!-- lopd:end\1 -->\n"
    body = re.split(r"^---\r?\n", card, maxsplit=2, flags=re.MULTILINE)[2]
    return re.sub(part, "", body, flags=re.MULTILINE)


def test_each_place_has_its_section_and_others_stay(made: Made) -> None:
    one = fresh(facts_of(made))
    two = render(one, facts_of(made, "rollouts", place=Place("policy", "test")), license=None)
    assert two.count("<!-- lopd:begin ") == two.count("<!-- lopd:end ") == 3
    section = one.partition("<!-- lopd:begin default/train -->")[2]
    assert section in two
    again = render(two, facts_of(made, version="v9"), license=None)
    assert (
        again.partition("<!-- lopd:begin policy/test -->")[2]
        == (two.partition("<!-- lopd:begin policy/test -->")[2])
    )


def test_a_section_is_short_and_folds_its_digests_away(facts: CardFacts) -> None:
    section = fresh(facts).partition("<!-- lopd:begin default/train -->\n")[2]
    shown, folded, _ = re.split(r"^</?details>", section, flags=re.MULTILINE)
    assert len(shown.splitlines()) <= 95
    assert len(re.findall(r"sha256:[0-9a-f]{64}", shown)) <= 3
    assert len(re.findall(r"sha256:[0-9a-f]{64}", folded)) > 8
    order = [shown.index(f"\n### {word} ") for word in ("Load", "Verify", "Who made", "Rows of")]
    assert order == sorted(order)


def test_made_and_asserted_are_explained_where_such_a_word_stands(facts: CardFacts) -> None:
    assert "*made*" not in fresh(facts)
    assert "*asserted*" not in fresh(facts)


BROKEN = {
    "no end": "<!-- lopd:begin default/train -->\n",
    "no beginning": "<!-- lopd:end default/train -->\n",
    "nested": "<!-- lopd:begin a/b -->\n<!-- lopd:begin c/d -->\n<!-- lopd:end c/d -->\n",
    "crossed": "<!-- lopd:begin a/b -->\n<!-- lopd:end c/d -->\n",
    "twice": "<!-- lopd:begin a/b -->\n<!-- lopd:end a/b -->\n" * 2,
    "lists twice": "<!-- lopd:begin -->\n<!-- lopd:end -->\n" * 2,
    "a list without an end": "<!-- lopd:begin -->\n",
    "a section in the list": (
        "<!-- lopd:begin -->\n<!-- lopd:begin a/b -->\n<!-- lopd:end a/b -->\n<!-- lopd:end -->\n"
    ),
    "no place": "<!-- lopd:begin ../x-y -->\n<!-- lopd:end ../x-y -->\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_markers_that_do_not_pair_are_refused(facts: CardFacts, text: str) -> None:
    with pytest.raises(FormatError, match=r"README\.md on the Hub: .*and push again"):
        render(f"# Mine\n{text}", facts, license=None)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_text_stays_text(facts: CardFacts, text: str) -> None:
    """A Markdown reader finds the same parts around it, and in them the text, to the letter."""
    parts, words = read(fresh(hostile(facts, "Plain")))
    found, shown = read(fresh(hostile(facts, text)))
    assert found == parts
    assert shown.replace(text, "Plain") == words


def test_what_hides_or_never_ends_is_spelled_out_and_cut(facts: CardFacts) -> None:
    card = fresh(hostile(facts, "a\u202eb\u200bc" + "x" * 1000))
    body = card.split("---\n", 2)[2]
    assert "a&#92;u202eb&#92;u200bcxxx" in body
    assert "\u202e" not in body
    assert "x" * 300 not in body


def hostile(facts: CardFacts, text: str) -> CardFacts:
    """A stranger's text in every place of documents that takes free text."""
    first: dict[str, Any] = facts.artifact.identities[0].json
    scoring = {
        **first["scorings"]["teacher"],
        "versions": {text: text, "arithmetic": text},
        "dtype": text,
        "quantization": text,
        "device": text,
        "logprobs_mode": text,
        "settings": {text: text},
    }
    document = facts.artifact.document.json
    column = {"name": text[:255], "type": "string"}
    return with_document(
        with_identity(facts, {"scorings": {**first["scorings"], "teacher": scoring}}),
        {"columns": [*document["columns"], column]},
    )


def read(card: str) -> tuple[list[tuple[str, str]], str]:
    """What a card is to a Markdown reader: its parts, code aside, and its words."""
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = markdown.parse(card.split("---\n", 2)[2])
    leaves = [part for token in tokens for part in (token, *(token.children or ()))]
    words = [part.content for part in leaves if part.type in {"text", "code_inline"}]
    parts = [
        (part.type, part.content if part.type.startswith("html") else str(part.attrs))
        for part in leaves
        if part.type not in {"text", "code_inline", "inline"}
        and part.content not in {"<code>", "</code>"}
    ]
    return parts, re.sub(r"sha256:[0-9a-f]{64}", "a digest", "".join(words))


def test_a_hostile_name_does_not_get_into_commands(facts: CardFacts) -> None:
    for repo, version in (("org/name; rm -rf", "v1"), ("org/name", '`x`"'), ("no-org", "v1")):
        with pytest.raises(UsageError, match="expected org/name"):
            replace(facts, repo=repo, version=version)


def test_statistics_of_other_rows_are_refused(facts: CardFacts) -> None:
    with pytest.raises(FormatError, match="as the artifact says, found"):
        replace(facts, statistics=replace(facts.statistics, rows=29))


def test_the_license_is_the_one_that_is_stated_and_none_is_invented(facts: CardFacts) -> None:
    assert "license" not in render(None, facts, license=None).partition("\n---\n")[0]
    assert stated_license(fresh(facts)) == "apache-2.0"
    assert stated_license(HAND) == "mit"
    assert stated_license(render(HAND, facts, license=None)) == "mit"
    assert stated_license(render(HAND, facts, license="other")) == "other"
    assert stated_license("# no YAML\n") is None
    with pytest.raises(UsageError, match="expected a license such as"):
        render(None, facts, license="a b\nc: d")


def test_the_picture_has_a_bar_for_every_bin_that_is_not_empty(facts: CardFacts) -> None:
    picture = draw(facts.statistics)
    assert picture is not None
    assert picture == draw(facts.statistics)
    root = ET.fromstring(picture)  # noqa: S314 - our own
    bars = [one for one in root if one.get("class") == "bar" and one.tag.endswith("rect")]
    assert len(bars) == sum(count > 0 for count in facts.statistics.logprobs[0].bins)
    assert all(float(bar.get("height", 0)) > 0 for bar in bars)
    assert "nats" in "".join(root.itertext())


def test_without_log_probs_there_is_no_picture(facts: CardFacts) -> None:
    bare = replace(facts, statistics=replace(facts.statistics, logprobs=(), advantage=None))
    assert draw(bare.statistics) is None
    assert "histogram.svg" not in fresh(bare)
