"""Exact values in plain DuckDB, polars, pandas, pyarrow and datasets, with no code of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # its stubs are another package
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.shards.writer import write_shards

Rows = Callable[..., pa.RecordBatch]
Table = dict[str, list[Any]]

# float32 values whose decimal spelling is exact: equality below is equality of bits
LOGPROBS = [[-(2.0**-24), 0.0, -13.5], [-1.5, -(2.0**-149)], [-3.4028234663852886e38]]


@pytest.fixture
def written(tmp_path: Path, rows: Rows, identity: bytes) -> tuple[Path, Table]:
    batch = rows(
        [([0, 2**31 - 1], [7, 8, 9]), ([5], [6, 6]), ([5], [1])],
        rollout_logprobs=LOGPROBS,
        loss_mask=[[True, False, True], [True, True], [False]],
        answer=["é 😀", None, ""],
        tags=[["a", "b"], [], None],
        score=[0.1, None, -2.5],
    )
    (shard,) = write_shards([batch], identity=identity, folder=tmp_path, row_group_tokens=5)
    return shard.path, batch.to_pydict()


def test_duckdb_reads_exact_values(written: tuple[Path, Table]) -> None:
    path, expected = written
    connection = duckdb.connect()
    found = connection.execute(f"select * from '{path}'").fetchall()  # noqa: S608 - our own path
    names = [column[0] for column in connection.description]
    assert {name: [row[i] for row in found] for i, name in enumerate(names)} == expected


def test_duckdb_sees_plain_types(written: tuple[Path, Table]) -> None:
    described = duckdb.connect().execute(f"describe select * from '{written[0]}'")  # noqa: S608
    types = {row[0]: row[1] for row in described.fetchall()}
    assert types["sample_id"] == "VARCHAR"
    assert types["response_ids"] == "INTEGER[]"
    assert types["teacher_logprobs"] == "FLOAT[]"
    assert types["loss_mask"] == "BOOLEAN[]"


def test_duckdb_reads_the_identity(written: tuple[Path, Table], identity: bytes) -> None:
    query = f"select key, value from parquet_kv_metadata('{written[0]}')"  # noqa: S608 - our path
    assert duckdb.connect().execute(query).fetchall() == [(b"lopd.identity", identity)]


def test_polars_reads_exact_values(written: tuple[Path, Table]) -> None:
    path, expected = written
    assert pl.read_parquet(path).to_dict(as_series=False) == expected


def test_pandas_reads_exact_values(written: tuple[Path, Table]) -> None:
    path, expected = written
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(expected)
    for name in ("prompt_ids", "response_ids", "teacher_logprobs", "rollout_logprobs"):
        assert [row.tolist() for row in frame[name]] == expected[name]
        assert {row.dtype.itemsize for row in frame[name]} == {4}


def test_plain_pyarrow_reads_exact_values(written: tuple[Path, Table]) -> None:
    path, expected = written
    assert pq.read_table(path, page_checksum_verification=True).to_pydict() == expected


DATASETS = """
import json, sys, datasets
found = datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")
print(json.dumps([found.to_dict(), {n: str(f) for n, f in found.features.items()}]))
"""


def test_datasets_reads_exact_values(written: tuple[Path, Table], tmp_path: Path) -> None:
    path, expected = written
    offline = {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    output = subprocess.run(
        [sys.executable, "-c", DATASETS, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | offline,
    ).stdout
    values, features = json.loads(output.splitlines()[-1])
    assert values == expected
    assert features["teacher_logprobs"] == "List(Value('float32'))"
    assert features["response_ids"] == "List(Value('int32'))"
