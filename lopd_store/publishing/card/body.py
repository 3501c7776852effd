"""A card's body: parts of ours between markers, and what people wrote around them.

Each artifact has a section; a list of all of them stands at the top.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lopd_store.errors import FormatError, UsageError
from lopd_store.publishing.card.about import About
from lopd_store.publishing.card.markdown import code, table
from lopd_store.remote.layout import Place

_MARKER: Final = re.compile(
    r"^<!-- lopd:(?P<end>begin|end)(?: (?P<config>[^\s/]+)/(?P<split>[^\s/]+))? -->[ \t]*"
    r"(?:\r?\n|\Z)",
    re.MULTILINE,
)
_ABOUT: Final = re.compile(r"<!-- lopd:about (.*) -->[ \t]*\r?\n")
_TITLE: Final = re.compile(r"(?:[ \t]*\r?\n)*# [^\n]*(?:\n|\Z)")
_NOT_IN_ANCHORS: Final = re.compile(r"[^\w\- ]", re.ASCII)
_LIST: Final = "the list of artifacts"
_MOST_PARTS: Final = 1000  # a section has some 10 KB, a card at most 4 MiB


@dataclass(frozen=True, slots=True)
class Part:
    """A part of ours.

    Attributes:
        place: the artifact's whose section it is; None for the list of all of them.
        start: index of its first character, the marker's.
        stop: index after the marker that ends it, with that line's end.
        about: what a section says of its artifact; None where it does not.
    """

    place: Place | None
    start: int
    stop: int
    about: About | None


@dataclass(frozen=True, slots=True)
class Body:
    """A body and its parts in the order in which they stand.

    Attributes:
        text: all of it.
        parts: ours.
    """

    text: str
    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str) -> "Body":
        """Find the markers.

        Raises FormatError where they do not pair, a part is there twice, or there are too many.
        """
        parts = tuple(islice(_parts(text), _MOST_PARTS + 1))
        if len(parts) > _MOST_PARTS:
            raise _refused(f"expected at most {_MOST_PARTS} parts between markers, found more")
        for place, count in Counter(part.place for part in parts).items():
            if count > 1:
                what = f"section of {place}" if place else _LIST
                raise _refused(f"expected one {what}, found {count}")
        return cls(text, parts)

    @property
    def sections(self) -> dict[Place, About | None]:
        """The artifacts that have a section, in order, and what it says of them."""
        return {part.place: part.about for part in self.parts if part.place is not None}

    def having(self, place: Place, markdown: str, about: About) -> str:
        """The text with this section: where it stood, else after the last one, else at the end.

        The list names it. Everything outside the markers keeps its bytes.
        """
        section = (
            f"<!-- lopd:begin {place} -->\n<!-- lopd:about {about.encode()} -->\n"
            f"{markdown}<!-- lopd:end {place} -->\n"
        )
        return Body.parse(self._with_section(place, section)).listed()

    def _with_section(self, place: Place, section: str) -> str:
        for one in self.parts:
            if one.place == place:
                return self.text[: one.start] + section + self.text[one.stop :]
        stops = [one.stop for one in self.parts if one.place is not None]
        at = stops[-1] if stops else len(self.text)
        before, after = self.text[:at], self.text[at:]
        gap = "" if not before or before.endswith("\n\n") else "\n" * (2 - before.endswith("\n"))
        return f"{before}{gap}{section}{after}"

    def listed(self) -> str:
        """With a list of its sections: where one stood, else below the title, else at the top."""
        lines = "\n".join(_list(self.sections))
        part = f"<!-- lopd:begin -->\n{lines}\n\n<!-- lopd:end -->\n"
        for one in self.parts:
            if one.place is None:
                return self.text[: one.start] + part + self.text[one.stop :]
        title = _TITLE.match(self.text)
        at = title.end() if title else 0
        before = self.text[:at]
        gap = "\n" if before and not before.endswith("\n") else ""
        return f"{before}{gap}{part}{self.text[at:]}"


def heading(place: Place) -> str:
    """A section's heading, without its signs; other headings of the section say it, too."""
    return f"`{place.config}`, split `{place.split}`"


def _list(sections: dict[Place, About | None]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    rows = []
    for place, about in sections.items():
        anchor = _NOT_IN_ANCHORS.sub("", heading(place)).lower().replace(" ", "-")
        again = f"-{seen[anchor]}" if seen[anchor] else ""
        seen[anchor] += 1
        rows.append((f"[`{place.config}`](#{anchor}{again})", f"`{place.split}`", *_row(about)))
    yield from table(("config", "split", "kind", "rows", "tokens", "version", "teacher"), rows)


def _row(about: About | None) -> tuple[str, ...]:
    if about is None:
        return ("",) * 5
    version = code(about.version) if about.version else "main"
    teacher = code(about.teacher) if about.teacher else ""
    return about.kind, f"{about.rows:,}", f"{about.tokens:,}", version, teacher


def _parts(text: str) -> Iterator[Part]:
    opened: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        place = _place(marker)
        if marker["end"] == "begin" and opened is None:
            opened = marker
        elif marker["end"] == "end" and opened is not None and _place(opened) == place:
            line = _ABOUT.match(text, opened.end()) if place else None
            about = About.parse(line[1]) if line else None
            yield Part(place, opened.start(), marker.end(), about)
            opened = None
        else:
            wanted = f"the end of {_place(opened) or _LIST}" if opened else "a beginning"
            raise _refused(f"expected {wanted}, found lopd:{marker['end']} of {place or _LIST}")
    if opened is not None:
        raise _refused(f"expected the end of {_place(opened) or _LIST}, found none")


def _place(marker: re.Match[str]) -> Place | None:
    if marker["config"] is None:
        return None
    try:
        return Place(marker["config"], marker["split"])
    except UsageError as error:
        raise _refused(f"in a marker {error}") from error


def _refused(what: str) -> FormatError:
    return FormatError(
        f"README.md on the Hub: {what}; lines `<!-- lopd:begin … -->` and `<!-- lopd:end … -->` go"
        " in pairs: put the missing one back, or take the other away, and push again"
    )
