"""What was seen of repositories on the Hub: a tag that moved, or an older artifact, is noticed.

A tag is a version and never moves, and what was one stays one; a branch only goes on. What a store
has pulled, pushed or opened is kept in `.lopd/hub/`, one file a repository, and losing it costs
nothing but this memory. To the Hub the case of a repository's letters is nothing; so it is here.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest, tagged
from lopd_store.errors import FormatError, IntegrityError, Problem, UsageError
from lopd_store.remote.layout import Place
from lopd_store.store import Store, durable, regular
from lopd_store.store.locks import exclusive

FORGET: Final = "`lopd-store pull --accept-moved` takes it and remembers it instead"
_MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the Hub shows now.

    Attributes:
        repo: `org/name`.
        revision: a branch, a tag or a commit.
        moves: whether it is a branch, which goes on.
        commit: what it is now.
        artifacts: who is at the places that were looked at.
    """

    repo: str
    revision: str
    moves: bool
    commit: str
    artifacts: Mapping[Place, Digest]


class Seen:
    """What one store has seen. Safe for several processes at once."""

    def __init__(self, store: Store) -> None:
        self._folder = store.work / "hub"
        regular.require_folder(self._folder)
        self._tmp = store.tmp

    def problems(self, now: Sight, history: Callable[[], Iterable[str]]) -> list[Problem]:
        """What contradicts what was seen: `moved-tag`, `rewound-branch`, `older-artifact`.

        Args:
            now: what the Hub shows.
            history: asks the Hub for the commits that `now.commit` came from, itself included.
        """
        record = self._read(now.repo).get(now.revision)
        if record is None:
            return []
        where = f"{now.repo}@{now.revision}"
        if not now.moves or record.get("fixed"):
            return _moved(where, record, now)
        problems = _older(where, record, now)
        before = record["commit"]
        if before != now.commit and before not in history():
            found = f"{now.commit}, which does not come from it"
            problems.append(Problem("rewound-branch", where, f"commit {before} or later", found))
        return problems

    def knows(self, repo: str, revision: str) -> bool:
        """Whether artifacts were seen there."""
        return revision in self._read(repo)

    def is_as_it_was(
        self, repo: str, revision: str, commit: str, place: Place, id_: Digest
    ) -> bool:
        """Whether exactly this was seen last: then there is nothing to compare or to remember."""
        record = self._read(repo).get(revision)
        if record is None or record["commit"] != commit:
            return False
        return bool(record["artifacts"].get(str(place)) == str(id_))

    def sights(self, repo: str) -> Iterator[Sight]:
        """What was seen last at each place of each revision, one by one."""
        for revision, record in self._read(repo).items():
            commits = record.get("commits", {})
            for place, id_ in _artifacts(record):
                yield Sight(
                    repo=repo,
                    revision=revision,
                    moves=False,
                    commit=commits.get(str(place), record["commit"]),
                    artifacts={place: id_},
                )

    def check(self, now: Sight, history: Callable[[], Iterable[str]]) -> None:
        """Raise IntegrityError where the Hub contradicts what was seen."""
        if problems := self.problems(now, history):
            raise IntegrityError(
                f"{now.repo}: the Hub shows something else than before, and {FORGET}:\n"
                + "\n".join(f"  {problem}" for problem in problems),
                problems=problems,
            )

    def remember(self, now: Sight) -> None:
        """Keep what the Hub shows, as what will be expected. Raises StoreError."""
        with exclusive(self._folder / "lock"):
            records = self._read(now.repo)
            known = records.get(now.revision, {"artifacts": {}, "before": {}})
            artifacts, before = dict(known["artifacts"]), dict(known["before"])
            commits = dict(known.get("commits", {}))
            for place, digest in now.artifacts.items():
                last = artifacts.get(str(place))
                if last not in {None, str(digest)}:
                    older = [*before.get(str(place), []), last]
                    before[str(place)] = [one for one in older if one != str(digest)]
                artifacts[str(place)] = str(digest)
                commits[str(place)] = now.commit
            records[now.revision] = {
                "commit": now.commit,
                "artifacts": artifacts,
                "before": before,
                "commits": commits,
                "fixed": not now.moves or bool(known.get("fixed")),
            }
            data = canonical.encode({"repo": now.repo.lower(), "revisions": records})
            durable.write(self._path(now.repo), data, tmp=self._tmp)

    def _read(self, repo: str) -> dict[str, Any]:
        """Revision → commit, artifacts, and those that stood there before."""
        try:
            data = regular.read(self._path(repo), limit=_MAX_BYTES)
            document = canonical.decode(data, what="record of a repository")
        except (OSError, FormatError, IntegrityError):
            return {}
        match document:
            case {"repo": str(name), "revisions": dict(revisions)} if name.lower() == repo.lower():
                return {key: one for key, one in revisions.items() if _is_record(one)}
            case _:
                return {}

    def _path(self, repo: str) -> Path:
        from huggingface_hub import constants

        owner = b"%d" % os.geteuid()
        return self._folder / (
            tagged("lopd.seen.v1", owner, constants.ENDPOINT.encode(), repo.lower().encode()).hex
            + ".json"
        )


def _is_record(value: Any) -> bool:
    match value:
        case {"commit": str(), "artifacts": dict(artifacts), "before": dict(before)}:
            commits = value.get("commits", {})
            return (
                isinstance(commits, dict)
                and _all_text([*artifacts.values(), *commits.values()])
                and all(isinstance(one, list) and _all_text(one) for one in before.values())
            )
        case _:
            return False


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _artifacts(record: Mapping[str, Any]) -> Iterator[tuple[Place, Digest]]:
    for where, digest in record["artifacts"].items():
        config, _, split = where.partition("/")
        try:
            found = Place(config, split), Digest(str(digest))
        except (FormatError, UsageError):  # nobody vouches for a record
            continue
        yield found


def _moved(where: str, record: Mapping[str, Any], now: Sight) -> list[Problem]:
    return [
        Problem(
            "moved-tag",
            f"{where} {place}",
            f"{expected}, as in {now.repo}@{record['commit']}",
            str(found),
        )
        for place, found in now.artifacts.items()
        if (expected := record["artifacts"].get(str(place), str(found))) != str(found)
    ]


def _older(where: str, record: Mapping[str, Any], now: Sight) -> list[Problem]:
    return [
        Problem(
            "older-artifact",
            f"{where} {place}",
            f"{record['artifacts'].get(str(place))} or a new one",
            f"{found}, which it had replaced",
        )
        for place, found in now.artifacts.items()
        if str(found) in record["before"].get(str(place), [])
    ]
