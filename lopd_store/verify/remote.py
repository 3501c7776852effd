"""Depth 1 at a distance: not a byte of a shard comes here.

What the Hub lists of bytes is its word; what it shows of documents is checked down from the
artifact's id.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from lopd_store.errors import FormatError, IntegrityError, StoreError
from lopd_store.hub import HubName
from lopd_store.hub.snapshot import Snapshot, history
from lopd_store.remote.resolving import MAIN, Opener, find, sight
from lopd_store.remote.seen import Seen
from lopd_store.verify.depth import Depth, check_student, check_teachers
from lopd_store.verify.globs import Shown, check_card
from lopd_store.verify.remote_artifact import RemoteLook
from lopd_store.verify.report import Report


def verify_remote(
    name: HubName,
    *,
    seen: Seen | None,
    depth: Depth,
    open_at: Opener[Snapshot] = Snapshot.open,
    accept_moved: bool = False,
) -> tuple[Report, list[HubName]]:
    """Verify the artifacts that a name on the Hub means, all of them, in one report.

    The names that come with it are those of the artifacts, by their commit and their ids.

    Args:
        name: `org/name`, perhaps with a config, a split, a revision and a digest.
        seen: what was seen of the repository: compared, and remembered where nothing is wrong.
        depth: a key, a teacher and a student count; no row is read here.
        open_at: asks the Hub for a repository.
        accept_moved: whether a tag may have moved and a branch may have been rewound.

    Raises:
        NotFoundError: no such repository, revision, config or split; or no answer.
        UsageError: a teacher for an artifact that has none.
    """
    report = Report(target=str(name), at_a_distance=True)
    try:
        snapshot, places = find(name, open_at=open_at)
    except (IntegrityError, FormatError) as error:
        report.add_error(error, str(name))
        return report, []
    report.target = f"{name} (commit {snapshot.commit[:12]})"
    report.revision, report.commit = snapshot.revision or MAIN, snapshot.commit
    looks = []
    for place in places:
        part = report if len(places) == 1 else Report(target=str(place))
        looks.append(RemoteLook(snapshot, place, key=depth.key, report=part))
        if part is not report:
            report.include(part)
    shown = {
        one.place: Shown(shards=one.shards, columns=one.columns)
        for one in looks
        if one.shards is not None
    }
    check_card(snapshot, shown, report)
    identities = [identity for look in looks for identity in look.identities]
    check_teachers(identities, depth, report)
    check_student(identities, depth, report)
    if seen is not None:
        _compare(seen, snapshot, looks, report, accept_moved=accept_moved)
    return report, [_exact(name, snapshot, look) for look in looks]


def _exact(name: HubName, snapshot: Snapshot, look: RemoteLook) -> HubName:
    return HubName(
        repo=name.repo,
        config=look.place.config,
        split=look.place.split,
        revision=snapshot.commit,
        digest=look.id,
    )


def _compare(
    seen: Seen,
    snapshot: Snapshot,
    looks: Sequence[RemoteLook],
    report: Report,
    *,
    accept_moved: bool,
) -> None:
    """Note where the Hub contradicts what was seen; what is right is remembered."""
    now = sight(snapshot, {look.place: look.id for look in looks if look.id is not None})
    if not accept_moved:
        problems = seen.problems(now, partial(history, snapshot.repo, snapshot.commit))
        report.add(IntegrityError, problems)
        if problems:
            report.notes.append(
                "the Hub shows something else than before; --accept-moved takes it and remembers it"
                " instead"
            )
    if report.ok:
        with suppress(StoreError):  # a store that is only read: verifying needs no memory
            seen.remember(now)
