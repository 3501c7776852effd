"""A batch of rows → every problem in it, without a Python object per token."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.errors import Problem
from lopd_store.rows import columns, content, flat, sample_id
from lopd_store.rows.columns import (
    FINISH_REASONS,
    LOGPROB_COLUMNS,
    SERVER_MINUS_INFINITY,
    UNKNOWN_REASON,
)
from lopd_store.rows.findings import Findings

_REASONS: Final = (*FINISH_REASONS, UNKNOWN_REASON)
_FOR_PEOPLE: Final = ("prompt_text", "response_text")
_NAME: Final = rf"^[0-9a-f]{{{sample_id.HEX}}}(\.[1-9][0-9]*)?$"


def row_problems(
    batch: pa.RecordBatch, *, kind: str, vocab_size: int, where: str, first_row: int
) -> list[Problem]:
    """Everything wrong with the rows of a batch in the format's own types; empty when right.

    At most 20 problems of each kind name their row (`{where} row {first_row + i}`); one more then
    counts the rest. Schema problems are another question: `columns.schema_problems`.

    Problem kinds: `null-value`, `null-item`, `length-mismatch`, `not-finite`, `positive-logprob`,
    `sentinel-logprob` (-9999.0), `negative-zero`, `token-out-of-vocabulary`, `empty-prompt`,
    `empty-response`, `masked-logprob` (not 0.0 where loss_mask is false),
    `unknown-finish-reason`, `sample-id-mismatch`, `prompt-id-mismatch`.
    """
    findings = Findings(where=where, first_row=first_row)
    for name in set(columns.required(kind)) - set(batch.schema.names):
        findings.rows(
            "null-value", np.ones(batch.num_rows, np.bool_), expected=f"a {name}", found=""
        )
    _nulls(findings, batch)
    _ids(findings, batch, vocab_size)
    _lengths(findings, batch)
    for name in LOGPROB_COLUMNS:
        if name in batch.schema.names:
            _logprobs(findings, name, flat.lists(batch.column(name)))
            _masked(findings, batch, name)
    _names(findings, batch)
    _finish_reasons(findings, batch)
    return findings.problems()


def _nulls(findings: Findings, batch: pa.RecordBatch) -> None:
    for name in batch.schema.names:
        array = batch.column(name)
        if _is_ours(name) and array.null_count:
            findings.rows("null-value", ~flat.valid(array), expected=f"a {name}", found="null")
        if (bad := _null_items(array)) is not None:
            findings.rows("null-item", bad, expected=f"values in {name}", found="a null inside")


def _is_ours(name: str) -> bool:
    """Is it a column of the format that is for machines, and so never null?"""
    return name in columns.TYPES and name not in _FOR_PEOPLE


def _null_items(array: flat.Array) -> npt.NDArray[np.bool_] | None:
    """Which rows of a list column hold a null; None when none does."""
    if not pa.types.is_list(array.type) or (inner := flat.items(array)).null_count == 0:
        return None
    return flat.Lists(flat.valid(inner), flat.offsets(array)).rows_with(~flat.valid(inner))


def _ids(findings: Findings, batch: pa.RecordBatch, vocab_size: int) -> None:
    for name, kind in (("prompt_ids", "empty-prompt"), ("response_ids", "empty-response")):
        if name not in batch.schema.names:
            continue
        array = batch.column(name)
        ids = flat.lists(array)
        empty = flat.valid(array) & (ids.lengths == 0)
        findings.rows(kind, empty, expected="at least one token id", found="none")
        if _all_inside(ids.values, vocab_size):
            continue
        outside = (ids.values < 0) | (ids.values >= vocab_size)
        findings.items(
            "token-out-of-vocabulary", name, ids, outside, expected=f"0 <= id < {vocab_size}"
        )


def _all_inside(ids: flat.Numbers, vocab_size: int) -> bool:
    """Are all ids in the vocabulary? Two reductions: a mask costs several times as much."""
    return len(ids) == 0 or bool(ids.min() >= 0 and ids.max() < vocab_size)


def _lengths(findings: Findings, batch: pa.RecordBatch) -> None:
    if "response_ids" not in batch.schema.names:
        return
    response = batch.column("response_ids")
    expected = flat.lengths(response)
    for name in (*LOGPROB_COLUMNS, "loss_mask"):
        if name in batch.schema.names:
            column = batch.column(name)
            found = flat.lengths(column)
            both = flat.valid(column) & flat.valid(response)
            findings.lengths(name, both & (found != expected), expected=expected, found=found)


def _logprobs(findings: Findings, name: str, logprobs: flat.Lists) -> None:
    values = logprobs.values
    if _all_logprobs(values):
        return
    tests = {
        "not-finite": (~np.isfinite(values), "a finite log-prob"),
        "positive-logprob": ((values > 0) & np.isfinite(values), "a log-prob of at most 0"),
        "sentinel-logprob": (values == SERVER_MINUS_INFINITY, "a log-prob, not a server's -inf"),
        "negative-zero": ((values == 0) & np.signbit(values), "0.0"),
    }
    for kind, (mask, expected) in tests.items():
        findings.items(kind, name, logprobs, mask, expected=expected)


def _all_logprobs(values: flat.Numbers) -> bool:
    """Are all values finite log-probs that no server made up? NaN makes every comparison false."""
    if len(values) == 0:
        return True
    inside = values.min() > SERVER_MINUS_INFINITY and values.max() <= 0
    return bool(inside) and not content.has_negative_zero(values)


def _masked(findings: Findings, batch: pa.RecordBatch, name: str) -> None:
    """Where loss_mask is false, log-probs are 0.0; unequal lengths are reported elsewhere."""
    if "loss_mask" not in batch.schema.names:
        return
    mask, logprobs = flat.lists(batch.column("loss_mask")), flat.lists(batch.column(name))
    equal = mask.lengths == logprobs.lengths
    off = ~mask.values[np.repeat(equal, mask.lengths)]
    kept = np.repeat(equal, logprobs.lengths)
    bad = np.zeros(len(kept), np.bool_)
    bad[kept] = off & (logprobs.values[kept] != 0)
    findings.items("masked-logprob", name, logprobs, bad, expected="0.0 where loss_mask is false")


def _names(findings: Findings, batch: pa.RecordBatch) -> None:
    names = batch.schema.names
    if "prompt_ids" not in names or "response_ids" not in names:
        return
    prompt, response = (flat.lists(batch.column(name)) for name in ("prompt_ids", "response_ids"))
    if "prompt_id" in names:
        expected = sample_id.digests_of_prompts(prompt)
        found = batch.column("prompt_id")
        wrong = _true(pc.not_equal(found, expected))
        findings.texts("prompt-id-mismatch", wrong, expected=expected, found=found)
    if "sample_id" in names:
        expected = sample_id.digests_of_samples(prompt, response)
        found = batch.column("sample_id")
        base = pc.utf8_slice_codeunits(found, 0, sample_id.HEX)
        spelled = _true(pc.match_substring_regex(found, _NAME))
        wrong = flat.valid(found) & ~(spelled & _true(pc.equal(base, expected)))
        findings.texts("sample-id-mismatch", wrong, expected=expected, found=found)


def _finish_reasons(findings: Findings, batch: pa.RecordBatch) -> None:
    if "finish_reason" in batch.schema.names:
        found = batch.column("finish_reason")
        known = pc.is_in(found, value_set=pa.array(_REASONS))
        wrong = flat.valid(found) & ~_true(known)
        expected = pa.repeat(" or ".join(_REASONS), len(found))
        findings.texts("unknown-finish-reason", wrong, expected=expected, found=found)


def _true(answers: flat.Array) -> npt.NDArray[np.bool_]:
    """Which answers are true; null is not."""
    return flat.numbers(answers.fill_null(False))


def bad_rows(batch: pa.RecordBatch, *, vocab_size: int, max_tokens: int | None) -> pa.StringArray:
    """Why each source row cannot be scored: a reason, or null where it can.

    For rows in the format's own types before they are scored: they need prompt_ids and
    response_ids, and may have loss_mask, log-prob columns and finish_reason. `max_tokens` bounds
    prompt plus response; None means no bound. Log-probs where loss_mask is false are not looked at.

    The first reason that holds, in this order: `null-value`, `empty-prompt`, `empty-response`,
    `token-out-of-vocabulary`, `too-long`, `mask-length`, `logprob-length`,
    `logprob-not-finite` (-9999.0 too), `logprob-positive`, `unknown-finish-reason`.
    """
    prompt, response = (flat.lists(batch.column(name)) for name in ("prompt_ids", "response_ids"))
    tokens = prompt.lengths + response.lengths
    reasons = {
        "null-value": _any_null(batch),
        "empty-prompt": prompt.lengths == 0,
        "empty-response": response.lengths == 0,
        "token-out-of-vocabulary": _outside(prompt, vocab_size) | _outside(response, vocab_size),
        "too-long": tokens > (np.iinfo(np.int64).max if max_tokens is None else max_tokens),
        **_bad_lists(batch, response.lengths),
    }
    if "finish_reason" in batch.schema.names:
        known = pc.is_in(batch.column("finish_reason"), value_set=pa.array(_REASONS))
        reasons["unknown-finish-reason"] = ~_true(known)
    return _first_reason(reasons, batch.num_rows)


def bad_prompts(batch: pa.RecordBatch, *, vocab_size: int, max_tokens: int) -> pa.StringArray:
    """Why each prompt cannot be answered: a reason of `bad_rows`, or null where it can.

    For rows of prompt_ids, in the format's own type; `max_tokens` bounds the prompt.
    """
    prompt = flat.lists(batch.column("prompt_ids"))
    reasons = {
        "null-value": _any_null(batch),
        "empty-prompt": prompt.lengths == 0,
        "token-out-of-vocabulary": _outside(prompt, vocab_size),
        "too-long": prompt.lengths > max_tokens,
    }
    return _first_reason(reasons, batch.num_rows)


def _first_reason(reasons: Mapping[str, npt.NDArray[np.bool_]], rows: int) -> pa.StringArray:
    first = np.full(rows, None, object)
    for reason in reversed(list(reasons)):
        first[reasons[reason]] = reason
    return pa.array(first, pa.string())


def _any_null(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Rows with a null where the format has no place for one."""
    bad = np.zeros(batch.num_rows, np.bool_)
    for name in batch.schema.names:
        array = batch.column(name)
        if _is_ours(name):
            bad |= ~flat.valid(array)
        if (inside := _null_items(array)) is not None:
            bad |= inside
    return bad


def _outside(ids: flat.Lists, vocab_size: int) -> npt.NDArray[np.bool_]:
    return ids.rows_with((ids.values < 0) | (ids.values >= vocab_size))


def _bad_lists(
    batch: pa.RecordBatch, expected: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.bool_]]:
    """The reasons that concern loss_mask and log-probs, each as rows; `expected` are lengths."""
    none = np.zeros(batch.num_rows, np.bool_)
    reasons = {
        "mask-length": none,
        "logprob-length": none,
        "logprob-not-finite": none,
        "logprob-positive": none,
    }
    mask = flat.lists(batch.column("loss_mask")) if "loss_mask" in batch.schema.names else None
    if mask is not None:
        reasons["mask-length"] = mask.lengths != expected
    for name in LOGPROB_COLUMNS:
        if name not in batch.schema.names:
            continue
        logprobs = flat.lists(batch.column(name))
        values = _where_sampled(logprobs, mask)
        absent = ~np.isfinite(values) | (values == SERVER_MINUS_INFINITY)
        reasons["logprob-length"] = reasons["logprob-length"] | (logprobs.lengths != expected)
        reasons["logprob-not-finite"] = reasons["logprob-not-finite"] | logprobs.rows_with(absent)
        reasons["logprob-positive"] = reasons["logprob-positive"] | logprobs.rows_with(values > 0)
    return reasons


def _where_sampled(logprobs: flat.Lists, mask: flat.Lists | None) -> flat.Numbers:
    """Log-probs with 0.0 where loss_mask is false; as they are in rows of unequal lengths."""
    if mask is None:
        return logprobs.values
    equal = mask.lengths == logprobs.lengths
    values = logprobs.values.copy()
    kept = np.flatnonzero(np.repeat(equal, logprobs.lengths))
    values[kept[~mask.values[np.repeat(equal, mask.lengths)]]] = 0.0
    return values
