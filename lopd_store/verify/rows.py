"""The rows of a shard, looked at once: values, counts, content digest, numbering."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.ahead import ahead
from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError, Problem
from lopd_store.rows import flat
from lopd_store.rows.check import row_problems
from lopd_store.rows.columns import LOGPROB_COLUMNS, canonical_schema
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.findings import Findings
from lopd_store.rows.precision import Precision
from lopd_store.rows.sample_id import Occurrences
from lopd_store.shards.reader import Shard
from lopd_store.verify.report import Report
from lopd_store.verify.workers import Workers

MAX_MISNUMBERED: Final = 20  # named by row; a file of nothing else must not fill the report
BYTES_AHEAD: Final = 256 << 20  # decoded row groups held at once, about 5 MB each as we write them


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the rows seen so far come to.

    Attributes:
        rows: how many.
        tokens: their response tokens.
        prompt_tokens: their prompt tokens.
        duplicates: rows that repeat an earlier sample.
        content: the digest over their values, once there is a row.
        occurrences: counts repeated samples; None when only a part of an artifact is at hand.
    """

    rows: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    duplicates: int = 0
    content: ContentDigest | None = None
    occurrences: Occurrences | None = None


def check_rows(
    shard: Shard, identity: Identity, where: str, tally: Tally, report: Report, workers: Workers
) -> None:
    """Look at every row of a shard. Raises FormatError or IntegrityError when it cannot be read.

    Row groups are decoded and checked ahead by `workers`; what they come to is told in row order,
    so a report is the same whatever the number of threads.
    """
    groups = shard.groups
    precision = Precision.parse(identity.precision)
    firsts = [0, *accumulate(group.rows for group in groups)]

    def look(group: int) -> tuple[pa.RecordBatch, list[Problem]]:
        batch = shard.read(group)
        problems = row_problems(
            batch,
            kind=identity.kind,
            vocab_size=identity.vocab_size,
            where=where,
            first_row=firsts[group],
        )
        return batch, problems + _precision_problems(batch, precision, where, firsts[group])

    share = BYTES_AHEAD // (workers.count + 2)  # so few groups wait that small ones are few too
    looked = ahead(
        workers.rows,
        look,
        range(len(groups)),
        most=BYTES_AHEAD,
        weigh=lambda group: max(share, groups[group].size),
    )
    for group, (batch, problems) in enumerate(looked):
        report.add(FormatError, problems)
        report.add(FormatError, _numbering_problems(batch, where, firsts[group], tally))
        _count(batch, tally, workers)


def _precision_problems(
    batch: pa.RecordBatch, precision: Precision, where: str, first_row: int
) -> list[Problem]:
    """An identity that states a rounding error states it of values that were rounded."""
    if precision.exponent is None:
        return []
    findings = Findings(where=where, first_row=first_row)
    for name in LOGPROB_COLUMNS:
        if name in batch.schema.names:
            logprobs = flat.lists(batch.column(name))
            strays = precision.strays(logprobs.values)
            findings.items("not-rounded", name, logprobs, strays, expected=precision.text)
    return findings.problems()


def _count(batch: pa.RecordBatch, tally: Tally, workers: Workers) -> None:
    if tally.content is None:
        tally.content = ContentDigest(canonical_schema(batch.schema))
    tally.content.update(batch, each=workers.columns.map)
    tally.rows += len(batch)
    tally.tokens += int(flat.lengths(batch.column("response_ids")).sum())
    tally.prompt_tokens += int(flat.lengths(batch.column("prompt_ids")).sum())


def _numbering_problems(
    batch: pa.RecordBatch, where: str, first_row: int, tally: Tally
) -> list[Problem]:
    """A repeated sample carries the number of its repetition, and only then."""
    if tally.occurrences is None or batch.column("sample_id").null_count:
        return []
    found = batch.column("sample_id")
    bases = pc.replace_substring_regex(found, r"(?s)\..*", "")
    expected = tally.occurrences.number(bases)
    if found.equals(expected):
        return []
    pairs = zip(expected.to_pylist(), found.to_pylist(), strict=True)
    return [
        Problem("sample-number", f"{where} row {first_row + i}", wanted, name)
        for i, (wanted, name) in enumerate(pairs)
        if wanted != name
    ][:MAX_MISNUMBERED]
