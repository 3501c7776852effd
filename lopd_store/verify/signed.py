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
) -> tuple[str, ...]:
    """Note that `key` signed the artifact, or why nothing shows it. The depth stays as it was.

    The key's id comes back where it did, and nothing where that is not shown.

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
    if problems:
        return ()
    report.notes.append(f"signed by {key.id}")
    return (str(key.id),)


def refuse_unnamed(what: str, key: PublicKey, report: Report) -> None:
    """Note that nobody signs what no manifest names."""
    found = "shards that no manifest names"
    report.add(IntegrityError, [Problem("unsigned", what, f"a signature by {key.id}", found)])
