"""What is known, asserted or unknown of an artifact's rows, in words for people."""

from collections.abc import Mapping
from typing import Any, Final

from lopd_store.digest import Digest

ASSERTED: Final = "asserted, not proved: "
UNKNOWN: Final = "UNKNOWN"


def model_text(model: Mapping[str, Any] | None) -> str:
    """A model's JSON in one line; empty for none."""
    if model is None:
        return ""
    source = model.get("source")
    named = f"{source['repo']}@{source['commit'][:12]}, " if source else ""
    adapter = f", adapter {Digest(model['adapter']['digest']).short}" if "adapter" in model else ""
    return f"{named}weights {Digest(model['weights_digest']).short}{adapter}"


def tokenizer_text(tokenizer: Mapping[str, Any] | None, imported: Mapping[str, Any] | None) -> str:
    """A tokenizer's JSON in one line; of imported rows it is asserted at best."""
    if tokenizer is None:
        return UNKNOWN
    core = Digest(tokenizer["core_digest"]).short
    return f"{ASSERTED}{core}" if imported is not None else core


def claim_text(fact: str, imported: Mapping[str, Any] | None) -> str:
    """What the `imported` JSON of an identity says of a fact; empty where it says nothing."""
    imported = imported or {}
    if fact in imported.get("unknown", ()):
        return UNKNOWN
    asserted = imported.get("asserted", {})
    if fact == "scoring":
        settings = asserted.get("scoring", {})
        said = ", ".join(f"{name} {text}" for name, text in sorted(settings.items()))
    else:
        said = model_text(asserted.get("models", {}).get(fact))
    return f"{ASSERTED}{said}" if said else ""
