"""Documents, names and sizes that were made to do harm, through the commands."""

import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.documents import media
from lopd_store.store import Store
from tests.cli.runner import run, verify
from tests.verify.tamper import (
    raw_manifest,
    republish,
    rows_of_signal,
    with_blob,
    with_identity,
)

DOCUMENTS = {
    "duplicate-key": (b'{"a":1,"a":2}', "found 'a' twice"),
    "huge-integer": (b'{"rows":' + b"9" * 400 + b"}", "2^53-1"),
    "float": (b'{"rows":1.5}', "integers and strings only"),
    "nan": (b'{"rows":NaN}', "integers and strings only"),
    "not-json": (b"PAR1", "expected JSON"),
    "not-canonical": (b'{ "a": 1 }', "canonical"),
    "deeply-nested": (b"[" * 100_000, "expected"),
    "not-utf-8": (b'{"a":"\xff"}', "expected JSON"),
    "empty": (b"", "expected JSON"),
}


@pytest.mark.parametrize(("data", "says"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("place", ["manifest", "identity"])
def test_json_that_two_readers_could_read_differently_is_refused(
    signal: Store, data: bytes, says: str, place: str
) -> None:
    if place == "manifest":
        raw_manifest(signal, data)
    else:
        with_identity(signal, data)
    said = verify(signal, "bad")
    assert said.code == 5
    assert says in said.out


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_a_ref_name_that_walks_out_of_the_store_is_refused(signal: Store, name: str) -> None:
    said = run("tag", "signal", name, "--store", signal.root)
    assert said.code == 2
    assert "expected" in said.err
    assert {path.name for path in signal.root.parent.iterdir()} <= {"signal-store"}


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:0"])
def test_a_digest_that_is_a_path_is_refused(signal: Store, digest: str) -> None:
    path = signal.root / "index.json"
    path.write_text(path.read_text().replace(str(signal.refs.resolve("signal")), digest))
    said = run("verify", "signal", "--store", signal.root)
    assert said.code in {4, 5}
    assert "root:" not in said.out + said.err
    assert run("ls", "--store", signal.root).code in {0, 5}


def test_a_ref_name_of_another_tool_that_walks_out_is_listed_nowhere(signal: Store) -> None:
    raw_manifest(signal, b"{}", ref="../../evil")
    said = run("ls", "--store", signal.root, "--json")
    assert {entry["ref"] for entry in said.json} == {"rollouts", "signal"}


def test_a_file_name_in_an_identity_that_walks_out_is_refused(signal: Store) -> None:
    artifact = load(signal, "signal")
    text = artifact.identities[0].encode().decode()
    assert '"config.json":' in text
    with_identity(signal, text.replace('"config.json":', '"config.json/../../x":').encode())
    said = verify(signal, "bad")
    assert said.code in {3, 5}
    assert "config.json/../../x" in said.out


def test_a_tokenizer_that_expands_without_end_is_refused(signal: Store) -> None:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(300):
            stream.write(bytes(1 << 20))
    with_blob(signal, media.TOKENIZER, sink.getvalue().to_pybytes())
    said = verify(signal, "bad")
    assert said.code == 5
    assert "tokenizer blob: expected at most" in said.out


def test_a_shard_that_expands_without_end_is_refused(signal: Store) -> None:
    rows = rows_of_signal(signal).slice(0, 1)
    bomb = rows.append_column("prompt_text", pa.array(["a" * (160 << 20)]))
    republish(signal, bomb)
    said = verify(signal, "bad")
    assert said.code == 5
    assert "expected" in said.out
