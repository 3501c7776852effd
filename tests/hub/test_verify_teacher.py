"""verify --teacher org/model: by the digests of its files on the Hub; its weights stay there."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.cli.runner import Said, kinds
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.verifying import asked_for_shards, card, told
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

WEIGHTS = "model.safetensors"


def of_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def model(models: dict[str, Path]) -> dict[str, bytes]:
    """The files of the teacher that scored the signal."""
    return of_folder(models["teacher"])


def verify(client: Client, store: Store, teacher: str, *more: object) -> Said:
    words = ("verify", "signal", "--teacher", teacher, "--json", "--store", store.root)
    return client.lopd_store(*words, *more)


def bytes_of_weights(hub: Hub, *files: bytes) -> int:
    """How many bytes of these files left the Hub."""
    digests = "|".join(hashlib.sha256(data).hexdigest() for data in files)
    return sum(request.sent for request in hub.asked(digests))


def test_the_same_files_are_the_teacher_and_no_weight_is_downloaded(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    hub.commit("org/teacher", model, kind="model")
    hub.tag("org/teacher", "v1", kind="model")
    for name in ("org/teacher", "org/teacher@v1"):
        said = verify(client, signal, name)
        assert (said.code, said.json["problems"], said.json["depth"]) == (0, [], 2), said.err
        assert "the 1 weight file(s) of org/teacher@" in told(said)
        assert "tensors were not read" in told(said)
    assert bytes_of_weights(hub, model[WEIGHTS]) == 0


def test_other_weights_say_how_to_read_the_tensors(
    hub: Hub, client: Client, signal: Store, models: dict[str, Path]
) -> None:
    other = of_folder(models["student"])
    hub.commit("org/other", other, kind="model")
    said = verify(client, signal, "org/other")
    assert (said.code, kinds(said)) == (6, {"teacher-files"})
    assert "--deep downloads the weights" in told(said)
    assert bytes_of_weights(hub, other[WEIGHTS]) == 0
    deep = verify(client, signal, "org/other", "--deep")
    assert (deep.code, kinds(deep)) == (6, {"other-weights"})
    assert bytes_of_weights(hub, other[WEIGHTS]) >= len(other[WEIGHTS])


def with_metadata(data: bytes) -> bytes:
    """The same tensors in another file."""
    (length,) = struct.unpack("<Q", data[:8])
    header = {**json.loads(data[8 : 8 + length]), "__metadata__": {"made": "elsewhere"}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def test_the_same_tensors_in_other_files_need_deep(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    hub.commit("org/saved", model | {WEIGHTS: with_metadata(model[WEIGHTS])}, kind="model")
    said = verify(client, signal, "org/saved")
    assert (said.code, kinds(said)) == (6, {"teacher-files"})
    deep = verify(client, signal, "org/saved", "--deep")
    assert (deep.code, deep.json["problems"], deep.json["depth"]) == (0, [], 2)


def test_a_config_is_compared_by_what_it_does(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    """Of the weights only the header comes, to see which tensors there are."""
    config: dict[str, Any] = json.loads(model["config.json"])
    same = json.dumps(config | {"transformers_version": "9.9.9"}).encode()
    other = json.dumps(config | {"rms_norm_eps": 0.5}).encode()
    hub.commit("org/same", model | {"config.json": same}, kind="model")
    hub.commit("org/other", model | {"config.json": other}, kind="model")
    said = verify(client, signal, "org/same")
    assert (said.code, said.json["problems"]) == (0, []), said.err
    said = verify(client, signal, "org/other")
    assert (said.code, kinds(said)) == (6, {"other-config"})
    assert 0 < bytes_of_weights(hub, model[WEIGHTS]) < len(model[WEIGHTS]) / 4


def test_another_tokenizer_is_found(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    tokenizer: dict[str, Any] = json.loads(model["tokenizer.json"])
    vocabulary = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    changed = json.dumps(tokenizer).encode()
    hub.commit("org/teacher", model | {"tokenizer.json": changed}, kind="model")
    said = verify(client, signal, "org/teacher")
    assert said.code == 6
    assert kinds(said) <= {"other-vocabulary", "other-ids-for-probes"}


def test_weights_that_a_loader_would_take_instead_are_found(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes], models: dict[str, Path]
) -> None:
    """The named file is there, and so is an index that names another."""
    index = json.dumps({"weight_map": {"x": "model-00001-of-00001.safetensors"}}).encode()
    other = (models["student"] / WEIGHTS).read_bytes()
    more = {"model.safetensors.index.json": index, "model-00001-of-00001.safetensors": other}
    hub.commit("org/both", model | more, kind="model")
    said = verify(client, signal, "org/both")
    assert said.code == 5
    assert "expected one checkpoint, found both" in said.err
    hub.commit("org/only", model | more | {WEIGHTS: b""}, kind="model")
    hub.commit("org/only", {WEIGHTS: None}, kind="model")
    said = verify(client, signal, "org/only")
    assert (said.code, kinds(said)) == (6, {"teacher-files"})


def test_an_artifact_on_the_hub_and_its_teacher_there(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    files = files_of(signal.root, "signal") | {"README.md": card()}
    hub.commit("org/data", files)
    hub.commit("org/teacher", model, kind="model")
    said = client.lopd_store("verify", "org/data", "--teacher", "org/teacher")
    assert said.code == 0, said.err
    assert said.out.endswith(": ok (depth 2, identity, at a distance)\n")
    assert asked_for_shards(hub, files) == []
    assert bytes_of_weights(hub, model[WEIGHTS]) == 0
    deep = client.lopd_store("verify", "org/data", "--teacher", "org/teacher", "--deep")
    assert deep.code == 0, deep.err
    assert deep.out.endswith(": ok (depth 2, identity)\n")


def test_rollouts_have_no_teacher(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    hub.commit("org/teacher", model, kind="model")
    words = ("verify", "rollouts", "--teacher", "org/teacher", "--store", signal.root)
    said = client.lopd_store(*words)
    assert said.code == 2
    assert "expected an artifact that names a teacher" in said.err


def test_a_folder_and_a_cached_model_are_read_as_before(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes], models: dict[str, Path]
) -> None:
    said = verify(client, signal, str(models["teacher"]))
    assert (said.code, said.json["problems"]) == (0, [])
    assert "weight file(s)" not in told(said)
    hub.commit("org/teacher", model, kind="model")
    assert verify(client, signal, "org/teacher", "--deep").code == 0
    offline = client.lopd_store(
        *("verify", "signal", "--teacher", "org/teacher", "--json", "--store", signal.root),
        HF_HUB_OFFLINE="1",
    )
    assert (offline.code, offline.json["problems"]) == (0, [])
    assert "weight file(s)" not in told(offline)


def test_a_model_that_is_not_there_is_not_found(hub: Hub, client: Client, signal: Store) -> None:
    hub.create("org/empty", "model")
    for name in ("org/absent", "org/empty", "org/empty@v9"):
        said = verify(client, signal, name)
        assert (said.code, said.out) == (4, ""), name


NO_FILES = """
import json, sys
from dataclasses import replace
from pathlib import Path
from lopd_store.artifacts import load
from lopd_store.store import Store
from lopd_store.verify.remote_teacher import check_remote_teacher, teacher_at
from lopd_store.verify.report import Report
(identity,) = load(Store.open(Path(sys.argv[1])), "signal").identities
teacher = replace(identity.models["teacher"], files={})
report = Report(target="x")
changed = replace(identity, models={**identity.models, "teacher": teacher})
check_remote_teacher([changed], teacher_at("org/teacher", cache=None), report)
print(json.dumps([report.exit_code, report.notes]))
"""


def test_an_identity_that_names_no_files_is_compared_by_tensors(
    hub: Hub, client: Client, signal: Store, model: dict[str, bytes]
) -> None:
    hub.commit("org/teacher", model, kind="model")
    code, notes = json.loads(client.python(NO_FILES, signal.root).out)
    assert code == 0
    assert "downloaded and read" in notes[0]
    assert bytes_of_weights(hub, model[WEIGHTS]) >= len(model[WEIGHTS])
