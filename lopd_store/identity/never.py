"""Fields of config.json that never change a model's outputs."""

from typing import Final

_SUFFIXES: Final = (
    "_token_id", "_token_ids", "_token_index",  # the tokenizer identity has them
    "dropout", "dropout_prob", "_pdrop", "_dropout_p",  # training only
    "initializer_range", "initializer_factor", "_loss_coef", "_aux_loss_alpha",
)  # fmt: skip

_SAVED_BY: Final = (
    "transformers_version", "name_or_path", "architectures", "auto_map", "dtype", "torch_dtype",
    "tokenizer_class", "use_cache", "cache_implementation", "attn_implementation",
    "experts_implementation", "torchscript", "use_bfloat16", "return_dict", "use_return_dict",
    "output_attentions", "output_hidden_states", "output_router_logits", "gradient_checkpointing",
    "pretraining_tp", "chunk_size_feed_forward", "tf_legacy_loss", "pruned_heads", "use_mambapy",
    "vocab_size", "tie_word_embeddings", "is_encoder_decoder", "is_decoder", "add_cross_attention",
    "cross_attention_hidden_size", "tie_encoder_decoder", "transformers.js_config",
    "unsloth_version", "unsloth_fixed", "_unsloth_fixed",
)  # fmt: skip

_HEADS_OF_OTHER_TASKS: Final = (
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task",
    "task_specific_params", "prefix", "classifier_dropout",
)  # fmt: skip

# Recorded as `sampling` where text is generated; they change no log-probability.
_GENERATION: Final = (
    "do_sample", "early_stopping", "length_penalty", "max_length", "min_length", "num_beams",
    "no_repeat_ngram_size", "num_beam_groups", "num_return_sequences", "output_scores",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "temperature",
    "top_k", "top_p", "typical_p", "diversity_penalty", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens",
)  # fmt: skip

_NAMES: Final = frozenset((*_SAVED_BY, *_HEADS_OF_OTHER_TASKS, *_GENERATION))


def never_counts(field: str) -> bool:
    """Whether `field` is private to the saving library or changes no output."""
    return field.startswith("_") or field in _NAMES or field.endswith(_SUFFIXES)
