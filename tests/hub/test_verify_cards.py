"""A card whose globs show other rows than the artifact's is found from a distance."""

import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, List, Value

from lopd_store.store import Store
from lopd_store.verify.globs import selects
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.cli.runner import kinds
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.scripts import shown
from tests.hub.verifying import card, shards_of, verify
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]


@pytest.fixture
def files(signal: Store) -> dict[str, bytes]:
    return files_of(signal.root, "signal") | {"README.md": card()}


USUAL = b" data/default/train-*.parquet"
OTHER, DAMAGED = (3, {"card-globs"}), (5, {"format"})
CARDS = {
    "no card": (None, (4, {"not-found"})),
    "no YAML": (b"# rows\n", OTHER),
    "another split": (card("default/test"), OTHER),
    "ten thousand": (card().replace(USUAL, b"\n    - data/*/*a*a*" * 2_000), OTHER),
    "broken YAML": (b"---\nconfigs: [\n---\n", DAMAGED),
    "an alias": (b"---\na: &a [1]\nb: *a\n---\n", DAMAGED),
    "another encoding": (card().replace(b"# rows", b"\xff"), (5, {"card"})),
}


@pytest.mark.parametrize(("given", "expected"), CARDS.values(), ids=CARDS)
def test_a_card_that_shows_other_rows_is_a_problem(
    hub: Hub,
    client: Client,
    files: dict[str, bytes],
    given: bytes | None,
    expected: tuple[int, set[str]],
) -> None:
    hub.commit("org/data", {**files, "README.md": given})
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == expected
    assert all("README.md" in str(problem) for problem in said.json["problems"])


EVIL = "data/other/train-00000-000000000000.parquet"
STANDALONE = (
    b"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: "
    + EVIL.encode()
    + b"\n"
)
CONFIG = b"- config_name: default\n"


@dataclass(frozen=True)
class Lie:
    """A card that is not what it should be.

    Attributes:
        old: in an honest card; `SHARD0`, `SHARD1` are paths of shards.
        new: what stands there instead.
        more: files beside it.
    """

    old: bytes
    new: bytes
    more: tuple[tuple[str, bytes | None], ...] = ()


def also(glob: bytes) -> Lie:
    return Lie(USUAL, b"\n    -%b\n    - %b" % (USUAL, glob))


def keyed(line: bytes) -> Lie:
    return Lie(CONFIG, CONFIG + b"  " + line + b"\n")


BEFORE = b"- config_name: first\n  data_files: rows.csv\n"
LIES = {
    "a file in place of the card": Lie(b"", b"", ((".huggingface.yaml", STANDALONE),)),
    "filters": keyed(b"filters: [[sample_id, '==', nobody]]"),
    "columns": keyed(b"columns: [sample_id]"),
    "other features": keyed(b"features: [{name: sample_id, dtype: string}]"),
    "another folder": keyed(b"data_dir: lopd"),
    "the config twice": Lie(USUAL, USUAL + b"\n%b  data_files: %b" % (CONFIG, EVIL.encode())),
    "any folder": Lie(USUAL, b" data/**/train-*.parquet"),
    "any folder, in other words": Lie(USUAL, b" data/*/train-*.parquet"),
    "all files": Lie(USUAL, b" data/default/*", (("data/default/__x.parquet", None),)),
    "one of its files": Lie(USUAL, b" SHARD0"),
    "a shard twice": also(b"SHARD0"),
    "all of them twice": also(USUAL[1:]),
    "another order": Lie(USUAL, b"\n    - SHARD1\n    - SHARD0"),
    "a URL": also(b'"hf://datasets/org/evil/%b"' % EVIL.encode()),
    "an archive": also(b'"zip://*::hf://datasets/org/evil/rows.zip"'),
    "a way out of the folder": also(b"data/default/../other/train-00000-000000000000.parquet"),
    "two slashes": also(b"data//other/train-00000-000000000000.parquet"),
    "a set": also(b'"data/[o]ther/train-00000-000000000000.parquet"'),
    "a question mark": also(b'"data/othe?/train-00000-000000000000.parquet"'),
    "an absolute path": also(b"/data/other/train-00000-000000000000.parquet"),
    "one that selects nothing": also(b"data/nobody/*.parquet"),
    "one file that is not there": also(b"data/nobody/train.parquet"),
    "the split twice": Lie(USUAL, USUAL + b"\n  - split: train\n    path:" + USUAL),
    "another case": Lie(USUAL, b" data/Default/train-*.parquet"),
    "a first config of another kind": Lie(CONFIG, BEFORE + CONFIG, (("rows.csv", b"a\n1\n"),)),
}
HONEST = {
    "as it is pushed": Lie(b"", b""),
    "each path in order": Lie(USUAL, b"\n    - SHARD0\n    - SHARD1"),
    "other configs of Parquet": Lie(
        CONFIG,
        b"- config_name: first\n  data_files: [data/oth*/*]\n"
        b"- config_name: Default\n  data_files:\n  - {split: train, path: data/other/*.parquet}\n"
        + CONFIG,
    ),
    "the default": keyed(b"default: true"),
    "a description": keyed(b"description: rows"),
}
BOTH = """
    from datasets import load_dataset
    from lopd_store.hub import HubName
    from lopd_store.verify.depth import Depth
    from lopd_store.verify.remote import verify_remote
    for name in json.loads(sys.argv[1]):
        report, _ = verify_remote(HubName.parse(name), seen=None, depth=Depth())
        try: rows = load_dataset(name, "default", split="train").to_list()
        except Exception as error: rows = str(error)
        show([sorted({problem.kind for problem in report.problems}), rows])
"""


def evil(files: dict[str, bytes]) -> bytes:
    """A shard of the same columns with rows of a stranger's."""
    table = pq.read_table(io.BytesIO(files[shards_of(files)[0]]))
    at = table.column_names.index("sample_id")
    column = pa.array(["evil"] * len(table), table.schema.field(at).type)
    buffer = io.BytesIO()
    pq.write_table(table.set_column(at, table.schema.field(at), column), buffer)
    return buffer.getvalue()


def repository(files: dict[str, bytes], lie: Lie) -> dict[str, bytes | None]:
    text = card().replace(lie.old, lie.new, 1) if lie.old else card()
    for number, path in enumerate(shards_of(files)):
        text = text.replace(b"SHARD%d" % number, path.encode())
    other = evil(files)
    more = {path: other if data is None else data for path, data in lie.more}
    return {**files, EVIL: other, "README.md": text, **more}


def test_whoever_is_told_that_all_is_right_loads_the_artifacts_rows(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    """datasets itself says what each card means: other rows, or none at all, or these."""
    hub.commit("org/evil", {EVIL: evil(files)})
    cases = [*HONEST.items(), *LIES.items()]
    names = [f"org/case{number}" for number in range(len(cases))]
    for name, (_, lie) in zip(names, cases, strict=True):
        hub.commit(name, repository(files, lie))
    found = dict(zip([title for title, _ in cases], both(client, names), strict=True))
    rows = [row for path in shards_of(files) for row in read(files[path])]
    assert {title: found[title] for title in HONEST} == {title: ([], rows) for title in HONEST}
    assert {title: found[title][0] for title in LIES} == {title: ["card-globs"] for title in LIES}
    assert {title for title in LIES if found[title][1] == rows} == {
        "an archive",  # whose name has a wildcard, and that is not there
        "one that selects nothing",
    }


def both(client: Client, names: list[str]) -> list[tuple[list[str], Any]]:
    """What verify finds, and what datasets loads."""
    return [(told, rows) for told, rows in shown(client, BOTH, json.dumps(names))]


def read(shard: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        json.dumps(pq.read_table(io.BytesIO(shard)).to_pylist())
    )
    return rows


def test_a_card_that_makes_other_values_of_the_rows_is_a_problem(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    """datasets rounds log-probs to float16 without a word, where a card or an old file says so."""
    schema = pq.read_schema(io.BytesIO(files[shards_of(files)[0]]))
    features = Features.from_arrow_schema(schema)
    coarse = Features(features | {"teacher_logprobs": List(Value("float16"))})
    legacy = json.dumps({"default": {"features": coarse.to_dict()}}).encode()
    hub.commit("org/right", files | {"README.md": stating(features), "dataset_infos.json": legacy})
    hub.commit("org/coarse", files | {"README.md": stating(coarse)})
    hub.commit("org/legacy", files | {"dataset_infos.json": legacy})
    right, *others = both(client, ["org/right", "org/coarse", "org/legacy"])
    rows = [row for path in shards_of(files) for row in read(files[path])]
    assert right == ([], rows)
    for told, loaded in others:
        assert told == ["card-features"]
        assert [row["sample_id"] for row in loaded] == [row["sample_id"] for row in rows]


def stating(features: Features) -> bytes:
    info = {"dataset_info": [{"config_name": "default", "features": features._to_yaml_list()}]}
    return card().replace(b"configs:", yaml.safe_dump(info).encode() + b"configs:", 1)


def test_places_whose_names_differ_by_case_are_two(
    hub: Hub, client: Client, signal: Store, files: dict[str, bytes]
) -> None:
    other = files_of(signal.root, "signal", config="Default", split="Train")
    hub.commit("org/data", files | other | {"README.md": card("default/train", "Default/Train")})
    said = verify(client, "org/data")
    assert (said.code, len(said.json["artifacts"])) == (0, 2)
    hub.commit("org/data", {"README.md": card()})
    said = verify(client, "org/data")
    assert [problem["where"] for problem in said.json["problems"]] == [
        "README.md configs Default/Train"
    ]


@pytest.mark.parametrize(
    ("glob", "path", "wanted"),
    [
        ("data/*.parquet", "data/a.parquet", True),
        ("data/*.parquet", "data/b/a.parquet", False),
        ("data/*/a", "data/b/a", True),
        ("data/A", "data/a", False),
        ("*", "a", True),
        ("*", "a/b", False),
    ],
)
def test_a_star_stays_within_its_folder(glob: str, path: str, *, wanted: bool) -> None:
    assert selects(glob, path) is wanted
