"""config_digest: the fields of config.json that change outputs, in one spelling.

Counted: every field that is not listed in `never.py`, so a field of an architecture we have
never seen is noticed when it changes. Not counted: who saved the file and how, dtypes (the
weights carry them), training-only fields, generation settings, token ids, `vocab_size` (the
embedding's shape has it, and padding the vocabulary changes no output).

Spellings that mean the same are made one: `rope_parameters` and `rope_theta`/`rope_scaling`,
1e6 and 1000000.0 and 1000000, null and absent, defaults left out and written out (for the
families of `families.py`), `num_experts` and `num_local_experts`, sliding windows that are
switched off. `tie_word_embeddings` counts only when the weights hold an output embedding of
their own: otherwise the model is tied whatever the file says.
"""

from collections.abc import Mapping
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest, tagged
from lopd_store.errors import FormatError
from lopd_store.identity import strangers
from lopd_store.identity.families import FAMILIES, FULL, SLIDING, UNLISTED, Family
from lopd_store.identity.never import never_counts
from lopd_store.identity.rope import take_rope

_ALIASES: Final = {"num_experts": "num_local_experts"}  # transformers 5 saves the second
_OFF_IS_ABSENT: Final = "use_bidirectional_attention"  # saved as null, false or not at all
_LAYER_ALIASES: Final = {"attention": FULL, "mamba": "linear_attention"}

# Rotary embeddings of these kinds never read max_position_embeddings.
_POSITION_FREE: Final = frozenset({"default", "linear", "llama3", "yarn"})


def config_digest(config: Mapping[str, Any], *, own_output_embedding: bool) -> Digest:
    """Digest of the fields that change outputs.

    Args:
        config: the object in config.json.
        own_output_embedding: whether the weights have an output embedding that is not the
            input embedding (`Weights.own_output_embedding`).

    Raises:
        FormatError: not a config a loader would accept.
    """
    document = normalised(config, own_output_embedding=own_output_embedding)
    return tagged("lopd.config.v1", canonical.encode(document))


def normalised(config: Mapping[str, Any], *, own_output_embedding: bool) -> dict[str, Any]:
    """What `config_digest` covers: integers, strings, booleans, lists and objects."""
    tied = _tied(config)
    document = _normalise(config)
    if not own_output_embedding:
        document["tie_word_embeddings"] = True
    elif tied is not None:
        document["tie_word_embeddings"] = tied
    return document


def vocab_size(config: Mapping[str, Any]) -> int | None:
    """Rows of the embedding, padding included, where the config says."""
    size = config.get("vocab_size", _text(config).get("vocab_size"))
    return size if type(size) is int and size > 0 else None


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def _tied(config: Mapping[str, Any]) -> bool | None:
    for place in (config, _text(config)):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    for place in (config, _text(config)):
        if place.get("model_type") in FAMILIES:
            return FAMILIES[place["model_type"]].tied
    return None


def _normalise(config: Mapping[str, Any]) -> dict[str, Any]:
    family = FAMILIES.get(str(config.get("model_type")), UNLISTED)
    fields = {**family.defaults, **{_ALIASES.get(key, key): config[key] for key in config}}
    try:
        rope = take_rope(fields, family)
        _settle_heads(fields)
        _settle_window(fields, family)
    except (TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"config.json: expected fields of their usual types: {error}") from error
    if rope is not None:
        fields["rope"] = rope
    if family is not UNLISTED and rope and _position_free(rope):
        fields.pop("max_position_embeddings", None)
    fields[_OFF_IS_ABSENT] = fields.get(_OFF_IS_ABSENT) or None
    counted = {
        key: _nested(key, value)
        for key, value in fields.items()
        if value is not None and key not in family.ignored and not never_counts(key)
    }
    plain: dict[str, Any] = strangers.without_floats(counted)
    return plain


def _nested(key: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if key == "quantization_config":
        return {name: item for name, item in value.items() if item is not None and name[:1] != "_"}
    return _normalise(value) if key.endswith("_config") else value


def _settle_heads(fields: dict[str, Any]) -> None:
    heads, hidden = fields.get("num_attention_heads"), fields.get("hidden_size")
    if type(heads) is not int or heads < 1:
        return
    if fields.get("num_key_value_heads") is None:
        fields["num_key_value_heads"] = heads
    if fields.get("head_dim") is None and type(hidden) is int:
        fields["head_dim"] = hidden // heads


def _settle_window(fields: dict[str, Any], family: Family) -> None:
    """Leave `sliding_window` and `layer_types` only where some layer has a window."""
    if fields.pop("use_sliding_window", True) is False:
        fields["sliding_window"] = None
    layers = fields.pop("layer_types", None)
    if layers is None and fields.get("sliding_window") and family.layer_types:
        layers = family.layer_types(fields)
    if family.layer_types:
        fields.pop("max_window_layers", None)
        fields.pop("sliding_window_pattern", None)
    if layers is not None:
        layers = [_LAYER_ALIASES.get(layer, layer) for layer in layers]
        if SLIDING not in layers:
            fields["sliding_window"] = None
        if set(layers) != {FULL}:
            fields["layer_types"] = layers
    if not fields.get("sliding_window"):
        fields.pop("sliding_window", None)
        fields.pop("max_window_layers", None)


def _position_free(rope: Mapping[str, Any]) -> bool:
    kinds = rope.values() if all(isinstance(item, dict) for item in rope.values()) else [rope]
    return all(kind.get("rope_type") in _POSITION_FREE for kind in kinds)
