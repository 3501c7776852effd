"""Names of what is on the Hub, as people type them."""

import re
from dataclasses import dataclass
from typing import Final

from lopd_store.digest import Digest
from lopd_store.errors import UsageError

_REPO: Final = r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)"
_REVISION: Final = r"(@(?P<revision>[\w./-]+))?"
CONFIG: Final = r"[A-Za-z0-9][\w.-]{0,63}"
SPLIT: Final = r"\w{1,63}"  # without a dash, so that the globs of two splits never overlap

_REPOSITORY: Final = re.compile(_REPO + _REVISION, re.ASCII)
_ARTIFACT: Final = re.compile(
    rf"{_REPO}(/(?P<config>{CONFIG})(/(?P<split>{SPLIT}))?)?"
    rf"{_REVISION}(@(?P<digest>sha256:[0-9a-f]{{64}}))?",
    re.ASCII,
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """`org/name[/config[/split]][@revision][@sha256:…]`; `HubName.parse(str(n)) == n`.

    Attributes:
        repo: `org/name`.
        config: which artifact of the repository; None where nobody says.
        split: which split of the config; None where nobody says.
        revision: a branch, a tag or a commit; None where nobody says.
        digest: the id that the artifact must have, if one is pinned.
    """

    repo: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """Read a name. Raises UsageError."""
        found = _ARTIFACT.fullmatch(text)
        if found is None:
            raise UsageError(
                "expected org/name[/config[/split]][@revision][@sha256:<64 hex>], found"
                f" {text[:200]!r}{_advice(text)}"
            )
        pinned = found["digest"]
        return cls(
            repo=found["repo"],
            config=found["config"],
            split=found["split"],
            revision=found["revision"],
            digest=Digest(pinned) if pinned else None,
        )

    def __str__(self) -> str:
        place = "".join(f"/{part}" for part in (self.config, self.split) if part)
        after = "".join(f"@{part}" for part in (self.revision, self.digest) if part)
        return f"{self.repo}{place}{after}"


def _advice(text: str) -> str:
    """What is wrong with a name that is nearly one, as people have them at hand."""
    address = re.match(r"(https?://[^/]+/datasets/|hf://(datasets/)?|datasets/)", text)
    if address:
        rest = text[address.end() :].partition("/tree/")
        return f": leave out {address[0]}, as in {rest[0]}{rest[2] and '@' + rest[2]}"
    if re.search(r"@sha256:", text):
        return ": a digest has 64 hex characters in lower case"
    if ":" in text:
        return f": a version stands behind @, as in {text.replace(':', '@', 1)}"
    if text.count("/") > 2:  # noqa: PLR2004 - org/name/config/split has three
        return ": a config is of letters, digits, . _ -, a split of letters, digits, _"
    return ""


def is_name(text: str) -> bool:
    """Whether the text reads as `org/name` or `org/name@revision`: any repository."""
    return _REPOSITORY.fullmatch(text) is not None


def is_artifact_name(text: str) -> bool:
    """Whether `HubName.parse` takes the text."""
    return _ARTIFACT.fullmatch(text) is not None


def split_name(text: str) -> tuple[str, str | None]:
    """`org/name[@revision]` → its two parts. Raises UsageError."""
    found = _REPOSITORY.fullmatch(text)
    if found is None:
        raise UsageError(f"expected org/name or org/name@revision, found {text!r}")
    return found["repo"], found["revision"]


def is_commit(revision: str) -> bool:
    """Whether a revision can only be a commit: it never moves."""
    return _COMMIT.fullmatch(revision) is not None
