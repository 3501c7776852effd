"""What a card tells people to type is what can be typed."""

import re
import shutil
from pathlib import Path

import click
import duckdb
import pytest

from lopd_cli import store, training
from lopd_store.hub.names import HubName
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.rendering import render
from tests.publishing.card_facts import blocks_in, commands_in, facts_of
from tests.train.signals_made import Made, make_signals

KINDS = ("signal", "rollouts", "sft")
GROUPS = {"lopd-store": store.main, "lopd-train": training.commands}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("signals"), shard_tokens=200)


def blocks(facts: CardFacts, language: str) -> list[str]:
    return blocks_in(render(None, facts, license=None), language)


def duckdbs(facts: CardFacts) -> list[str]:
    """The queries that a card gives to DuckDB's own command."""
    commands = commands_in(render(None, facts, license=None))
    return [words[1] for program, *words in commands if program == "duckdb"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_is_one_that_the_command_line_takes(made: Made, kind: str) -> None:
    card = render(None, facts_of(made, kind, signed_by=("ab" * 32,)), license=None)
    found = list(commands_in(card))
    assert len(found) > 4
    for program, name, *words in found:
        if program == "duckdb":
            continue
        group = GROUPS[program]
        assert isinstance(group, click.Group)
        command = group.get_command(click.Context(group), name)
        assert command is not None
        command.make_context(name, words).close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_the_artifact_is_read_back_as_it(made: Made, kind: str) -> None:
    facts = facts_of(made, kind)
    card = render(None, facts, license=None)
    names = {HubName.parse(one) for one in re.findall(r"org/name/default/train@[\w.:@-]+\w", card)}
    assert names == {
        HubName(repo="org/name", config="default", split="train", revision="v1", digest=pin)
        for pin in (None, facts.artifact.id)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_python_is_python(made: Made, kind: str) -> None:
    (block,) = blocks(facts_of(made, kind), "python")
    compile(block, "card", "exec")


def test_duckdb_answers_the_query_from_the_files_as_they_lie(made: Made, tmp_path: Path) -> None:
    facts = facts_of(made)
    for number, shard in enumerate(facts.artifact.shards):
        to = tmp_path / facts.place.shard(number, shard.digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made.store.blobs.path(shard.digest), to)
    (query,) = duckdbs(facts)
    here = query.replace("hf://datasets/org/name@v1", str(tmp_path))
    assert here != query
    with duckdb.connect() as connection:
        found = connection.execute(here).fetchone()
    assert found == (facts.statistics.rows, facts.statistics.tokens)
