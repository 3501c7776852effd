"""What loaders assume of a config.json that leaves a field out, for families we have checked.

Transformers 5 writes these defaults into the files it saves and files on the Hub often leave
them out, so both spellings must mean the same. The tests compare each family with the installed
transformers. A family that is not here is taken at its word.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LayerTypes = Callable[[Mapping[str, Any]], list[str]]
SLIDING: Final = "sliding_attention"
FULL: Final = "full_attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Defaults of one `model_type`.

    Attributes:
        defaults: value of each field that the file may leave out.
        rope_theta: base of the rotary embedding, where the file says none.
        local_rope_theta: the same for sliding layers of models that have two; None for others.
        tied: whether the output embedding is the input embedding when the file does not say.
        layer_types: attention of each layer, from the other fields; None when there is one kind.
        ignored: fields that this family's code never reads.
    """

    defaults: Mapping[str, Any]
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    tied: bool = False
    layer_types: LayerTypes | None = None
    ignored: frozenset[str] = field(default_factory=frozenset)


def _qwen_layers(config: Mapping[str, Any]) -> list[str]:
    first = config["max_window_layers"]
    return [SLIDING if layer >= first else FULL for layer in range(config["num_hidden_layers"])]


def _every_nth_full(config: Mapping[str, Any]) -> list[str]:
    nth = config["sliding_window_pattern"]
    layers = range(1, config["num_hidden_layers"] + 1)
    return [SLIDING if layer % nth else FULL for layer in layers]


_SILU: Final = {"hidden_act": "silu", "rms_norm_eps": 1e-6}
_QWEN: Final = {
    **_SILU,
    "num_key_value_heads": 32,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
_QWEN_MOE: Final = {
    **_QWEN,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": False,
}
_GEMMA: Final = {
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
_ACT: Final = frozenset({"hidden_act"})  # Gemma's code reads hidden_activation

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family(defaults={**_SILU, "attention_bias": False, "mlp_bias": False}),
    "mistral": Family(defaults={**_SILU, "num_key_value_heads": 8, "sliding_window": 4096}),
    "mixtral": Family(
        defaults={
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "num_key_value_heads": 8,
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
        },
        rope_theta=1_000_000.0,
        ignored=frozenset({"router_jitter_noise"}),
    ),
    "qwen2": Family(defaults=_QWEN, layer_types=_qwen_layers),
    "qwen2_moe": Family(
        defaults={
            **_QWEN_MOE,
            "num_key_value_heads": 16,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4,
            "num_local_experts": 60,
            "qkv_bias": True,
        }
    ),
    "qwen3": Family(
        defaults={**_QWEN, "head_dim": 128, "attention_bias": False}, layer_types=_qwen_layers
    ),
    "qwen3_moe": Family(
        defaults={
            **_QWEN_MOE,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 768,
            "num_experts_per_tok": 8,
            "num_local_experts": 128,
            "attention_bias": False,
        },
        ignored=frozenset({"max_window_layers"}),
    ),
    "gemma2": Family(
        defaults={
            **_GEMMA,
            "sliding_window_pattern": 2,
            "final_logit_softcapping": 30.0,
            "attn_logit_softcapping": 50.0,
        },
        tied=True,
        layer_types=_every_nth_full,
        ignored=_ACT,
    ),
    "gemma3_text": Family(
        defaults={**_GEMMA, "sliding_window_pattern": 6},
        rope_theta=1_000_000.0,
        local_rope_theta=10_000.0,
        tied=True,
        layer_types=_every_nth_full,
        ignored=_ACT,
    ),
}

UNLISTED: Final = Family(defaults={})
