"""Some columns of an artifact: only they travel, and they are proven all the same."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import Artifact, load
from lopd_store.identity.model import Fingerprint
from lopd_store.rows.content import ContentDigest
from lopd_store.shards.writer import write_shards
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, publish_rollouts, random_rows
from tests.building.fixtures import models, origin, student, teacher
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.pulled import BYTES, assert_nothing_stays, damage, flipped, pulled, sent
from tests.hub_server import Fault, Hub

__all__ = ["models", "origin", "student", "teacher"]

ALWAYS = ["sample_id", "prompt_id", "prompt_ids", "response_ids", "teacher_logprobs"]
LONG = "response_text"  # 3 MB of noise that nobody asked for


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, student: Fingerprint, teacher: Fingerprint
) -> Artifact:
    """A signal of two shards in which most bytes are of one column."""
    store = Store.open(tmp_path_factory.mktemp("made") / "store", create=True, sync=no_sync)
    chance = np.random.default_rng(5)
    rows = random_rows(1000, **{LONG: pa.array([chance.bytes(1500).hex() for _ in range(1000)])})
    publish_rollouts(store, student, [rows])
    build_signal(store, teacher, chunk_tokens=5000, shard_tokens=10_000)
    return load(store, "signal")


@pytest.fixture(scope="module")
def columns(made: Artifact) -> dict[str, str]:
    content = ContentDigest(next(made.open_shards()).schema)
    for shard in made.open_shards():
        for batch in shard.batches():
            content.update(batch)
    return {name: str(digest) for name, digest in content.columns().items()}


@pytest.fixture
def files(made: Artifact, columns: dict[str, str]) -> dict[str, bytes]:
    return files_of(made.store.root, "signal", columns=columns)


@pytest.fixture
def published(hub: Hub, files: dict[str, bytes]) -> Hub:
    hub.commit("org/data", files)
    return hub


def sizes(made: Artifact) -> tuple[int, int]:
    """Bytes of all shards, and of the column that nobody asked for."""
    whole = long = 0
    for shard in made.open_shards():
        whole += shard.size
        metadata = pq.read_metadata(shard.path)
        for group in range(metadata.num_row_groups):
            chunks = map(metadata.row_group(group).column, range(metadata.num_columns))
            long += sum(c.total_compressed_size for c in chunks if c.path_in_schema == LONG)
    return whole, long


def test_only_the_columns_asked_for_travel(published: Hub, client: Client, made: Artifact) -> None:
    said = client.lopd_store(
        "pull", "org/data", "-o", "some", "--columns", "rollout_logprobs", "--json"
    )
    (found,) = pulled(said)
    whole, long = sizes(made)
    assert long > whole / 2
    assert sent(published) < whole - long + 200_000
    assert found["left_out"] == [LONG]
    assert found["source"] == str(made.id)
    here = load(Store.open(client.store), "some")
    assert str(here.id) == found["id"] != found["source"]
    assert [link.digest for link in here.document.lineage][-1] == made.id
    names = [column.name for column in here.document.columns]
    assert names == [*ALWAYS, "rollout_logprobs", "finish_reason"]
    for ours, theirs in zip(here.open_shards(), made.open_shards(), strict=True):
        for mine, other in zip(ours.batches(), theirs.batches(names), strict=True):
            assert mine.equals(other)
    assert client.lopd_store("verify", "some").code == 0
    assert here.store.fsck() == []
    assert list(here.store.tmp.iterdir()) == []
    before = sent(published)
    again = client.lopd_store(
        "pull", "org/data", "-o", "some", "--columns", "rollout_logprobs", "--json"
    )
    assert pulled(again)[0] | {"moved": True, "fetched_bytes": 0} == found | {"fetched_bytes": 0}
    assert sent(published) == before


@pytest.mark.parametrize("how", ["without columns.json", "from shards in the store"])
def test_whole_shards_give_the_same_artifact(
    published: Hub, client: Client, tmp_path: Path, how: str
) -> None:
    (expected,) = pulled(
        client.lopd_store("pull", "org/data", "-o", "some", "--columns", LONG, "--json")
    )
    other = Client(tmp_path, client.environment)
    if how == "without columns.json":
        published.commit("org/data", {"lopd/default/train/columns.json": None})
    else:
        pulled(other.lopd_store("pull", "org/data", "--json"))
    before = sent(published)
    (found,) = pulled(
        other.lopd_store("pull", "org/data", "-o", "some", "--columns", LONG, "--json")
    )
    assert found["id"] == expected["id"]
    assert found["left_out"] == ["rollout_logprobs"]
    assert (sent(published) == before) == (how == "from shards in the store")


@pytest.mark.usefixtures("published")
def test_all_columns_are_the_artifact_itself(client: Client, made: Artifact) -> None:
    names = f"{LONG},rollout_logprobs"
    (found,) = pulled(
        client.lopd_store("pull", "org/data", "-o", "some", "--columns", names, "--json")
    )
    assert (found["id"], found["left_out"]) == (str(made.id), [])
    unknown = client.lopd_store(
        "pull", "org/data", "-o", "some", "--columns", "rewards,response_text"
    )
    assert unknown.code == 2
    assert "found rewards" in unknown.err


def test_an_interrupted_pull_of_columns_goes_on(published: Hub, client: Client) -> None:
    words = ("pull", "org/data", "-o", "some", "--columns", "rollout_logprobs")
    published.faults = [
        Fault(match=BYTES, after=4, times=None, cut=4000),
        Fault(match=BYTES, after=12, times=None, status=403),
    ]
    said = client.lopd_store(*words)
    assert said.code == 1
    assert "what came is kept" in said.err
    published.faults.clear()
    assert sent(published) > 100_000  # footers first, then pieces of 4,000 bytes
    (found,) = pulled(client.lopd_store(*words, "--json"))
    both = sent(published)
    fresh = Client(client.folder / "fresh", client.environment)
    fresh.folder.mkdir()
    (once,) = pulled(fresh.lopd_store(*words, "--json"))
    assert found["id"] == once["id"]
    assert both == sent(published) - both
    assert found["fetched_bytes"] < once["fetched_bytes"]


def places(data: bytes) -> dict[str, int]:
    """Bytes of a shard in a page, in a page's header, and in the footer."""
    metadata = pq.read_metadata(io.BytesIO(data))
    chunks = [metadata.row_group(0).column(n) for n in range(metadata.num_columns)]
    chunk = next(c for c in chunks if c.path_in_schema.startswith("rollout_logprobs"))
    start = chunk.data_page_offset
    return {
        "page": start + chunk.total_compressed_size - 9,
        "page header": start + 1,
        "footer": len(data) - metadata.serialized_size + 20,
        "identity": data.rindex(b'"lopd.identity.v1"') + 3,
    }


@pytest.mark.parametrize("where", ["page", "page header", "footer", "identity"])
def test_a_flipped_bit_in_what_travels_is_caught(
    published: Hub, client: Client, files: dict[str, bytes], where: str
) -> None:
    shard = next(data for path, data in files.items() if path.endswith(".parquet"))
    damage(published, shard, flipped(shard, places(shard)[where]))
    said = client.lopd_store("pull", "org/data", "-o", "some", "--columns", "rollout_logprobs")
    assert said.code == 3, said.err
    assert_nothing_stays(client)


def test_other_values_with_right_checksums_are_caught(
    published: Hub, client: Client, made: Artifact, tmp_path: Path
) -> None:
    """Every size, CRC, count and identity is right; two rows have changed places in a column."""
    original = next(made.open_shards()).path.read_bytes()
    forged = next(
        data
        for row in range(0, 300, 2)
        if len(data := with_rows_swapped(made, row, tmp_path)) == len(original)
    )
    damage(published, original, forged)
    said = client.lopd_store("pull", "org/data", "-o", "some", "--columns", "rollout_logprobs")
    assert said.code == 3
    assert "rollout_logprobs: column-digest" in said.err
    assert_nothing_stays(client)


def with_rows_swapped(made: Artifact, row: int, folder: Path) -> bytes:
    """The first shard with the log-probs of a row and of the next in each other's place."""
    shard = next(made.open_shards())
    batches = list(shard.batches())
    places = list(range(batches[0].num_rows))
    places[row : row + 2] = row + 1, row
    at = shard.schema.get_field_index("rollout_logprobs")
    swapped = batches[0].column(at).take(pa.array(places))
    batches[0] = batches[0].set_column(at, shard.schema.field(at), swapped)
    (forged,) = write_shards(
        batches, identity=shard.identity_bytes, folder=folder, shard_tokens=1 << 30
    )
    return forged.path.read_bytes()


@pytest.mark.parametrize("lie", ["other digests", "other names", "not a file of ours"])
def test_a_list_of_columns_that_lies_is_caught(
    published: Hub, client: Client, columns: dict[str, str], made: Artifact, lie: str
) -> None:
    lies: dict[str, dict[str, Any]] = {
        "other digests": columns | {"prompt_id": columns["sample_id"]},
        "other names": {f"a{name}": digest for name, digest in columns.items()},
        "not a file of ours": {"prompt_ids": 3},
    }
    files = files_of(made.store.root, "signal", columns=lies[lie])
    path = "lopd/default/train/columns.json"
    published.commit("org/data", {path: files[path]})
    said = client.lopd_store("pull", "org/data", "-o", "some", "--columns", "rollout_logprobs")
    assert said.code == (5 if lie == "not a file of ours" else 3)
    assert sent(published) == 0
    assert_nothing_stays(client)
