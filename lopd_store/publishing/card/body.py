"""A card's body: sections of ours between markers, and what people wrote around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lopd_store.errors import FormatError, UsageError
from lopd_store.remote.layout import Place

_MARKER: Final = re.compile(
    r"^<!-- lopd:(?P<end>begin|end) (?P<config>[^\s/]+)/(?P<split>[^\s/]+) -->[ \t]*(?:\r?\n|\Z)",
    re.MULTILINE,
)
_STORED: Final = re.compile(r"<!-- lopd:stored (0|[1-9][0-9]{0,18}) -->(?:\r?\n)")


@dataclass(frozen=True, slots=True)
class Section:
    """A section of ours.

    Attributes:
        place: the artifact's.
        start: index of its first character, the marker's.
        stop: index after the marker that ends it, with that line's end.
        stored: bytes of the artifact's shards, as the section says; None where it does not.
    """

    place: Place
    start: int
    stop: int
    stored: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """A body and its sections in the order in which they stand.

    Attributes:
        text: all of it.
        sections: ours.
    """

    text: str
    sections: tuple[Section, ...]

    @classmethod
    def parse(cls, text: str) -> "Body":
        """Find the markers. Raises FormatError where they do not pair, or a place has two."""
        sections = tuple(_sections(text))
        places = [one.place for one in sections]
        for place in places:
            if places.count(place) > 1:
                raise _refused(f"expected one section of {place}, found {places.count(place)}")
        return cls(text, sections)

    def having(self, place: Place, markdown: str, *, stored: int) -> str:
        """The text with this section: where it stood, else after the last one, else at the end.

        Everything outside the section's markers keeps its bytes.
        """
        section = (
            f"<!-- lopd:begin {place} -->\n<!-- lopd:stored {stored} -->\n"
            f"{markdown}<!-- lopd:end {place} -->\n"
        )
        for one in self.sections:
            if one.place == place:
                return self.text[: one.start] + section + self.text[one.stop :]
        at = self.sections[-1].stop if self.sections else len(self.text)
        before, after = self.text[:at], self.text[at:]
        gap = "" if not before or before.endswith("\n\n") else "\n" * (2 - before.endswith("\n"))
        return f"{before}{gap}{section}{after}"


def _sections(text: str) -> Iterator[Section]:
    opened: re.Match[str] | None = None
    for marker in _MARKER.finditer(text):
        place = _place(marker)
        if marker["end"] == "begin" and opened is None:
            opened = marker
        elif marker["end"] == "end" and opened is not None and _place(opened) == place:
            stored = _STORED.match(text, opened.end())
            yield Section(place, opened.start(), marker.end(), int(stored[1]) if stored else None)
            opened = None
        else:
            wanted = f"the end of {_place(opened)}" if opened else "a beginning"
            raise _refused(f"expected {wanted}, found lopd:{marker['end']} {place}")
    if opened is not None:
        raise _refused(f"expected the end of {_place(opened)}, found none")


def _place(marker: re.Match[str]) -> Place:
    try:
        return Place(marker["config"], marker["split"])
    except UsageError as error:
        raise _refused(f"in a marker {error}") from error


def _refused(what: str) -> FormatError:
    return FormatError(
        f"README.md on the Hub: {what}; lines `<!-- lopd:begin … -->` and `<!-- lopd:end … -->` go"
        " in pairs: put the missing one back, or take the other away, and push again"
    )
