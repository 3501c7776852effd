import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.model import Adapter, ModelIdentity
from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.stamping import check_stamp, read_stamp, write_opd_stamp, write_stamp
from tests.models import save_model

EMPTY = Digest.of(b"")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("stamping") / "base")


@pytest.fixture
def checkpoint(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "checkpoint"))


@pytest.fixture(scope="module")
def sft(base: Path) -> dict[str, Any]:
    """The documents of an sft artifact without rows, by hand, whose teacher is `base`."""
    identity = sft_identity(fingerprint(str(base), cache=None))
    artifact = canonical.encode(
        {
            "format": "lopd.artifact.v1",
            "kind": "sft",
            "identities": [str(Digest.of(identity))],
            "columns": [{"name": "sample_id", "type": "string"}],
            "rows": 0,
            "tokens": 0,
            "prompt_tokens": 0,
            "content_digest": str(EMPTY),
            "duplicates": 0,
            "lineage": [],
            "skipped": {},
        }
    )
    tokenizer = Identity.parse(identity).tokenizer_blob
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.lopd.sft.v1",
        "config": described("artifact.v1+json", artifact),
        "layers": [
            described("identity.v1+json", identity),
            {
                "mediaType": "application/vnd.lopd.tokenizer.v1+zstd",
                "digest": str(tokenizer),
                "size": 1,
            },
        ],
    }
    return {
        "manifest": Manifest.from_json(manifest),
        "artifact": ArtifactDocument.parse(artifact),
        "identities": [Identity.parse(identity)],
    }


def described(kind: str, data: bytes) -> dict[str, Any]:
    media = f"application/vnd.lopd.{kind}"
    return {"mediaType": media, "digest": str(Digest.of(data)), "size": len(data)}


def sft_identity(teacher: Fingerprint) -> bytes:
    assert teacher.tokenizer is not None
    scoring = {
        "engine": "transformers",
        "versions": {"torch": "2.13.0"},
        "dtype": "float32",
        "quantization": "none",
        "device": "cpu",
        "logprobs_mode": "raw_logprobs",
        "tensor_parallel_size": 1,
        "chunk_tokens": 1024,
        "settings": {},
    }
    return canonical.encode(
        {
            "format": "lopd.identity.v1",
            "kind": "sft",
            "models": {"teacher": teacher.model.to_json()},
            "tokenizer": teacher.tokenizer.to_json(),
            "sampling": {"temperature": "1", "top_p": "1", "max_tokens": 8, "seed": 0, "n": 1},
            "prompts": {"digest": str(EMPTY)},
            "scorings": {"sampling": scoring},
            "signals": [
                {
                    "column": "rollout_logprobs",
                    "role": "teacher",
                    "model": "teacher",
                    "scoring": "sampling",
                }
            ],
            "precision": "exact",
        }
    )


def model_of(folder: Path) -> ModelIdentity:
    return fingerprint(str(folder), cache=None).model


def test_a_stamp_is_read_as_it_was_written(
    checkpoint: Path, base: Path, sft: dict[str, Any]
) -> None:
    teacher = model_of(base)
    written = write_stamp(checkpoint, how="made", base=teacher, cache=None, **sft)
    found = read_stamp(checkpoint)
    assert found == written
    assert (checkpoint / "lopd.json").read_bytes() == written.encode()
    assert found is not None
    assert found.weights_digest == teacher.weights_digest
    assert found.base is not None
    assert found.base.weights_digest == teacher.weights_digest
    assert found.sft_teacher.weights_digest == teacher.weights_digest
    assert found.sft_manifest_digest == sft["manifest"].digest
    assert check_stamp(found, model_of(checkpoint)) == []


def test_writing_a_stamp_leaves_nothing_else_and_does_not_change_who_the_model_is(
    checkpoint: Path, sft: dict[str, Any]
) -> None:
    before, files = model_of(checkpoint), {path.name for path in checkpoint.iterdir()}
    write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    assert {path.name for path in checkpoint.iterdir()} == files | {"lopd.json"}
    assert model_of(checkpoint) == before
    assert stat.S_IMODE((checkpoint / "lopd.json").stat().st_mode) & 0o400


def test_a_stamp_on_other_weights_is_a_problem(checkpoint: Path, sft: dict[str, Any]) -> None:
    stamp = write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, checkpoint / "model.safetensors")
    assert [problem.kind for problem in check_stamp(stamp, model_of(checkpoint))] == [
        "stamp-of-other-weights"
    ]


def test_a_stamp_under_an_adapter_or_another_config_is_a_problem(
    checkpoint: Path, sft: dict[str, Any]
) -> None:
    stamp = write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    adapter = Adapter(digest=EMPTY, rank=1, alpha="1", targets=("q_proj",))
    model = replace(model_of(checkpoint), adapter=adapter, config_digest=EMPTY)
    assert [problem.kind for problem in check_stamp(stamp, model)] == [
        "stamp-of-other-config",
        "stamp-under-adapter",
    ]


def test_a_checkpoint_without_a_stamp_has_none(checkpoint: Path) -> None:
    assert read_stamp(checkpoint) is None


def test_documents_that_do_not_belong_together_are_refused_and_nothing_is_written(
    checkpoint: Path, sft: dict[str, Any]
) -> None:
    other = sft["artifact"].json
    other["duplicates"] = 1
    with pytest.raises(FormatError):
        write_stamp(
            checkpoint,
            how="made",
            base=None,
            cache=None,
            **(sft | {"artifact": ArtifactDocument.from_json(other)}),
        )
    assert not (checkpoint / "lopd.json").exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[" * 1000, b'{"format":"lopd.stamp.v2"}', b"\xff"],
    ids=["empty", "no-fields", "deep", "next-version", "not-utf-8"],
)
def test_a_broken_stamp_is_a_format_error(data: bytes, checkpoint: Path) -> None:
    (checkpoint / "lopd.json").write_bytes(data)
    with pytest.raises(FormatError):
        read_stamp(checkpoint)


def test_an_edited_stamp_is_refused(checkpoint: Path, sft: dict[str, Any]) -> None:
    stamp = write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    document = json.loads(stamp.encode())
    teacher = document["sft"]["identities"][0]["models"]["teacher"]
    teacher["weights_digest"] = str(EMPTY)
    (checkpoint / "lopd.json").write_bytes(canonical.encode(document))
    with pytest.raises(FormatError):
        read_stamp(checkpoint)


def test_a_stamp_that_never_ends_is_not_read_whole(checkpoint: Path) -> None:
    with (checkpoint / "lopd.json").open("wb") as file:
        file.truncate(canonical.MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(FormatError, match="found more"):
        read_stamp(checkpoint)


def test_a_pipe_where_the_stamp_should_be_does_not_hang(checkpoint: Path) -> None:
    os.mkfifo(checkpoint / "lopd.json")
    with pytest.raises(FormatError, match="a file"):
        read_stamp(checkpoint)


def test_an_adapter_cannot_be_stamped(
    base: Path, tmp_path: Path, sft: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Adapter(digest=EMPTY, rank=1, alpha="1", targets=("q_proj",))
    whole = fingerprint(str(base), cache=None)
    tuned = replace(whole, model=replace(whole.model, adapter=adapter))
    monkeypatch.setattr("lopd_store.stamping.fingerprint", lambda *_a, **_k: tuned)
    with pytest.raises(UsageError, match="merge it first"):
        write_stamp(tmp_path, how="made", base=None, cache=None, **sft)


def test_a_checkpoint_that_cannot_be_written_is_a_store_error(
    checkpoint: Path, sft: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError):
        write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    assert sorted(path.name for path in checkpoint.glob("*-*")) == []


def test_nobody_asserts_over_what_the_trainer_stated(checkpoint: Path, sft: dict[str, Any]) -> None:
    made = write_stamp(checkpoint, how="made", base=None, cache=None, **sft)
    with pytest.raises(UsageError, match=r"remove lopd\.json"):
        write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    assert read_stamp(checkpoint) == made


@pytest.fixture
def adapter(checkpoint: Path) -> Path:
    """A LoRA adapter of rank 2 beside the checkpoint it was trained on."""
    folder = checkpoint.parent / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    down = load_file(checkpoint / "model.safetensors")["model.norm.weight"][None].repeat(2, 1)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: down.contiguous()}, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_that_opd_made_is_stamped_by_base_and_adapter(
    checkpoint: Path, adapter: Path, sft: dict[str, Any]
) -> None:
    start = write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    student = fingerprint(str(checkpoint), cache=None)
    words: dict[str, Any] = {"signal_id": EMPTY, "identities": sft["identities"], "cache": None}
    written = write_opd_stamp(adapter, start=start, student=student, inconsistent=(), **words)
    tuned = fingerprint(str(adapter), base=str(checkpoint), cache=None).model
    assert tuned.adapter is not None
    assert read_stamp(adapter) == written
    assert written.adapter_digest == tuned.adapter.digest
    assert (written.weights_digest, written.how) == (student.model.weights_digest, "asserted")
    assert check_stamp(written, tuned) == []
    assert [p.kind for p in check_stamp(written, student.model)] == ["stamp-of-other-adapter"]
    further = write_opd_stamp(
        adapter,
        start=written,
        student=replace(student, model=tuned, folder=adapter),
        inconsistent=(),
        under=checkpoint,
        **words,
    )
    assert further.opd[1].start.adapter_digest == tuned.adapter.digest
    assert len(further.opd) == 2


def test_nobody_asserts_over_the_history_of_a_checkpoint(
    checkpoint: Path, sft: dict[str, Any]
) -> None:
    start = write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    written = write_opd_stamp(
        checkpoint,
        start=start,
        student=fingerprint(str(checkpoint), cache=None),
        signal_id=None,
        identities=sft["identities"] * 2,
        inconsistent=(),
        cache=None,
    )
    assert written.opd[0].signal.identities == (sft["identities"][0].digest,)
    with pytest.raises(UsageError, match=r"remove lopd\.json"):
        write_stamp(checkpoint, how="asserted", base=None, cache=None, **sft)
    assert read_stamp(checkpoint) == written
