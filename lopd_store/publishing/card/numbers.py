"""What the rows hold: columns with units, and counts."""

from collections.abc import Iterator
from typing import Final

from lopd_store.documents.artifact import Column
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import code, table
from lopd_store.publishing.card.origin import unengined
from lopd_store.publishing.card.statistics import QUANTILES, Logprobs, Statistics
from lopd_store.remote.layout import HISTOGRAM
from lopd_store.rows.columns import LOGPROB_COLUMNS

_MOST_COLUMNS: Final = 64
_NATS: Final = "nats"
_IDS: Final = "token ids"
_LOGPROB: Final = (
    "item t: natural log of the teacher's probability of `response_ids[t]`, given the prompt and"
    " all before t; never shifted, never padded"
)
_EXACT: Final = "the exact response, a sampled end-of-sequence included"
_HOLDS: Final = {
    "sample_id": ("", "name of the row, made of its ids"),
    "prompt_id": ("", "name of the prompt, equal for equal prompts"),
    "prompt_ids": (_IDS, "the exact prompt"),
    "response_ids": (_IDS, _EXACT),
    "teacher_logprobs": (_NATS, _LOGPROB),
    "rollout_logprobs": (_NATS, "the same of the model that sampled, at temperature 1"),
    "loss_mask": ("", "whether the policy sampled the id; where false, log-probs mean nothing"),
    "finish_reason": ("", "why the response ended: `stop`, `length`, `abort` or `unknown`"),
    "prompt_text": ("", "for people; ids cannot be read back from it"),
    "response_text": ("", "for people; ids cannot be read back from it"),
    "reference_logprobs": (_NATS, "the same of a reference model"),
    "teacher_topk_ids": (_IDS, "the teacher's likeliest ids, K for each response id"),
    "teacher_topk_logprobs": (_NATS, "theirs, one for each of these ids"),
    "teacher_tail_logprob": (_NATS, "log of the mass that is not among these ids"),
    "teacher_entropy": (_NATS, "the teacher's entropy at each response id"),
}
_FOREIGN: Final = ("", "a column of the source, carried along")
_QUANTILE_NAMES: Final = dict(
    zip(QUANTILES, ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest"), strict=True)
)


def columns(facts: CardFacts) -> Iterator[str]:
    """Lines: the table of columns."""
    found = facts.artifact.document.columns
    head = ("column", "type", "unit", "holds")
    yield from table(head, (_column(facts, column) for column in found[:_MOST_COLUMNS]))
    if len(found) > _MOST_COLUMNS:
        yield ""
        yield f"and {len(found) - _MOST_COLUMNS} more."


def _column(facts: CardFacts, column: Column) -> tuple[str, ...]:
    unit, holds = _HOLDS.get(column.name, _FOREIGN)
    if column.name in {"prompt_ids", "response_ids"}:
        holds = _ids(facts, column.name)
    elif column.name in LOGPROB_COLUMNS and (giver := unengined(facts, column.name)):
        holds = f"{holds.removesuffix(', at temperature 1')}, says {giver}"
    return code(column.name), code(column.type), unit, holds


def _ids(facts: CardFacts, name: str) -> str:
    """What is known of the ids: a file need not say how they came about."""
    found = [one.imported for one in facts.artifact.identities if one.imported]
    what = name.removesuffix("_ids")
    if any(imported.retokenised for imported in found):
        return f"the {what}; ids that were made from its text are among them"
    if any("eos" in imported.not_known for imported in found) and name == "response_ids":
        return "the response; nobody says whether a sampled end-of-sequence was kept"
    return f"the {what}" if found else _HOLDS[name][1]


def numbers(facts: CardFacts) -> Iterator[str]:
    """Lines: the table of statistics, and the picture."""
    yield from table(("", ""), _counts(facts))
    found = facts.statistics.logprobs
    if not found:
        return
    yield ""
    head = ("log-probs of trained tokens", "tokens", "mean, nats", "lowest, nats", "share p > 0.99")
    yield from table(head, map(_logprobs, found))
    yield ""
    yield f"![Histogram of log-probs in nats]({facts.place.folder}/{HISTOGRAM})"


def _counts(facts: CardFacts) -> Iterator[tuple[str, str]]:
    document, counted = facts.artifact.document, facts.statistics
    shards = facts.artifact.shards
    yield "rows", f"{counted.rows:,}"
    masked = f", {counted.trained:,} of them trained" if counted.trained != counted.tokens else ""
    yield "tokens", f"{counted.tokens:,} of responses{masked}; {counted.prompt_tokens:,} of prompts"
    yield "bytes", f"{facts.stored:,} in {len(shards)} file{'s' * (len(shards) != 1)}"
    yield "response length, tokens", _lengths(counted)
    yield "finish reasons", ", ".join(f"{name} {n:,}" for name, n in counted.finish_reasons)
    if document.duplicates:
        yield "rows that repeat an earlier one", f"{document.duplicates:,}"
    if document.skipped:
        left = [f"{code(why)} {n:,}" for why, n in sorted(document.skipped.items())[:16]]
        yield "rows of the source left out", ", ".join(left)
    if counted.advantage is not None:
        yield (
            "mean advantage, teacher less sampler",
            f"{counted.advantage:.4f} nats a trained token",
        )


def _lengths(counted: Statistics) -> str:
    named = zip(QUANTILES, counted.lengths, strict=False)  # none where there is no row
    return ", ".join(f"{_QUANTILE_NAMES[share]} {length:,}" for share, length in named)


def _logprobs(found: Logprobs) -> tuple[str, ...]:
    return (
        code(found.column),
        f"{found.tokens:,}",
        f"{found.mean:.4f}",
        f"{found.lowest:.4f}",
        f"{found.confident:.2%}",
    )
