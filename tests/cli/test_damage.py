"""Every kind of damage through `lopd-store verify`: its exit code, what it expected and found."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rfc8785

from lopd_store.artifacts import load
from lopd_store.documents import media
from lopd_store.store import Store
from tests.building.chain import rows_of
from tests.cli.runner import kinds, run, verify
from tests.verify.tamper import (
    republish,
    rows_of_signal,
    shard_paths,
    stray,
    with_document,
    with_identity,
    with_layers,
    with_values,
)


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.chmod(0o644)
    path.write_bytes(bytes(data))


BLOBS: dict[str, Callable[[Store], Path]] = {
    "shard": lambda store: shard_paths(store)[1],
    "manifest": lambda store: store.blobs.path(store.refs.resolve("signal")),
    "config": lambda store: store.blobs.path(load(store, "signal").manifest.config.digest),
    "identity": lambda store: store.blobs.path(load(store, "signal").manifest.identities[0].digest),
    "tokenizer": lambda store: store.blobs.path(
        load(store, "signal").manifest.tokenizers[0].digest
    ),
}


def test_an_intact_artifact_is_found_intact(signal: Store) -> None:
    said = verify(signal)
    assert (said.code, said.json["ok"], said.json["depth"]) == (0, True, 1)
    assert run("verify", "signal", "--store", signal.root).out.endswith("ok (depth 1, integrity)\n")
    assert run("fsck", "--store", signal.root).code == 0


@pytest.mark.parametrize("place", [0, 100, -1], ids=["first-byte", "inside", "last-byte"])
@pytest.mark.parametrize("blob", BLOBS)
def test_one_flipped_bit_in_a_blob_is_named(signal: Store, blob: str, place: int) -> None:
    path = BLOBS[blob](signal)
    flip(path, place)
    said = verify(signal)
    assert said.code == 3
    assert "digest-mismatch" in kinds(said)
    assert path.name in said.out
    assert run("fsck", "--store", signal.root).code == 3
    assert run("verify", signal.root).code == 3


@pytest.mark.parametrize("blob", BLOBS)
def test_a_truncated_blob_is_named(signal: Store, blob: str) -> None:
    path = BLOBS[blob](signal)
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 1)
    said = verify(signal)
    assert said.code == 3
    assert kinds(said) & {"size-mismatch", "digest-mismatch"}
    assert path.name in said.out


@pytest.mark.parametrize("blob", BLOBS)
def test_a_missing_blob_is_named(signal: Store, blob: str) -> None:
    path = BLOBS[blob](signal)
    path.unlink()
    said = verify(signal)
    assert said.code == 4
    assert path.name in said.out
    assert run("fsck", "--store", signal.root).code == 3


def test_a_flipped_bit_in_index_json_never_passes_for_another_artifact(signal: Store) -> None:
    path = signal.root / "index.json"
    intact = path.read_bytes()
    right = str(signal.refs.resolve("signal"))
    chance = random.Random(1)  # noqa: S311 - no secret
    for place in chance.sample(range(len(intact)), 80):
        path.write_bytes(intact)
        flip(path, place, chance.randrange(8))
        said = run("verify", "signal", "--json", "--store", signal.root)
        assert said.code in {0, 3, 4, 5}
        if said.code == 0:
            assert f"signal ({right[7:19]})" == said.json["target"]
        elif not said.out:
            assert said.err.startswith("error: ")


def test_two_shards_swapped_on_disk_are_both_named(signal: Store) -> None:
    one, other = shard_paths(signal)[:2]
    a, b = one.read_bytes(), other.read_bytes()
    for path, data in ((one, b), (other, a)):
        path.chmod(0o644)
        path.write_bytes(data)
    said = verify(signal)
    assert said.code == 3
    assert one.name in said.out
    assert other.name in said.out


def swapped(layers: Any) -> Any:
    return [*layers[:2], layers[3], layers[2], *layers[4:]]


def test_two_shards_swapped_in_the_manifest_change_the_content(signal: Store) -> None:
    with_layers(signal, swapped)
    said = verify(signal, "bad")
    assert said.code == 5
    assert kinds(said) == {"content-digest-differ"}


def test_a_shard_listed_twice_is_refused(signal: Store) -> None:
    with_layers(signal, lambda layers: [*layers, layers[-1]])
    said = verify(signal, "bad")
    assert said.code == 5
    assert kinds(said) == {"repeated-layer"}


def test_extra_rows_are_found_by_the_counts(signal: Store) -> None:
    rows = rows_of_signal(signal)
    republish(signal, pa.concat_batches([rows, rows.slice(0, 3)]), ref="longer")
    longer = [layer.to_json() for layer in load(signal, "longer").manifest.layers]
    with_layers(signal, lambda _: longer)
    said = verify(signal, "bad")
    assert said.code == 5
    assert kinds(said) >= {"rows-differ", "tokens-differ"}


def test_a_shard_left_out_is_found_by_the_counts(signal: Store) -> None:
    with_layers(signal, lambda layers: layers[:-1])
    said = verify(signal, "bad")
    assert said.code == 5
    assert kinds(said) >= {"rows-differ", "tokens-differ"}


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("rows", "rows-differ"),
        ("tokens", "tokens-differ"),
        ("prompt_tokens", "prompt-tokens-differ"),
        ("duplicates", "duplicates-differ"),
    ],
)
def test_a_document_that_counts_wrong_is_found(signal: Store, field: str, kind: str) -> None:
    with_document(signal, **{field: load(signal, "signal").document.json[field] + 1})
    said = verify(signal, "bad")
    assert said.code == 5
    assert any(kind in found or "rows" in found or "tokens" in found for found in kinds(said))


def test_shard_annotations_that_lie_are_found(signal: Store) -> None:
    def lie(layers: Any) -> Any:
        layers[2]["annotations"]["dev.lopd.rows"] = "1"
        return layers

    with_layers(signal, lie)
    assert verify(signal, "bad").code == 5


def replaced(rows: pa.RecordBatch, name: str, edit: Callable[[list[Any]], None]) -> pa.RecordBatch:
    values = rows[name].to_pylist()
    edit(values)
    return with_values(rows, name, pa.array(values, rows[name].type))


HOSTILE: dict[str, tuple[str, Callable[[list[Any]], None], str]] = {
    "nan": ("teacher_logprobs", lambda v: v[17].__setitem__(0, float("nan")), "not-finite"),
    "plus-infinity": ("teacher_logprobs", lambda v: v[17].__setitem__(0, np.inf), "not-finite"),
    "minus-infinity": ("teacher_logprobs", lambda v: v[17].__setitem__(0, -np.inf), "not-finite"),
    "positive": ("teacher_logprobs", lambda v: v[17].__setitem__(0, 0.25), "positive-logprob"),
    "a-servers-minus-infinity": (
        "teacher_logprobs",
        lambda v: v[17].__setitem__(0, -9999.0),
        "sentinel-logprob",
    ),
    "one-too-many": ("teacher_logprobs", lambda v: v[17].append(-1.0), "length-mismatch"),
    "one-too-few": ("teacher_logprobs", lambda v: v[17].pop(), "length-mismatch"),
    "no-logprobs": ("teacher_logprobs", lambda v: v.__setitem__(17, []), "length-mismatch"),
    "null-logprobs": ("teacher_logprobs", lambda v: v.__setitem__(17, None), "null-value"),
    "positive-of-the-sampler": (
        "rollout_logprobs",
        lambda v: v[17].__setitem__(0, 1e-6),
        "positive-logprob",
    ),
    "id-outside-the-vocabulary": (
        "response_ids",
        lambda v: v[17].__setitem__(0, 320),
        "token-out-of-vocabulary",
    ),
    "negative-id": ("prompt_ids", lambda v: v[17].__setitem__(0, -1), "token-out-of-vocabulary"),
    "other-ids-under-the-old-name": (
        "response_ids",
        lambda v: v[17].__setitem__(0, v[17][0] ^ 1),
        "sample-id-mismatch",
    ),
    "empty-prompt": ("prompt_ids", lambda v: v.__setitem__(17, []), "empty-prompt"),
    "unknown-finish-reason": (
        "finish_reason",
        lambda v: v.__setitem__(17, "because"),
        "unknown-finish-reason",
    ),
}


@pytest.mark.parametrize(("column", "edit", "kind"), HOSTILE.values(), ids=HOSTILE.keys())
def test_wrong_values_under_right_digests_are_named_by_row(
    signal: Store, column: str, edit: Callable[[list[Any]], None], kind: str
) -> None:
    republish(signal, replaced(rows_of_signal(signal), column, edit))
    said = verify(signal, "bad")
    assert said.code == 5
    assert kind in kinds(said)
    assert any(" row " in problem["where"] for problem in said.json["problems"])


def test_an_empty_response_under_right_digests_is_named(signal: Store) -> None:
    rows = rows_of_signal(signal)
    empty = rows_of([[7]], [[]], rollout_logprobs=[[]])
    column = pa.array([[]], pa.list_(pa.float32()))
    more = empty.append_column("teacher_logprobs", column).select(rows.schema.names)
    both = pa.Table.from_batches([rows.slice(0, 3), more.cast(rows.schema)]).combine_chunks()
    republish(signal, both.to_batches()[0])
    said = verify(signal, "bad")
    assert said.code == 5
    assert "empty-response" in kinds(said)


@pytest.mark.parametrize("number", ["1", "2"])
def test_samples_that_are_numbered_wrong_are_named(signal: Store, number: str) -> None:
    def misnumber(names: list[Any]) -> None:
        names[17] += f".{number}"

    republish(signal, replaced(rows_of_signal(signal), "sample_id", misnumber))
    said = verify(signal, "bad")
    assert said.code == 5
    assert kinds(said) >= {"sample-number"}


@pytest.mark.parametrize("delta", [-1, 1, 1 << 40], ids=["smaller", "larger", "huge"])
def test_a_size_that_lies_is_found_before_the_bytes_are_read(signal: Store, delta: int) -> None:
    def lie(layers: Any) -> Any:
        layers[2]["size"] += delta
        return layers

    with_layers(signal, lie)
    said = verify(signal, "bad")
    assert said.code == 3
    assert "size-mismatch" in kinds(said)


def test_a_store_of_a_newer_spec_is_refused(signal: Store) -> None:
    (signal.root / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    for words in (("ls",), ("verify", "signal"), ("show", "signal"), ("fsck",), ("gc",)):
        said = run(*words, "--store", signal.root)
        assert said.code == 5
        assert "expected imageLayoutVersion 1.0.0, found '2.0.0'" in said.err


@pytest.mark.parametrize("layer", [media.IDENTITY, media.ARTIFACT])
def test_a_document_of_a_newer_format_is_refused(signal: Store, layer: str) -> None:
    if layer == media.ARTIFACT:
        with_document(signal, format="lopd.artifact.v2")
    else:
        data = load(signal, "signal").identities[0].encode()
        with_identity(signal, data.replace(b"lopd.identity.v1", b"lopd.identity.v2", 1))
    said = verify(signal, "bad")
    assert said.code == 5
    assert ".v2" in said.out


def test_a_footer_that_names_another_identity_is_found(signal: Store) -> None:
    identity = load(signal, "signal").identities[0].json
    identity["sampling"]["seed"] += 1
    with_identity(signal, rfc8785.dumps(identity))
    said = verify(signal, "bad")
    assert said.code == 3
    assert kinds(said) == {"footer-identity"}


def test_the_whole_set_of_problems_is_reported_not_the_first(signal: Store) -> None:
    paths = shard_paths(signal)
    flip(paths[0], 1000)
    paths[1].unlink()
    flip(BLOBS["tokenizer"](signal), 50)
    said = verify(signal)
    assert said.code == 3
    assert kinds(said) >= {"digest-mismatch", "not-found"}
    assert all(path.name in said.out for path in (*paths[:2], BLOBS["tokenizer"](signal)))
    assert len(said.json["problems"]) == 3


def test_a_stray_shard_is_checked_by_what_it_says_of_itself(signal: Store, tmp_path: Path) -> None:
    path = stray(signal, tmp_path)
    said = verify(signal, path)
    assert said.code == 0
    assert "no manifest names this file" in said.json["notes"][0]
    flip(path, 2000)
    assert verify(signal, path).code in {3, 5}


@pytest.mark.parametrize("at", [4, 100, 3000, -9, -200])
def test_a_stray_shard_cut_or_damaged_anywhere_is_refused(
    signal: Store, tmp_path: Path, at: int
) -> None:
    path = stray(signal, tmp_path)
    path.write_bytes(path.read_bytes()[:at])
    said = verify(signal, path)
    assert said.code in {3, 5}
    assert said.json["problems"]


def test_parquet_written_by_somebody_else_is_no_shard(signal: Store, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt_ids": ["x"], "response_ids": [1.5]}), tmp_path / "x.parquet")
    said = verify(signal, tmp_path / "x.parquet")
    assert said.code == 5
    assert "expected" in said.out


def test_a_stores_folder_is_checked_whole(signal: Store) -> None:
    assert run("verify", signal.root).code == 0
    republish(signal, replaced(rows_of_signal(signal), *HOSTILE["nan"][:2]))
    said = run("verify", signal.root, "--json")
    assert said.code == 5
    assert kinds(said) == {"not-finite"}


def test_a_stores_folder_is_not_compared_with_a_teacher_in_silence(
    signal: Store, models: dict[str, Path]
) -> None:
    said = run("verify", signal.root, "--teacher", models["student"])
    assert said.code == 2
    assert "--store" in said.err


@pytest.mark.parametrize("target", ["nothing", "sha256:" + "0" * 64, "x" * 5000, "a\0b", "/", ""])
def test_what_is_not_there_is_not_found(signal: Store, target: str) -> None:
    said = run("verify", target, "--store", signal.root)
    assert said.code == 4
    assert said.err.startswith("error: ")
