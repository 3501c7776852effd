"""Same teacher? Same tokenizer? Each answer says why, with both sides named."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lopd_store.digest import Digest
from lopd_store.documents.model import Adapter, ModelIdentity
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer.

    Attributes:
        problems: why they are not the same; empty when they are.
        notes: differences that do not make them different, and what a person asserted.
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def same_teacher(expected: ModelIdentity, found: ModelIdentity) -> list[Problem]:
    """Why `found` is not the model `expected`; empty when it is. See `compare_teachers`."""
    return list(compare_teachers(expected, found).problems)


def same_tokenizer(expected: TokenizerIdentity, found: TokenizerIdentity) -> list[Problem]:
    """Why ids of `found` do not mean what those of `expected` do. See `compare_tokenizers`."""
    return list(compare_tokenizers(expected, found).problems)


def compare_teachers(expected: ModelIdentity, found: ModelIdentity) -> Verdict:
    """The same teacher has equal weights, config and adapter; files and source do not matter.

    A model that a person asserted to be the other (`asserted_same_as`) is the same teacher, and
    the note says that it was asserted.
    """
    where = f"model ({_describe(expected)} is named, {_describe(found)} is at hand)"
    pairs = (
        ("other-weights", "weights", expected.weights_digest, found.weights_digest),
        ("other-config", "config", expected.config_digest, found.config_digest),
    )
    differences = _differences(pairs, where=where)
    asserted = _is_asserted(expected, found) and bool(differences)
    adapters = []
    if _adapter_key(expected.adapter) != _adapter_key(found.adapter):
        sides = _adapter(expected.adapter), _adapter(found.adapter)
        adapters.append(Problem("other-adapter", where, *sides))
    if not asserted:
        return Verdict((*differences, *adapters), ())
    notes = (replace(item, kind="asserted-same-teacher") for item in differences)
    return Verdict(tuple(adapters), tuple(notes))


def compare_tokenizers(expected: TokenizerIdentity, found: TokenizerIdentity) -> Verdict:
    """The same tokenizer has an equal core, or equal vocabulary and equal ids for every probe.

    How many rows a model pads its embedding to does not matter, and neither does `vocab_size`:
    the vocabulary digest covers the ids that exist. Chat template and special ids are notes: they
    change how prompts are made, not what stored ids mean.
    """
    notes = [
        Problem(kind, "tokenizer", _short(one), _short(other))
        for kind, one, other in (
            ("other-chat-template", expected.chat_template_digest, found.chat_template_digest),
            ("other-special-ids", expected.special_ids.to_json(), found.special_ids.to_json()),
        )
        if one != other
    ]
    if not expected.gives_the_ids_of(found):
        pairs = (
            ("other-vocabulary", "vocabulary", expected.vocab_digest, found.vocab_digest),
            ("other-ids-for-probes", "probe ids", expected.probe_digest, found.probe_digest),
        )
        return Verdict(_differences(pairs, where="tokenizer"), tuple(notes))
    if expected.core_digest != found.core_digest:
        cores = expected.core_digest.short, found.core_digest.short
        notes.append(Problem("other-core", "tokenizer", *cores))
    return Verdict((), tuple(notes))


def facts(model: ModelIdentity) -> tuple[str, ...]:
    """Name and revision if known, and the digests, all of them whole: to compare and to paste."""
    source = model.source
    found = [f"{source.repo}@{source.commit}" if source else "a local folder"]
    found += [f"weights {model.weights_digest}", f"config {model.config_digest}"]
    if model.adapter is not None:
        found.append(f"adapter {model.adapter.digest}, rank {model.adapter.rank}")
    return tuple(found)


def _differences(
    pairs: Iterable[tuple[str, str, Digest, Digest]], *, where: str
) -> tuple[Problem, ...]:
    return tuple(
        Problem(kind, where, f"{what} {expected.short}", f"{what} {found.short}")
        for kind, what, expected, found in pairs
        if expected != found
    )


def _is_asserted(one: ModelIdentity, other: ModelIdentity) -> bool:
    return one.weights_digest == other.asserted_same_as or other.weights_digest == (
        one.asserted_same_as
    )


def _describe(model: ModelIdentity) -> str:
    source = model.source
    return f"{source.repo}@{source.commit[:12]}" if source else "a local folder"


def _adapter_key(adapter: Adapter | None) -> tuple[object, ...] | None:
    if adapter is None:
        return None
    return adapter.digest, adapter.rank, adapter.alpha, frozenset(adapter.targets)


def _adapter(adapter: Adapter | None) -> str:
    if adapter is None:
        return "no adapter"
    return f"adapter {adapter.digest.short} (rank {adapter.rank}, alpha {adapter.alpha})"


def _short(value: object) -> str:
    return value.short if isinstance(value, Digest) else str(value)
