import json
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lopd_store.errors import FormatError, NotFoundError
from lopd_store.identity.checkpoint import find_weights
from lopd_store.identity.hashing import FileRequest, Range, hash_files
from lopd_store.identity.weights import read_weights, weights_digest
from tests.identity.checkpoints import (
    Tensors,
    expected_weights_digest,
    floats,
    safetensors_bytes,
    tensors_in,
    write_sharded,
)
from tests.models import save_model

ARCHITECTURES = ["qwen2", "qwen3", "llama"]
TENSORS: Tensors = {"b.weight": floats(1.0, 2.0), "a.weight": floats(3.0)}
EMBEDDING = ("BF16", [3, 2], bytes(range(12)))


def lone(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors, metadata))
    return folder


def digest_of(folder: Path, tensors: Tensors) -> str:
    return str(weights_digest(lone(folder, tensors)))


def test_the_digest_is_the_published_one(tmp_path: Path) -> None:
    assert digest_of(tmp_path, TENSORS) == expected_weights_digest(TENSORS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_file_three_shards_and_other_metadata_agree(architecture: str, tmp_path: Path) -> None:
    one, many, other = (tmp_path / name for name in ("one", "many", "other"))
    save_model(one, architecture, tokenizer=False)
    model = AutoModelForCausalLM.from_pretrained(one)
    model.save_pretrained(many, max_shard_size="150KB")
    assert len(list(many.glob("*.safetensors"))) >= 3
    other.mkdir()
    save_file(load_file(one / "model.safetensors"), other / "model.safetensors", {"by": "me"})
    found = {str(weights_digest(folder)) for folder in (one, many, other)}
    assert found == {expected_weights_digest(tensors_in(one))}


def test_a_bin_checkpoint_has_the_digest_of_its_safetensors_form(tmp_path: Path) -> None:
    one = save_model(tmp_path / "one", tokenizer=False)
    state = load_file(one / "model.safetensors")
    state = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    save_file(state, one / "model.safetensors")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    torch.save(state, whole / "pytorch_model.bin")
    names = sorted(state)
    torch.save({name: state[name] for name in names[:3]}, parts / "p-1.bin")
    torch.save({name: state[name] for name in names[3:]}, parts / "p-2.bin")
    weight_map = {name: "p-1.bin" if name in names[:3] else "p-2.bin" for name in names}
    (parts / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert weights_digest(one) == weights_digest(whole) == weights_digest(parts)


def test_a_bin_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("/tmp")}, tmp_path / "pytorch_model.bin")  # noqa: S108 - never opened
    with pytest.raises(FormatError, match="weights_only"):
        weights_digest(tmp_path)


def test_a_bin_checkpoint_without_torch_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(FormatError, match="pip install"):
        weights_digest(tmp_path)


def test_one_float_one_ulp_off_is_another_model(tmp_path: Path) -> None:
    name, (dtype, shape, data) = next(iter(TENSORS.items()))
    bits = int.from_bytes(data[:4], "little") + 1
    nudged = {**TENSORS, name: (dtype, shape, bits.to_bytes(4, "little") + data[4:])}
    assert digest_of(tmp_path / "a", nudged) != digest_of(tmp_path / "b", TENSORS)


@pytest.mark.parametrize(
    "changed",
    [("I32", [2], None), ("F32", [2, 1], None), ("F32", [1, 2], None), ("BF16", [2, 2], None)],
    ids=["dtype", "shape", "order-of-sizes", "halved-elements"],
)
def test_the_same_bytes_under_another_dtype_or_shape_are_another_model(
    changed: tuple[str, list[int], None], tmp_path: Path
) -> None:
    other = {**TENSORS, "b.weight": (*changed[:2], TENSORS["b.weight"][2])}
    assert digest_of(tmp_path / "a", other) != digest_of(tmp_path / "b", TENSORS)


def test_a_renamed_tensor_is_another_model(tmp_path: Path) -> None:
    renamed = {"c.weight": TENSORS["b.weight"], "a.weight": TENSORS["a.weight"]}
    assert digest_of(tmp_path / "a", renamed) != digest_of(tmp_path / "b", TENSORS)


def test_swapped_contents_are_another_model(tmp_path: Path) -> None:
    one = {"a": floats(1.0), "b": floats(2.0)}
    other = {"a": floats(2.0), "b": floats(1.0)}
    assert digest_of(tmp_path / "a", one) != digest_of(tmp_path / "b", other)


def test_an_output_embedding_equal_to_the_input_embedding_is_left_out(tmp_path: Path) -> None:
    tied = {"model.embed_tokens.weight": EMBEDDING}
    both = {**tied, "lm_head.weight": EMBEDDING}
    own = {**tied, "lm_head.weight": ("BF16", [3, 2], bytes(range(1, 13)))}
    assert digest_of(tmp_path / "a", tied) == digest_of(tmp_path / "b", both)
    assert digest_of(tmp_path / "c", own) == expected_weights_digest(own)
    readings = [read_weights(find_weights(tmp_path / name)).weights for name in "abc"]
    assert [reading.own_output_embedding for reading in readings] == [False, False, True]
    assert [reading.vocab_rows for reading in readings] == [3, 3, 3]


def test_a_tensor_that_only_looks_like_the_embedding_is_kept(tmp_path: Path) -> None:
    twice = {"model.embed_tokens.weight": EMBEDDING, "model.other.weight": EMBEDDING}
    assert digest_of(tmp_path, twice) == expected_weights_digest(twice)


def test_tied_models_saved_by_transformers_agree_with_untied_copies(tmp_path: Path) -> None:
    tied = save_model(tmp_path / "tied", tokenizer=False, tie_word_embeddings=True)
    copy = tmp_path / "copy"
    copy.mkdir()
    state = load_file(tied / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, copy / "model.safetensors")
    with safe_open(tied / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - not a mapping
    assert weights_digest(tied) == weights_digest(copy)


NAMES = st.text("abcXYZ019._é漢\U0001f600", min_size=1, max_size=6)
ENTRIES = st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(entries=ENTRIES, cut=st.integers(0, 8), threads=st.integers(1, 3))
def test_no_split_into_files_changes_the_digest(
    entries: dict[str, bytes], cut: int, threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tensors = {name: ("U8", [len(data)], data) for name, data in entries.items()}
    folder = tmp_path_factory.mktemp("split")
    items = list(tensors.items())
    parts = [dict(items[:cut]), dict(reversed(items[cut:]))]
    write_sharded(folder / "many", [part for part in parts if part])
    one = lone(folder / "one", tensors)
    assert weights_digest(folder / "many", threads=threads) == weights_digest(one)
    reading = read_weights(find_weights(folder / "many"), threads=threads)
    assert reading.weights.digest == weights_digest(one)
    shutil.rmtree(folder)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_whole_file_digests_are_those_of_the_files(threads: int, tmp_path: Path) -> None:
    parts = [{"a": floats(1.0)}, {"b": floats(*range(300_000)), "e": floats()}, {"c": floats(3.0)}]
    write_sharded(tmp_path, parts)
    seen: list[int] = []
    files = find_weights(tmp_path)
    reading = read_weights(files, threads=threads, progress=seen.append)
    assert reading.files == {
        path.name: reading.files[path.name].of_file(path) for path in files.paths
    }
    assert sum(seen) >= sum(path.stat().st_size for path in files.paths)
    merged = {name: value for part in parts for name, value in part.items()}
    assert str(reading.weights.digest) == expected_weights_digest(merged)


def test_a_file_that_shrinks_while_it_is_read_is_a_format_error(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"1234")
    request = FileRequest(path=path, ranges=(Range(2, 100),), whole=False)
    with pytest.raises(FormatError, match="ends at 4"):
        hash_files([request])


def test_a_folder_without_weights_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"model\.safetensors"):
        weights_digest(tmp_path)


def test_files_that_no_index_names_do_not_count(tmp_path: Path) -> None:
    write_sharded(tmp_path, [{"a": floats(1.0)}])
    (tmp_path / "stale.safetensors").write_bytes(safetensors_bytes({"b": floats(2.0)}))
    assert str(weights_digest(tmp_path)) == expected_weights_digest({"a": floats(1.0)})


def index(folder: Path, weight_map: object) -> None:
    text = json.dumps({"weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/model.safetensors",
        "sub/model.safetensors",
        "sub\\model.safetensors",
        "..safetensors",
        "-x.safetensors",
        "a\x00.safetensors",
        "model.bin",
        "",
        7,
        None,
    ],
)
def test_an_index_that_leaves_its_folder_is_refused(name: object, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(TENSORS))
    index(tmp_path / "model", {"a.weight": name})
    with pytest.raises(FormatError, match="plain file names"):
        weights_digest(tmp_path / "model")


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"b": "s2.safetensors", "x": "s1.safetensors"}, "'a'"),
        ({"a": "s1.safetensors", "b": "s1.safetensors"}, "'b'"),
        ({"a": "s1.safetensors", "b": "s2.safetensors", "c": "s2.safetensors"}, "'c'"),
        ({"a": "s1.safetensors", "b": "s2.safetensors", "d": "s3.safetensors"}, "s3.safetensors"),
        ({}, "non-empty"),
        ([], "non-empty"),
    ],
    ids=["not-listed", "listed-elsewhere", "listed-but-absent", "no-such-file", "empty", "a-list"],
)
def test_an_index_that_does_not_match_its_files_is_refused(
    weight_map: object, said: str, tmp_path: Path
) -> None:
    (tmp_path / "s1.safetensors").write_bytes(safetensors_bytes({"a": floats(1.0)}))
    (tmp_path / "s2.safetensors").write_bytes(safetensors_bytes({"b": floats(1.0)}))
    index(tmp_path, weight_map)
    with pytest.raises((FormatError, NotFoundError), match=said):
        weights_digest(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        (tmp_path / f"{name}.safetensors").write_bytes(
            safetensors_bytes({name: floats(1.0), **TENSORS})
        )
    index(tmp_path, {"s1": "s1.safetensors", "s2": "s2.safetensors"})
    with pytest.raises(FormatError, match="in both"):
        weights_digest(tmp_path)


def test_two_checkpoints_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_sharded(tmp_path, [{"a": floats(1.0)}])
    lone(tmp_path, {"a": floats(2.0)})
    with pytest.raises(FormatError, match="loaders disagree"):
        weights_digest(tmp_path)


def test_scalars_and_empty_tensors_are_tensors(tmp_path: Path) -> None:
    tensors: Tensors = {
        "scalar": ("F64", [], struct.pack("<d", 1.5)),
        "empty": ("F32", [0, 7], b""),
        "packed": ("F4", [2, 3], b"abc"),
    }
    assert digest_of(tmp_path, tensors) == expected_weights_digest(tensors)
