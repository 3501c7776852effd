"""Same teacher? Same tokenizer? Each answer says why, with both sides named."""

from dataclasses import dataclass

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
    what = f"model, expected {_describe(expected)}, found {_describe(found)}"
    notes: list[Problem] = []
    problems: list[Problem] = []
    if _is_asserted(expected, found):
        if expected.weights_digest != found.weights_digest:
            notes.append(
                Problem("asserted-same-teacher", what, _weights(expected), _weights(found))
            )
    else:
        if expected.weights_digest != found.weights_digest:
            problems.append(Problem("other-weights", what, _weights(expected), _weights(found)))
        if expected.config_digest != found.config_digest:
            problems.append(
                Problem(
                    "other-config",
                    what,
                    f"config {expected.config_digest.short}",
                    f"config {found.config_digest.short}",
                )
            )
    if _adapter_key(expected.adapter) != _adapter_key(found.adapter):
        problems.append(
            Problem("other-adapter", what, _adapter(expected.adapter), _adapter(found.adapter))
        )
    return Verdict(tuple(problems), tuple(notes))


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
    if expected.core_digest == found.core_digest:
        return Verdict((), tuple(notes))
    pairs = (
        ("other-vocabulary", "vocabulary", expected.vocab_digest, found.vocab_digest),
        ("other-ids-for-probes", "probe ids", expected.probe_digest, found.probe_digest),
    )
    problems = tuple(
        Problem(kind, "tokenizer", f"{what} {one.short}", f"{what} {other.short}")
        for kind, what, one, other in pairs
        if one != other
    )
    if not problems:
        core = Problem(
            "other-core", "tokenizer", expected.core_digest.short, found.core_digest.short
        )
        notes.append(core)
    return Verdict(problems, tuple(notes))


def _is_asserted(one: ModelIdentity, other: ModelIdentity) -> bool:
    return one.weights_digest == other.asserted_same_as or other.weights_digest == (
        one.asserted_same_as
    )


def _describe(model: ModelIdentity) -> str:
    source = model.source
    return f"{source.repo}@{source.commit[:12]}" if source else "a local folder"


def _weights(model: ModelIdentity) -> str:
    return f"weights {model.weights_digest.short}"


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
