"""Strings and shards of strangers through the commands: nothing reaches the terminal as it is."""

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rfc8785

from lopd_cli.output import harmless
from lopd_store.artifacts import load
from lopd_store.documents import media
from lopd_store.store import Store
from tests.cli.runner import Said, run
from tests.verify.tamper import with_blob, with_document

EVIL = "\x1b[2J\x9b31m\u202e\u2028\ud800\U000e0041\x7f"


def test_what_moves_a_cursor_or_hides_text_is_escaped_and_letters_are_not() -> None:
    shown = harmless(EVIL + "é 漢\n")
    assert shown == r"\u001b[2J\u009b31m\u202e\u2028\ud800\udb40\udc41\u007fé 漢\u000a"
    assert json.loads(f'"{shown}"') == EVIL + "é 漢\n"


def is_harmless(said: Said) -> bool:
    return all(line.isprintable() for line in (said.out + said.err).split("\n"))


def test_a_log_of_a_stranger_is_shown_and_does_nothing(signal: Store) -> None:
    path = signal.work / "log" / "signal.jsonl"
    entry = json.loads(path.read_text().splitlines()[0]) | {
        "message": EVIL + "\nforged",
        "time": EVIL,
    }
    path.write_text(json.dumps(entry) + "\n")
    said = run("log", "signal", "--store", signal.root)
    assert said.code == 0
    assert is_harmless(said)
    assert len(said.out.splitlines()) == 2
    assert run("log", "signal", "--store", signal.root, "--json").json[0]["time"] == EVIL


def test_fields_of_a_stranger_are_shown_and_do_nothing(signal: Store) -> None:
    evil = EVIL.replace("\ud800", "")
    with_document(
        signal, **{evil: evil + "\nforged", "columns": [{"name": "\x9b1m", "type": "bool"}]}
    )
    for words in (
        ["diff", "signal", "bad"],
        ["show", "bad"],
        ["verify", "bad"],
        ["show", "bad", "--json"],
    ):
        assert is_harmless(run(*words, "--store", signal.root)), words


def test_an_index_of_a_stranger_is_judged_and_does_nothing(signal: Store) -> None:
    path = signal.root / "index.json"
    index = json.loads(path.read_text())
    for entry in index["manifests"]:
        entry["artifactType"] = EVIL
    path.write_text(json.dumps(index))
    for words in (["fsck"], ["verify", signal.root], ["ls"], ["show", "signal"]):
        said = run(*words, "--store", signal.root)
        assert said.code in (3, 5), words
        assert is_harmless(said)


def without(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([name])


SHARDS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no-names": without("sample_id"),
    "no-log-probs": without("teacher_logprobs"),
    "text-for-log-probs": lambda table: table.set_column(
        table.schema.get_field_index("teacher_logprobs"),
        "teacher_logprobs",
        pa.array(["x"] * len(table)),
    ),
    "one-name-for-all": lambda table: pa.concat_tables(
        [table.slice(0, 1)] * 20_000
    ).combine_chunks(),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_diff_with_shards_that_are_none_is_refused(signal: Store, name: str) -> None:
    artifact = load(signal, "signal")
    table = next(artifact.open_shards()).batches()
    rows = SHARDS[name](pa.Table.from_batches(list(table)))
    sink = pa.BufferOutputStream()
    metadata = {b"lopd.identity": artifact.identities[0].encode()}
    pq.write_table(rows.replace_schema_metadata(metadata), sink)
    with_blob(signal, media.SHARD, sink.getvalue().to_pybytes())
    assert run("diff", "signal", "bad", "--store", signal.root).code == 5


def test_a_diff_with_bytes_that_are_no_parquet_is_refused(signal: Store) -> None:
    with_blob(signal, media.SHARD, b"PAR1" + rfc8785.dumps({}) + b"PAR1")
    assert run("diff", "bad", "signal", "--store", signal.root).code == 5
