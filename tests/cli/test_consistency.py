"""`verify --student`: each broken link of the chain exits 6, prints both sides and what to do."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lopd_store import canonical
from lopd_store.artifacts import load
from lopd_store.building.options import EngineOptions
from lopd_store.documents.model import ModelIdentity
from lopd_store.identity.model import Fingerprint
from lopd_store.stamping import read_stamp
from tests.building.chain import Arithmetic
from tests.building.lineage import COMMITS, Lineage, from_hub, make_lineage
from tests.cli.runner import Said, kinds, run, verify
from tests.hub_server import Hub, running
from tests.verify.test_consistency import other_ids


def checked(lineage: Lineage, target: object = "signal", *more: object) -> Said:
    """What `verify TARGET --student STUDENT` says to people."""
    words = ("--student", lineage.student, "--store", lineage.store.root)
    return run("verify", target, *words, *more)


def shows(said: Said, model: ModelIdentity) -> bool:
    """Whether a model stands there by name, revision and digests."""
    source = model.source
    named = f"{source.repo}@{source.commit}" if source else "a local folder"
    facts = (named, str(model.weights_digest), str(model.config_digest))
    return said.code == 6 and all(fact in said.out for fact in facts)


def test_an_honest_chain_passes(lineage: Lineage, teacher: Fingerprint) -> None:
    said = checked(lineage)
    assert said.code == 0
    assert said.out.endswith(": ok (depth 4, consistency)\n")
    said = checked(lineage, "signal", "--teacher", teacher.folder, "--json")
    assert (said.code, said.json["depth"], said.json["advice"]) == (0, 4, [])


def test_another_teacher(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    lineage = make_lineage(tmp_path, wrote=teacher, scored=other, student=models["student"])
    said = checked(lineage)
    assert shows(said, teacher.model)
    assert shows(said, other.model)
    assert "other-teacher: another model scored these rows" in said.out
    assert "next: score the rollouts with the SFT teacher" in said.out
    assert kinds(checked(lineage, "signal", "--json")) == {"other-teacher"}


def test_another_revision_of_the_teacher(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    wrote, scored = from_hub(teacher, COMMITS[0]), from_hub(other, COMMITS[1])
    lineage = make_lineage(tmp_path, wrote=wrote, scored=scored, student=models["student"])
    said = checked(lineage)
    assert shows(said, wrote.model)
    assert shows(said, scored.model)
    assert "other-teacher-revision: another revision of the SFT teacher" in said.out


def test_retokenised_rollouts(
    lineage: Lineage, tmp_path: Path, teacher: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineOptions, "scorer", lambda *_: Arithmetic())
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "the thing", "response": "in the"}) + "\n")
    where = ("--teacher", teacher.folder, "--store", lineage.store.root)
    assert run("build", path, "-o", "text", *where).code == 0
    said = checked(lineage, "text")
    assert "retokenised-rollouts: ids were made from text" in said.out
    assert f"generate --kind rollouts --model {lineage.student}" in said.out
    found = checked(lineage, "text", "--json")
    assert found.code == 6
    assert kinds(found) == {"unknown-policy", "retokenised-rollouts"}


def test_another_tokenizer(lineage: Lineage) -> None:
    before = lineage.fingerprint().tokenizer
    other_ids(lineage.student)
    after = lineage.fingerprint().tokenizer
    said = checked(lineage)
    assert said.code == 6
    for tokenizer in (before, after):
        assert tokenizer is not None
        assert f"vocabulary {tokenizer.vocab_digest}" in said.out
    found = checked(lineage, "signal", "--json")
    assert kinds(found) == {"other-tokenizer", "other-sft-tokenizer"}


def test_another_student(lineage: Lineage, other: Fingerprint) -> None:
    policy = lineage.fingerprint().model
    said = checked(replace(lineage, student=other.folder))
    assert shows(said, policy)
    assert shows(said, other.model)
    found = checked(replace(lineage, student=other.folder), "signal", "--json")
    assert kinds(found) == {"no-stamp", "other-policy"}


def test_a_stamp_on_other_weights(lineage: Lineage) -> None:
    weights = load_file(lineage.student / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, lineage.student / "model.safetensors", metadata={"format": "pt"})
    said = checked(lineage)
    assert shows(said, lineage.fingerprint().model)
    assert str(lineage.stamp.weights_digest) in said.out
    found = checked(lineage, "signal", "--json")
    assert kinds(found) == {"stamp-of-other-weights", "other-policy"}


def test_a_stamp_with_changed_bytes(lineage: Lineage) -> None:
    path = lineage.student / "lopd.json"
    document = json.loads(path.read_text())
    model = document["sft"]["identities"][0]["models"]["teacher"]
    model["weights_digest"] = "sha256:" + "1" * 64
    path.write_bytes(canonical.encode(document))
    said = checked(lineage)
    assert said.code == 5
    assert "lopd.json /sft/identities/0: digest-mismatch" in said.out


def test_a_stamp_other_than_the_rollouts_carry(
    lineage: Lineage, other: Fingerprint, teacher: Fingerprint
) -> None:
    (lineage.student / "lopd.json").unlink()
    words = ("--store", lineage.store.root, "--base", other.folder)
    assert run("stamp", lineage.student, "--sft", "sft", *words).code == 0
    said = checked(lineage)
    stamp = read_stamp(lineage.student)
    assert stamp is not None
    assert said.code == 6
    assert "other-stamp" in said.out
    assert "base, how differ" in said.out
    assert f"stamp {stamp.digest}" in said.out
    assert f"stamp {lineage.stamp.digest}" in said.out
    assert "asserted by a person" in said.err
    assert stamp.sft_teacher == teacher.model


def test_a_student_without_a_stamp(lineage: Lineage) -> None:
    (lineage.student / "lopd.json").unlink()
    said = checked(lineage)
    assert said.code == 6
    assert f"say so: lopd-store stamp {lineage.student} --sft REF" in said.out


def test_a_lone_shard_says_the_same(
    tmp_path: Path, teacher: Fingerprint, other: Fingerprint, models: dict[str, Path]
) -> None:
    lineage = make_lineage(tmp_path, wrote=teacher, scored=other, student=models["student"])
    (shard, *_) = load(lineage.store, "signal").open_shards()
    alone = Path(shutil.copy(shard.path, tmp_path / "alone.parquet"))
    words = ("--student", lineage.student, "--store", tmp_path / "no-store")
    said = run("verify", alone, *words)
    assert shows(said, teacher.model)
    assert shows(said, other.model)


@dataclass(frozen=True)
class Client:
    """`lopd-store` in a process of its own, which alone reads HF_ENDPOINT."""

    hub: Hub
    folder: Path

    def verify(self, *words: object) -> Said:
        code = "from lopd_cli.store import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "verify", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **self.hub.environment(self.folder / "cache"),
                "LOPD_STORE": str(self.folder / "no-store"),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
        )
        return Said(done.returncode, done.stdout, done.stderr)


def test_a_dataset_on_the_hub_says_the_same(lineage: Lineage, other: Fingerprint) -> None:
    shards = [shard.path.read_bytes() for shard in load(lineage.store, "signal").open_shards()]
    files = {f"data/{number:05}.parquet": data for number, data in enumerate(shards)}
    with running(Hub()) as hub:
        hub.commit("org/data", files)
        hub.tag("org/data", "v1")
        client = Client(hub, lineage.student.parent)
        said = client.verify("org/data", "--student", lineage.student, "--json")
        assert (said.code, said.json["problems"], said.json["depth"]) == (0, [], 4)
        assert said.json["target"].startswith("org/data@")
        said = client.verify("org/data@v1", "--student", other.folder)
        assert shows(said, other.model)
        said = client.verify("org/nothing", "--student", lineage.student)
        assert said.code == 4


def test_an_adapter_whose_base_is_not_known_asks_for_it(lineage: Lineage) -> None:
    adapter = lineage.student.parent / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": str(lineage.student)})
    )
    weights = load_file(lineage.student / "model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: weights["model.norm.weight"]}, adapter / "adapter_model.safetensors")
    said = checked(replace(lineage, student=adapter))
    assert (said.code, "name the base" in said.err) == (2, True)
    said = run("verify", "signal", "--base", lineage.student, "--store", lineage.store.root)
    assert (said.code, "--student" in said.err) == (2, True)
    found = verify(lineage.store, "signal", "--student", adapter, "--base", lineage.student)
    assert found.code == 6
    assert kinds(found) == {"no-stamp", "other-policy-adapter"}
    assert any("LoRA adapter" in note for note in found.json["notes"])


def test_a_misspelt_ref_is_answered_with_the_one_that_is_there(lineage: Lineage) -> None:
    where = ("--store", lineage.store.root)
    for words in (
        ("verify", "signl", "--student", lineage.student),
        ("stamp", lineage.student, "--sft", "sfft"),
    ):
        said = run(*words, *where)
        assert said.code == 4
        assert "; did you mean s" in said.err
