"""Who stands behind an artifact: the one question that no digest answers."""

from collections.abc import Callable, Iterable

from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError, LopdError, Problem
from lopd_store.keys import PublicKey
from lopd_store.signing import signatures_problems
from lopd_store.verify.report import Report


def check_signed(
    artifact: Digest,
    envelopes: Callable[[], Iterable[bytes]],
    key: PublicKey,
    report: Report,
) -> None:
    """Note that `key` signed the artifact, or why nothing shows it. The depth stays as it was.

    Args:
        artifact: the id.
        envelopes: gives the signatures that came with it; what it raises is noted too.
        key: whose signature is wanted.
        report: where to.
    """
    found: list[bytes] = []
    try:
        found.extend(envelopes())
    except LopdError as error:
        report.add_error(error, "attached signature")
    problems = signatures_problems(artifact, found, key)
    report.add(IntegrityError, problems)
    if not problems:
        report.notes.append(f"signed by {key.id}")


def refuse_unnamed(what: str, key: PublicKey, report: Report) -> None:
    """Note that nobody signs what no manifest names."""
    found = "shards that no manifest names"
    report.add(IntegrityError, [Problem("unsigned", what, f"a signature by {key.id}", found)])
