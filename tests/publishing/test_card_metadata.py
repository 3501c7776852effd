"""The card's YAML is what `datasets` reads, beside whatever others put there."""

import re
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from datasets import DatasetInfo, Features, IterableDataset, load_dataset
from datasets.utils.metadata import MetadataConfigs
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.documents.artifact import Column
from lopd_store.errors import FormatError, UsageError
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.rendering import render
from lopd_store.remote.front_matter import FrontMatter
from lopd_store.remote.layout import Place
from lopd_store.rows import logical
from tests.building.chain import rows_in
from tests.publishing.card_facts import facts_of, with_document
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("signals"), rows=30, masked=True, shard_tokens=300)


@pytest.fixture(scope="module")
def facts(made: Made) -> CardFacts:
    return facts_of(made)


def front(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def updated(yaml_text: str, facts: CardFacts) -> str:
    """The card that comes of one with this YAML."""
    return render(f"---\n{textwrap.dedent(yaml_text)}---\nmine\n", facts, license=None)


def put(folder: Path, facts: CardFacts) -> None:
    """The artifact's shards as they lie in a repository."""
    for number, shard in enumerate(facts.artifact.shards):
        to = folder / facts.place.shard(number, shard.digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(facts.artifact.store.blobs.path(shard.digest), to)


def test_datasets_reads_the_rows_with_the_columns_that_the_card_says(
    made: Made, tmp_path: Path
) -> None:
    signal = facts_of(made)
    policy = facts_of(made, "rollouts", place=Place("policy", "test"))
    card = render(render(None, signal, license=None), policy, license=None)
    repository = tmp_path / "repository"
    for one in (signal, policy):
        put(repository, one)
    (repository / "README.md").write_text(card)

    cache = str(tmp_path / "cache")
    table = rows_in(made.store, "signal")
    rows = load_dataset(str(repository), split="train", cache_dir=cache)
    assert len(signal.artifact.shards) > 1
    assert rows.to_dict() == table.to_pydict()
    said = {one["config_name"]: one for one in front(card)["dataset_info"]}
    assert rows.features == Features._from_yaml_list(said["default"]["features"])
    assert said["default"]["download_size"] == sum(one.size for one in signal.artifact.shards)
    assert said["default"]["splits"][0]["num_examples"] == 30

    streamed = load_dataset(str(repository), "policy", split="test", streaming=True)
    assert isinstance(streamed, IterableDataset)
    wanted = rows_in(made.store, "rollouts").select(["sample_id", "rollout_logprobs"])
    assert [{k: row[k] for k in wanted.column_names} for row in streamed] == wanted.to_pylist()


def test_every_type_is_spelled_as_datasets_spells_it(facts: CardFacts) -> None:
    columns = [Column(name=f"column {text}", type=text).to_json() for text in logical.ARROW]
    card = render(None, with_document(facts, {"columns": columns}), license=None)
    said = front(card)["dataset_info"][0]["features"]
    wanted = logical.ARROW.items()
    assert (
        said
        == Features.from_arrow_schema(
            pa.schema([(f"column {text}", arrow) for text, arrow in wanted])
        )._to_yaml_list()
    )
    assert DatasetInfo._from_yaml_dict(front(card)["dataset_info"][0]).features is not None


OTHERS = """\
    # about this data
    annotations_creators:
    - machine-generated   # not by people
    tags: [math, lopd]
    pretty_name: "Mine: all of it"
    configs:
    - config_name: raw
      data_files: raw/*.parquet
      description: kept
    - config_name: text
      data_files: [a.csv, "b/*.csv"]
    - config_name: named
      data_files:
      - split: test
        path: [other/test.parquet, more/*.parquet]
    - config_name: folder
      data_dir: folder
    dataset_info:
      features:
      - name: text
        dtype: string
      config_name: raw
    # the end
    extra_gated_prompt: |
      # not a comment
      Agree?
"""


def test_fields_configs_and_comments_of_others_are_kept(facts: CardFacts) -> None:
    card = updated(OTHERS, facts)
    text, found = card.split("---\n")[1], front(card)
    for kept in (
        "# about this data\nannotations_creators:\n- machine-generated   # not by people\n",
        'pretty_name: "Mine: all of it"\n',
        "# the end\nextra_gated_prompt: |\n  # not a comment\n  Agree?\n",
    ):
        assert kept in text
    assert found["configs"] == [
        *front(f"---\n{textwrap.dedent(OTHERS)}---\n")["configs"],
        {
            "config_name": "default",
            "data_files": [{"split": "train", "path": "data/default/train-*.parquet"}],
        },
    ]
    assert found["tags"][:2] == ["math", "lopd"]
    assert found["tags"].count("lopd") == 1
    assert found["dataset_info"][0]["features"] == [{"name": "text", "dtype": "string"}]
    assert render(card, facts, license=None) == card


FOREIGN = [
    'data_files: "*.parquet"',
    "data_files: [a.parquet, b*]",
    "data_files: [{split: train, path: mine.parquet}]",
    "data_files: [{split: test, path: [data/default/test-*.parquet, more.parquet]}]",
    "data_files: [{split: train, path: data/default/train-*.parquet}, {split: no-split, path: a}]",
    "data_files: {train: a.parquet}",
    "data_files: 3",
    "data_dir: mine",
    "data_dir: mine\n  data_files: [{split: train, path: data/default/train-*.parquet}]",
]


@pytest.mark.parametrize("yaml_text", FOREIGN)
def test_a_config_with_files_of_others_is_left_to_them(facts: CardFacts, yaml_text: str) -> None:
    """Another config is kept as it is; in this one they would be read with our rows."""
    old = f"configs:\n- config_name: default\n  {yaml_text}\n"
    with pytest.raises(UsageError, match=r"push to a config of its own \(org/name/NAME\)"):
        updated(old, facts)
    elsewhere = front(updated(old, replace(facts, place=Place("own"))))["configs"]
    assert elsewhere[0] == yaml.safe_load(old)["configs"][0]
    assert elsewhere[1]["config_name"] == "own"


@pytest.mark.parametrize(
    "data_files", ["'*.csv'", "[a.parquet, b.jsonl]", "[{split: train, path: [rows.arrow]}]"]
)
def test_datasets_reads_no_shards_where_the_first_config_is_of_another_kind(
    facts: CardFacts, data_files: str
) -> None:
    there = replace(facts, place=Place("own"))
    first, later = f"config_name: first\n  data_files: {data_files}", "config_name: own"
    with pytest.raises(UsageError, match=r"files of Parquet in the first config.*of its own"):
        updated(f"configs:\n- {first}\n", there)
    assert updated(f"configs:\n- {later}\n- {first}\n", there)


@pytest.mark.parametrize(
    "line",
    ["filters: [[a, '==', b]]", "columns: [sample_id]", "features: []", "revision: main", "3: 4"],
)
def test_what_makes_datasets_load_other_rows_is_not_kept(facts: CardFacts, line: str) -> None:
    """In our config; what another one does is theirs."""
    old = f"configs:\n- config_name: default\n  {line}\n"
    name = line.partition(":")[0]
    with pytest.raises(FormatError, match=f"config default, found {name}: with these.*by hand"):
        updated(old, facts)
    elsewhere = front(updated(old, replace(facts, place=Place("own"))))["configs"]
    assert elsewhere[0] == yaml.safe_load(old)["configs"][0]


def test_what_others_say_that_it_is_for_is_kept(facts: CardFacts) -> None:
    assert front(render(None, facts, license=None))["task_categories"] == ["text-generation"]
    kept = "task_categories: [question-answering]   # theirs\n"
    assert kept in updated(kept, facts)


def test_a_list_written_in_another_way_keeps_its_bytes_while_its_values_hold(
    facts: CardFacts,
) -> None:
    first = render(None, facts, license="mit")
    tags = front(first)["tags"]
    block = "tags:\n" + "".join(f"  - {tag}\n" for tag in tags)
    assert block in first
    by_hand = first.replace(block, f"tags:   [{', '.join(tags)}]   # in a line\n")
    assert render(by_hand, facts, license=None) == by_hand


def test_the_size_category_counts_all_configs_and_splits(facts: CardFacts) -> None:
    for rows, category in (
        (0, "n<1K"),
        (969, "n<1K"),
        (970, "1K<n<10K"),
        (9_970, "10K<n<100K"),
        (99_970, "100K<n<1M"),
        (999_970, "1M<n<10M"),
        (10**12, "n>1T"),
    ):
        old = f"""\
            dataset_info:
            - config_name: other
              splits:
              - {{name: train, num_bytes: 1, num_examples: {rows}}}
            """
        assert front(updated(old, facts))["size_categories"] == [category]


def test_there_is_one_default_config_as_datasets_wants_it(made: Made) -> None:
    card = None
    for config, default in (("a", "a"), ("b", "a"), ("default", "default")):
        card = render(card, facts_of(made, place=Place(config)), license=None)
        configs = MetadataConfigs.from_dataset_card_data(front(card))
        assert configs.get_default_config_name() == default


def test_a_split_with_other_columns_goes_to_another_config(made: Made, facts: CardFacts) -> None:
    card = render(None, facts, license=None)
    rollouts = facts_of(made, "rollouts", place=Place("default", "test"))
    with pytest.raises(UsageError, match=r"found a difference in teacher_logprobs: push to anoth"):
        render(card, rollouts, license=None)
    assert render(card, replace(rollouts, place=Place("policy")), license=None)


def test_splits_of_one_config_add_up(made: Made, facts: CardFacts) -> None:
    test = facts_of(made, place=Place("default", "test"))
    card = render(render(None, facts, license=None), test, license=None)
    info = front(card)["dataset_info"][0]
    assert [one["name"] for one in info["splits"]] == ["train", "test"]
    assert info["download_size"] == 2 * facts.stored
    assert info["dataset_size"] == 2 * facts.statistics.expanded
    foreign = re.sub(r"<!-- lopd:about .* -->\n", "", card, count=1)
    assert "download_size" not in front(render(foreign, test, license=None))["dataset_info"][0]


@pytest.mark.parametrize("name", ["1e3", "0o17", "true", "null", "1.0", "2026-01-01", "0x1"])
def test_names_that_yaml_takes_for_something_else_are_quoted(made: Made, name: str) -> None:
    card = render(None, facts_of(made, place=Place(name, "1_0")), license=None)
    assert f'config_name: "{name}"' in card or f"config_name: '{name}'" in card
    assert front(card)["configs"][0] == {
        "config_name": name,
        "data_files": [{"split": "1_0", "path": f"data/{name}/1_0-*.parquet"}],
    }


REFUSED = {
    "no end": "---\na: b\n",
    "anchors": "---\na: &x [1]\nb: *x\n---\n",
    "merges": "---\na: {<<: {b: 1}}\n---\n",
    "tags of Python": "---\na: !!python/object/apply:os.system [ls]\n---\n",
    "a key twice": "---\na: 1\nb: 2\na: 3\n---\n",
    "a key twice inside": "---\na: {b: 1, b: 2}\n---\n",
    "a list": "---\n- a\n---\n",
    "flow at its top": "---\n{a: b}\n---\n",
    "a text": "---\njust text\n---\n",
    "a lone bracket": "---\na: [\n---\n",
    "a date that is none": "---\na: 2026-13-45\n---\n",
    "endless digits": f"---\na: {'9' * 5000}\n---\n",
    "too deep": f"---\na: {'[' * 2000}\n---\n",
    "a control character": "---\na: \x07\n---\n",
    "a byte order mark": "\ufeff---\na: 1\n---\n",
    "a blank line first": "\n---\na: 1\n---\n",
    "too long": f"---\na: {'x' * (1 << 20)}\n---\n",
    "a card too long": "x" * ((4 << 20) + 1),
    "configs that are a text": "---\nconfigs: all\n---\n",
    "a config that is a text": "---\nconfigs: [all]\n---\n",
    "our config twice": "---\nconfigs:\n- config_name: default\n- config_name: default\n---\n",
    "tags that are a text": "---\ntags: math\n---\n",
    "a count that is none": (
        "---\ndataset_info:\n- config_name: x\n  splits: [{name: a, num_examples: -1}]\n---\n"
    ),
}


@pytest.mark.parametrize("card", REFUSED.values(), ids=REFUSED.keys())
def test_yaml_that_is_not_plain_is_refused_with_what_to_do(facts: CardFacts, card: str) -> None:
    with pytest.raises(FormatError, match=r"(?s)^README\.md on the Hub: .*expected .*push again$"):
        render(card, facts, license=None)


@pytest.mark.parametrize(
    "card", ["", "\n\n", "---\n---\n", "----\n", "text\n---\nmore\n", "# x", "---\n# only\n---"]
)
def test_a_card_without_fields_gets_them(facts: CardFacts, card: str) -> None:
    made = render(card, facts, license=None)
    assert front(made)["configs"][0]["config_name"] == "default"
    assert render(made, facts, license=None) == made


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_yaml_is_refused_or_keeps_all_that_is_not_ours(
    facts: CardFacts, data: st.DataObject
) -> None:
    text = textwrap.dedent(OTHERS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 8))
        put_in = data.draw(st.text("-: \n#[]{}'\"|>,a0&*!?%@\t\r\u2028", max_size=4))
        text = text[:at] + put_in + text[at + cut :]
    try:
        card = render(f"---\n{text}\n---\nmine\n", facts, license=None)
    except (FormatError, UsageError):
        return
    assert render(card, facts, license=None) == card
    old, new = FrontMatter.parse(text + "\n").fields, front(card)
    ours = {
        "pretty_name",
        "tags",
        "task_categories",
        "size_categories",
        "configs",
        "dataset_info",
    }
    assert {key: new[key] for key in old if key not in ours} == {
        key: value for key, value in old.items() if key not in ours
    }
    assert new.keys() == old.keys() | ours
