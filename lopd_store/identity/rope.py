"""Rotary embedding settings: four spellings over the years, one meaning."""

from collections.abc import Mapping
from typing import Any, Final

from lopd_store.identity.families import FULL, SLIDING, Family

_SPELLINGS: Final = ("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor")
_KIND_ALIASES: Final = {"su": "longrope"}
_SCALED: Final = frozenset({"llama3", "yarn", "longrope"})


def take_rope(fields: dict[str, Any], family: Family) -> dict[str, Any] | None:
    """Remove every rope field from `fields` and return them in one spelling.

    The spelling is that of `rope_parameters`: flat, or one object for each kind of layer where
    kinds differ. None when the file says nothing and the family is not one we know.
    """
    if not family.defaults and not any(fields.get(name) is not None for name in _SPELLINGS):
        return None
    given = fields.pop("rope_scaling", None) or fields.get("rope_parameters") or {}
    fields.pop("rope_parameters", None)
    theta = _first(fields.pop("rope_theta", None), family.rope_theta if family.defaults else None)
    local = _first(fields.pop("rope_local_base_freq", None), family.local_rope_theta)
    shared = {
        "partial_rotary_factor": fields.pop("partial_rotary_factor", None),
        "original": fields.pop("original_max_position_embeddings", None),
        "positions": fields.get("max_position_embeddings"),
    }
    if local is not None and not _is_nested(given):
        given = {FULL: given, SLIDING: {}}
    if not _is_nested(given):
        return _flat(given, theta=theta, shared=shared)
    return {
        kind: _flat(item or {}, theta=local if kind == SLIDING and local else theta, shared=shared)
        for kind, item in given.items()
    }


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _is_nested(given: Mapping[str, Any]) -> bool:
    return bool(given) and all(item is None or isinstance(item, dict) for item in given.values())


def _flat(given: Mapping[str, Any], *, theta: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    rope = {key: value for key, value in given.items() if value is not None}
    old_kind = rope.pop("type", "default")
    kind = rope.get("rope_type", old_kind)
    rope["rope_type"] = _KIND_ALIASES.get(kind, kind)
    if theta is not None:
        rope.setdefault("rope_theta", theta)
    if shared["partial_rotary_factor"] is not None:
        rope.setdefault("partial_rotary_factor", shared["partial_rotary_factor"])
    if rope.get("partial_rotary_factor") == 1:
        del rope["partial_rotary_factor"]
    if rope["rope_type"] in _SCALED:
        original = _first(
            shared["original"], rope.get("original_max_position_embeddings"), shared["positions"]
        )
        if original is not None:
            rope["original_max_position_embeddings"] = original
    return rope
