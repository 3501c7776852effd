import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from lopd_store.digest import Digest
from lopd_store.documents.model import ModelIdentity
from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_store.identity.model import fingerprint
from tests.identity.checkpoints import expected_weights_digest, tensors_in


@pytest.fixture
def copy(qwen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen, tmp_path / "copy"))


def identity(folder: Path, **options: Any) -> ModelIdentity:
    return fingerprint(str(folder), cache=None, **options).model


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_fingerprint_says_who_the_model_and_the_tokenizer_are(qwen: Path) -> None:
    found = fingerprint(str(qwen), cache=None)
    assert str(found.model.weights_digest) == expected_weights_digest(tensors_in(qwen))
    assert found.model.vocab_size == 320
    assert found.folder == qwen
    assert found.tokenizer is not None
    assert found.tokenizer.blob == Digest.of(found.tokenizer_blob or b"")
    for name, digest in found.model.files.items():
        assert digest == Digest.of((qwen / name).read_bytes())
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= found.model.files.keys()


def test_the_identity_is_a_valid_part_of_a_document(qwen: Path) -> None:
    found = identity(qwen)
    assert ModelIdentity.from_json(found.to_json()) == found


def test_progress_counts_the_bytes_of_the_weights(qwen: Path) -> None:
    seen: list[int] = []
    identity(qwen, progress=seen.append)
    assert sum(seen) >= (qwen / "model.safetensors").stat().st_size


def test_a_model_without_a_tokenizer_has_none(copy: Path) -> None:
    for path in copy.glob("*token*"):
        path.unlink()
    found = fingerprint(str(copy), cache=None)
    assert (found.tokenizer, found.tokenizer_blob) == (None, None)


def test_the_embedding_says_how_many_rows_where_the_config_does_not(copy: Path) -> None:
    edit(copy / "config.json", lambda config: config.pop("vocab_size"))
    assert identity(copy).vocab_size == 320


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_no_model(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        identity(copy)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1, "a": 2}', "{" * 100_000], ids=repr)
def test_a_broken_config_is_a_format_error(text: str, copy: Path) -> None:
    (copy / "config.json").write_text(text)
    with pytest.raises(FormatError, match=r"config\.json"):
        identity(copy)


def test_a_pipe_where_the_config_should_be_does_not_hang(copy: Path) -> None:
    (copy / "config.json").unlink()
    os.mkfifo(copy / "config.json")
    with pytest.raises(NotFoundError, match=r"config\.json"):
        identity(copy)


def test_importing_the_fingerprint_imports_nothing_heavy() -> None:
    script = (
        "import sys, lopd_store.stamping, lopd_store.identity.model, lopd_store.identity.compare\n"
        "heavy = {'torch', 'transformers', 'vllm', 'ray', 'huggingface_hub', 'duckdb'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def save_adapter(folder: Path, qwen: Path, **config: Any) -> Path:
    folder.mkdir()
    weights = load_file(qwen / "model.safetensors")
    query = weights["model.layers.0.self_attn.q_proj.weight"]
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {
        f"{name}.lora_A.weight": query[:4].clone(),
        f"{name}.lora_B.weight": query[:, :4].clone(),
    }
    save_file(
        {key: value.contiguous() for key, value in pair.items()},
        folder / "adapter_model.safetensors",
    )
    stated = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(qwen),
        "r": 4,
        "lora_alpha": 16.0,
        "target_modules": ["v_proj", "q_proj"],
        "lora_dropout": 0.1,
        "use_rslora": False,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(stated | config))
    return folder


def test_an_adapter_is_its_base_with_rank_alpha_and_targets(qwen: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "lora", qwen)
    found = fingerprint(str(folder), base=str(qwen), cache=None)
    base = identity(qwen)
    assert found.model.weights_digest == base.weights_digest
    assert found.model.config_digest == base.config_digest
    assert found.model.adapter is not None
    stated = found.model.adapter.to_json()
    del stated["digest"]
    assert stated == {"rank": 4, "alpha": "16", "targets": ["q_proj", "v_proj"]}
    assert {"adapter_model.safetensors", "model.safetensors"} <= found.model.files.keys()
    assert found.tokenizer == fingerprint(str(qwen), cache=None).tokenizer
    assert ModelIdentity.from_json(found.model.to_json()) == found.model


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"use_rslora": True}, True),
        ({"alpha_pattern": {"q_proj": 8}}, True),
        ({"use_rslora": None}, False),
        ({"lora_dropout": 0.0}, False),
        ({"peft_version": "0.19"}, False),
        ({"base_model_name_or_path": "org/name"}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_settings_that_change_what_an_adapter_does_count(
    change: dict[str, Any], *, differs: bool, qwen: Path, tmp_path: Path
) -> None:
    one = save_adapter(tmp_path / "one", qwen)
    other = save_adapter(tmp_path / "other", qwen, **change)
    found = [identity(folder, base=str(qwen)).adapter for folder in (one, other)]
    assert (found[0] != found[1]) == differs


def test_a_base_that_is_a_path_is_not_followed(qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the base model"):
        identity(save_adapter(tmp_path / "lora", qwen))


@pytest.mark.parametrize(
    "change",
    [{"peft_type": "IA3"}, {"r": 0}, {"r": "4"}, {"lora_alpha": None}, {"target_modules": {}}],
    ids=["kind", "rank-0", "rank-text", "no-alpha", "targets"],
)
def test_an_adapter_of_another_kind_is_refused(
    change: dict[str, Any], qwen: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path / "lora", qwen, **change)
    with pytest.raises(FormatError):
        identity(folder, base=str(qwen))
