"""The golden vectors, made from the spec by the standard library, against what we compute."""

import json
import struct
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store import canonical
from lopd_store.digest import Digest, tagged
from lopd_store.documents import Identity, Stamp
from lopd_store.errors import FormatError, Problem
from lopd_store.identity.weights import weights_digest
from lopd_store.keys import PublicKey
from lopd_store.rows import columns, sample_id
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.precision import Precision
from lopd_store.signing import signatures_problems

FOLDER = Path(__file__).parents[2] / "schemas" / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text("utf-8"))


def test_the_committed_vectors_are_what_make_writes() -> None:
    script = str(FOLDER / "make.py")
    # -I -S: no package of ours or of others can be imported
    subprocess.run([sys.executable, "-I", "-S", script, "--check"], check=True)


@pytest.mark.parametrize("case", VECTORS["digests"]["plain"], ids=lambda case: repr(case["data"]))
def test_digests_agree(case: dict[str, Any]) -> None:
    assert str(Digest.of(b64decode(case["data"]))) == case["digest"]


@pytest.mark.parametrize("case", VECTORS["digests"]["tagged"], ids=lambda case: str(case["parts"]))
def test_tagged_digests_agree(case: dict[str, Any]) -> None:
    parts = [b64decode(part) for part in case["parts"]]
    assert str(tagged(case["tag"], *parts)) == case["digest"]


@pytest.mark.parametrize(
    "case",
    VECTORS["canonical_json"]["accepted"],
    ids=["types", "escapes", "order", "limits", "lone string"],
)
def test_canonical_json_agrees(case: dict[str, Any]) -> None:
    data = b64decode(case["bytes"])
    assert canonical.encode(case["value"]) == data
    assert canonical.decode(data) == case["value"]


@pytest.mark.parametrize("case", VECTORS["canonical_json"]["refused"], ids=lambda case: case["why"])
def test_other_json_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        canonical.decode(b64decode(case["bytes"]))


@pytest.mark.parametrize("case", VECTORS["samples"], ids=lambda case: case["sample_id"][:8])
def test_names_of_samples_agree(case: dict[str, Any]) -> None:
    prompt = pa.array([case["prompt_ids"]], pa.list_(pa.int32()))
    response = pa.array([case["response_ids"]], pa.list_(pa.int32()))
    assert sample_id.sample_ids(prompt, response).to_pylist() == [case["sample_id"]]
    assert sample_id.prompt_ids_digests(prompt).to_pylist() == [case["prompt_id"]]


@pytest.mark.parametrize("case", VECTORS["content"], ids=lambda case: case["why"])
def test_content_digests_agree(case: dict[str, Any]) -> None:
    batch = pa.RecordBatch.from_arrays(
        [column(one["type"], one["values"]) for one in case["columns"]],
        names=[one["name"] for one in case["columns"]],
    )
    whole, cut = ContentDigest(batch.schema), ContentDigest(batch.schema)
    whole.update(batch)
    for row in range(batch.num_rows):
        cut.update(batch.slice(row, 1))
    assert str(whole.digest()) == str(cut.digest()) == case["digest"]


def column(kind: str, values: list[Any]) -> Any:
    """An Arrow array; floats stand as text in the vectors."""
    if "float" in kind:
        values = [numbers(value) for value in values]
    return pa.array(values, columns.arrow_type(kind))


def numbers(value: Any) -> Any:
    """Text as a float, at any depth."""
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return None if value is None else float(value)


@pytest.mark.parametrize("case", VECTORS["weights"], ids=lambda case: case["why"])
def test_weights_digests_agree(case: dict[str, Any], tmp_path: Path) -> None:
    files = [b64decode(file) for file in case["files"]]
    count = len(files)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    if count == 1:
        names = ["model.safetensors"]
    else:
        where = {
            tensor: name
            for name, data in zip(names, files, strict=True)
            for tensor in json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        }
        index = json.dumps({"weight_map": where})
        (tmp_path / "model.safetensors.index.json").write_text(index)
    for name, data in zip(names, files, strict=True):
        (tmp_path / name).write_bytes(data)
    assert str(weights_digest(tmp_path)) == case["digest"]


def test_one_and_two_files_have_one_weights_digest() -> None:
    found = {case["why"]: case["digest"] for case in VECTORS["weights"]}
    assert found["one file"] == found["two files"]
    assert found["one file"] == found["a tied output embedding is left out"]
    assert found["one file"] != found["one bit changed"]


def test_rounding_agrees() -> None:
    cases = VECTORS["precision"]
    values = np.array([float(case["value"]) for case in cases], np.float32)
    expected = np.array([float(case["rounded"]) for case in cases], np.float32)
    rounded = Precision.parse("2^-12").round(values)
    assert rounded.tobytes() == expected.tobytes()
    assert np.all(np.abs(rounded.astype(np.float64) - values) <= 2.0**-12)


@pytest.mark.parametrize("case", VECTORS["stamps"]["accepted"], ids=lambda case: case["why"])
def test_stamps_say_what_they_are_said_to_say(case: dict[str, Any]) -> None:
    stamp = Stamp.parse(b64decode(case["bytes"]))
    assert str(stamp.digest) == case["digest"]
    assert (str(stamp.sft_manifest_digest) if case["sft"] else None) == case["sft"]
    assert [str(teacher.weights_digest) for teacher in stamp.sft_teachers] == case["teachers"]
    assert [bool(run.inconsistent) for run in stamp.opd] == case["inconsistent"]


@pytest.mark.parametrize("case", VECTORS["identities"]["accepted"], ids=lambda case: case["why"])
def test_identities_of_imports_claim_what_they_are_said_to_claim(case: dict[str, Any]) -> None:
    identity = Identity.parse(b64decode(case["bytes"]))
    assert str(identity.digest) == case["digest"]
    assert identity.teacher is None
    assert identity.imported is not None
    said = identity.claimed("teacher")
    assert (str(said.weights_digest) if said else None) == case["asserted_teacher"]
    assert list(identity.imported.not_known) == case["unknown"]
    assert (identity.tokenizer is not None) == case["tokenizer"]


@pytest.mark.parametrize("case", VECTORS["identities"]["refused"], ids=lambda case: case["why"])
def test_identities_that_contradict_themselves_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Identity.parse(b64decode(case["bytes"]))


@pytest.mark.parametrize("case", VECTORS["stamps"]["refused"], ids=lambda case: case["why"])
def test_stamps_that_do_not_hold_together_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Stamp.parse(b64decode(case["bytes"]))


@pytest.mark.parametrize("case", VECTORS["signatures"]["accepted"], ids=lambda case: case["why"])
def test_signatures_of_the_key_are_told(case: dict[str, Any]) -> None:
    assert signature_problems(case) == []


@pytest.mark.parametrize("case", VECTORS["signatures"]["refused"], ids=lambda case: case["why"])
def test_what_is_no_signature_of_the_key_is_refused(case: dict[str, Any]) -> None:
    assert len(signature_problems(case)) == 1


def signature_problems(case: dict[str, Any]) -> list[Problem]:
    """What we find wrong in an envelope, asked for the signature of the vectors' key."""
    given = VECTORS["signatures"]
    key = PublicKey(b64decode(given["public_key"]))
    assert str(key.id) == given["keyid"]
    return signatures_problems(Digest(given["artifact"]), [b64decode(case["bytes"])], key)
