"""What is pushed is a data set like any other: others' readers give the store's values."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.store import Store
from tests.building.chain import rows_in
from tests.building.fixtures import built, models, origin, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.pushing import having, pushed, several, snapshot
from tests.hub.scripts import shown

__all__ = ["built", "models", "origin", "student", "teacher"]

VIEWER = 300_000_000  # bytes of a row group that the Hub's viewer reads

LOAD = """
    import fsspec
    import pyarrow.parquet as pq
    from datasets import Features, load_dataset, load_dataset_builder
    def rows(name, **more):
        found = load_dataset(repo, name, **more)
        return [dict(row) for row in found]
    wanted = json.loads(sys.argv[2])
    for number, (name, more) in enumerate(wanted):
        plain = rows(name, **more)
        assert plain == rows(name, streaming=True, **more)
        Path(sys.argv[3], f'{number}.json').write_text(json.dumps(plain))
        builder = load_dataset_builder(repo, name, revision=more.get('revision'))
        split = more['split']
        show([builder.info.splits[split].num_examples, len(plain)])
        # what the card says of the columns is what the files have
        with fsspec.open(builder.config.data_files[split][0]) as file:
            there = Features.from_arrow_schema(pq.read_schema(file))
        show(builder.info.features == there or [str(builder.info.features), str(there)])
    show(sorted(load_dataset(repo)))
"""


def loaded(
    client: Client, repo: str, wanted: list[tuple[str, dict[str, str]]]
) -> tuple[list[list[dict[str, Any]]], list[Any]]:
    """The rows of each data set that is wanted, and what the script shows."""
    folder = client.folder / "loaded"
    folder.mkdir()
    said = shown(client, LOAD, repo, json.dumps(wanted), folder)
    found = [json.loads((folder / f"{n}.json").read_bytes()) for n, _ in enumerate(wanted)]
    return found, said


def values(rows: pa.Table) -> list[dict[str, Any]]:
    """As JSON gives them: log-probs are float32, which doubles have exactly."""
    found: list[dict[str, Any]] = json.loads(json.dumps(rows.to_pylist()))
    return found


def test_datasets_give_the_rows_by_config_split_and_version_plain_and_streaming(
    account: Account, built: Path
) -> None:
    client, repo = having(account.client(), built), account.repository()
    said = several(
        client,
        ["push", "signal", f"{repo}@v1", "--json"],
        ["push", "signal", f"{repo}/small/test@v2", "--no-text", "--json"],
        ["push", "rollouts", f"{repo}/student@v3", "--json"],
        ["push", "signal", f"{repo}@v4", "--max-error", "2^-8", "--json"],
    )
    first, small, rollouts, rounded = [pushed(one)["ref"] for one in said]
    found, checks = loaded(
        client,
        repo,
        [
            ("default", {"split": "train", "revision": "v1"}),
            ("small", {"split": "test"}),
            ("student", {"split": "train", "revision": "v3"}),
            ("default", {"split": "train"}),
        ],
    )
    store = Store.open(client.store)
    expected = [values(rows_in(store, ref)) for ref in (first, small, rollouts, rounded)]
    assert [len(rows) for rows in expected] == [60] * 4
    assert found == expected
    assert expected[0] != expected[3]
    assert all(row["prompt_text"] and "response_text" in row for row in found[0])
    assert "prompt_text" not in found[1][0]
    *pairs, configs = checks
    assert configs == ["train"]
    assert pairs[::2] == [[60, 60]] * 4
    assert pairs[1::2] == [True] * 4


def test_sql_and_arrow_read_the_files_and_row_groups_stay_within_the_viewers_limit(
    account: Account, built: Path, tmp_path: Path
) -> None:
    client, repo = having(account.client(), built), account.repository()
    made = pushed(client.lopd_store("push", "signal", f"{repo}@v1", "--json"))
    paths = []
    for name, data in sorted(snapshot(account, repo).items()):
        if name.endswith(".parquet"):
            paths.append(tmp_path / Path(name).name)
            paths[-1].write_bytes(data)
    assert len(paths) > 1
    rows = rows_in(Store.open(client.store), made["ref"])
    with duckdb.connect() as connection:
        query = "select * from read_parquet($1)"
        asked = [str(path) for path in paths]
        by_sql = connection.sql(query, params=[asked]).to_arrow_table()
    assert by_sql.equals(rows)
    by_arrow = pa.concat_tables(pq.read_table(path) for path in paths)
    assert by_arrow.to_pylist() == rows.to_pylist()
    for path in paths:
        metadata = pq.read_metadata(path)
        sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
        assert max(sizes) <= VIEWER
