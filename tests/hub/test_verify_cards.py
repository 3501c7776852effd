"""A card whose globs show other rows than the artifact's is found from a distance."""

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.cli.runner import kinds
from tests.hub.clients import Client
from tests.hub.published import files_of
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
    "all files": (card().replace(b"train-*", b"*"), OTHER),
    "one file": (card().replace(b"train-*", b"train-00000-*"), OTHER),
    "ten thousand": (card().replace(USUAL, b"\n    - data/*/*a*a*a*" * 10_000), OTHER),
    "another folder": (card().replace(b"  data_files", b"  data_dir: lopd\n  data_files"), OTHER),
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
    extra = files[shards_of(files)[0]]
    changed: dict[str, bytes | None] = {
        **files,
        "README.md": given,
        "data/default/test-00000-000000000000.parquet": extra,
    }
    hub.commit("org/data", changed)
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == expected
    assert all("README.md" in str(problem) for problem in said.json["problems"])


def test_globs_in_other_words_that_mean_the_same_are_right(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    paths = "".join(f"\n    - {path}" for path in shards_of(files)).encode()
    same = card().replace(USUAL, paths)
    hub.commit("org/data", files | {"README.md": same})
    said = verify(client, "org/data")
    assert (said.code, said.json["problems"]) == (0, [])
