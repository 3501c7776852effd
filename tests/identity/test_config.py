"""config_digest: equal for one model in any spelling, different when an output-changing field is.

The oracle for spellings is the installed transformers: it loads a file written by hand in the
style of version 4 and saves it in its own.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from lopd_store.errors import FormatError
from lopd_store.identity.config import config_digest, normalised, vocab_size

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
}
LLAMA3_ROPE = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
YARN_OLD = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

# What files on the Hub look like: fields left out, old spellings, private fields.
VERSION_4: dict[str, dict[str, Any]] = {
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32768,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.43.1",
        "use_cache": True,
        "use_sliding_window": False,
    },
    "qwen2-windowed": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 128,
        "max_window_layers": 2,
        "rope_theta": 1000000,
    },
    "qwen2-yarn": {
        "model_type": "qwen2",
        "max_position_embeddings": 32768,
        "rope_scaling": YARN_OLD,
        "rope_theta": 1000000.0,
    },
    "qwen3": {
        "attention_bias": False,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "max_window_layers": 36,
        "model_type": "qwen3",
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
    },
    "qwen3-bare": {"model_type": "qwen3"},
    "qwen3-moe": {
        "decoder_sparse_step": 1,
        "head_dim": 128,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "num_experts": 16,
        "num_experts_per_tok": 8,
        "output_router_logits": False,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "use_sliding_window": False,
    },
    "qwen2-moe": {
        "model_type": "qwen2_moe",
        "num_experts": 60,
        "max_window_layers": 21,
        "sliding_window": 32768,
        "use_sliding_window": False,
        "shared_expert_intermediate_size": 5632,
    },
    "llama-2": {"model_type": "llama", "pretraining_tp": 1, "rope_scaling": None},
    "llama-3": {
        "attention_bias": False,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3_ROPE,
        "rope_theta": 500000.0,
    },
    "mistral-windowed": {"model_type": "mistral", "rms_norm_eps": 1e-05, "rope_theta": 10000.0},
    "mistral": {"model_type": "mistral", "sliding_window": None, "rope_theta": 1000000.0},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 8, "rope_theta": 1000000.0},
    "mixtral-bare": {"model_type": "mixtral"},
    "gemma2": {
        "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0,
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "model_type": "gemma2",
        "query_pre_attn_scalar": 256,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
    },
    "gemma2-bare": {"model_type": "gemma2"},
    "gemma3": {
        "model_type": "gemma3_text",
        "rope_local_base_freq": 10000,
        "rope_theta": 1000000,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "query_pre_attn_scalar": 256,
    },
}


def digest(config: dict[str, Any], *, own: bool = True) -> str:
    return str(config_digest(config, own_output_embedding=own))


def resaved(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(config))
    AutoConfig.from_pretrained(folder).save_pretrained(folder / "again")
    saved: dict[str, Any] = json.loads((folder / "again" / "config.json").read_text())
    return saved


@pytest.mark.parametrize("name", VERSION_4)
def test_what_transformers_5_saves_is_the_file_it_loaded(name: str, tmp_path: Path) -> None:
    config = {**SIZES, **VERSION_4[name]}
    saved = resaved(config, tmp_path)
    assert saved != config
    both = [normalised(each, own_output_embedding=True) for each in (config, saved)]
    assert both[0] == both[1]
    assert digest(config) == digest(saved)


LLAMA: dict[str, Any] = {**SIZES, **VERSION_4["llama-3"]}


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 500001.0},
        {"rope_scaling": {**LLAMA3_ROPE, "factor": 32.0}},
        {"rope_scaling": None},
        {"rms_norm_eps": 1e-06},
        {"hidden_act": "gelu"},
        {"num_attention_heads": 8},
        {"num_key_value_heads": 4},
        {"head_dim": 32},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"model_type": "mistral"},
        {"quantization_config": {"quant_method": "fp8"}},
        {"a_field_of_tomorrow": 1},
        {"sliding_window": 128},
        {"tie_word_embeddings": True},
    ],
    ids="-".join,
)
def test_a_field_that_changes_outputs_counts(change: dict[str, Any]) -> None:
    assert digest({**LLAMA, **change}) != digest(LLAMA)


@pytest.mark.parametrize(
    "change",
    [
        {"transformers_version": "6.0.0"},
        {"_name_or_path": "/somewhere"},
        {"use_cache": False},
        {"torch_dtype": "float16"},
        {"dtype": "float16"},
        {"architectures": ["Other"]},
        {"eos_token_id": [1, 2]},
        {"pad_token_id": None},
        {"vocab_size": 384},
        {"attention_dropout": 0.1},
        {"initializer_range": 0.5},
        {"temperature": 0.6},
        {"head_dim": None},
        {"rms_norm_eps": 0.00001},
        {"rope_theta": 500000},
        {"a_field_of_tomorrow": None},
        {"sliding_window": None},
    ],
    ids="-".join,
)
def test_a_field_that_changes_no_output_does_not_count(change: dict[str, Any]) -> None:
    assert digest({**LLAMA, **change}) == digest(LLAMA)


def test_fields_of_an_architecture_nobody_listed_are_taken_at_their_word() -> None:
    config = {"model_type": "novel", "gate": {"alpha": 0.5}, "vocab_size": 10}
    assert normalised(config, own_output_embedding=False) == {
        "model_type": "novel",
        "gate": {"alpha": "0.5"},
        "tie_word_embeddings": True,
    }


def test_the_tied_flag_counts_only_beside_an_output_embedding_of_its_own() -> None:
    tied, untied = {**LLAMA, "tie_word_embeddings": True}, {**LLAMA, "tie_word_embeddings": False}
    assert digest(tied, own=False) == digest(untied, own=False)
    assert digest(tied, own=True) != digest(untied, own=True)


def test_the_text_part_of_a_larger_model_is_normalised_too() -> None:
    old = {"model_type": "wrapper", "text_config": {**SIZES, **VERSION_4["gemma2"]}}
    bare = {"model_type": "wrapper", "text_config": {**SIZES, **VERSION_4["gemma2-bare"]}}
    assert digest(old) == digest(bare)
    assert vocab_size(old) == 320


@pytest.mark.parametrize(
    "broken",
    [
        {"model_type": "qwen2", "use_sliding_window": True},
        {"model_type": "llama", "rope_scaling": "yarn"},
        {"model_type": "llama", "layer_types": [["full_attention"]]},
    ],
    ids=["no-layers", "rope-is-text", "layer-is-a-list"],
)
def test_a_config_no_loader_accepts_is_a_format_error(broken: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        digest(broken)
