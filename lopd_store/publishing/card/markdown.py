"""Text of strangers as Markdown that says what it says, and nothing else.

A model's name must not close a table, a comment or a code span, nor bring a link or HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lopd_store.digest import Digest

_LONGEST: Final = 300
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 _.,:;/@+=<>^()-]*[A-Za-z0-9_.)>])?")
_KEPT: Final = " ,;"


def code(text: object) -> str:
    """A name or a value as code, in one line of a table or of prose."""
    shown = _visible(str(text))
    # Where even a code span could be left, each sign that means something is spelled by its number.
    return f"`{shown}`" if _HARMLESS.fullmatch(shown) else f"<code>{_numbered(shown)}</code>"


def plain(text: object) -> str:
    """A text as prose: every sign that Markdown or HTML could read is spelled by its number."""
    return _numbered(_visible(str(text)))


def digest(of: Digest) -> str:
    """A whole digest as code, so that it can be compared."""
    return f"`{of}`"


def short(of: Digest) -> str:
    """The first characters of a digest as code, to know it by; the whole one stands elsewhere."""
    return f"`{of.short}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; every cell is Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def fenced(language: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines as a block of code; they have no fence in them."""
    yield f"```{language}"
    yield from lines
    yield "```"


def folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that show when somebody clicks on the summary, which is text of ours."""
    yield f"<details><summary>{summary}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def _visible(text: str) -> str:
    """In one line of bounded length; what hides or moves is spelled as JSON would."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(char if char.isprintable() else _escaped(char) for char in cut)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _numbered(text: str) -> str:
    return "".join(char if char.isalnum() or char in _KEPT else f"&#{ord(char)};" for char in text)
