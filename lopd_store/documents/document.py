"""A whole document: canonical bytes and what was read from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Final, Self

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents import rules, schema
from lopd_store.errors import FormatError, Problem

MAX_DEPTH: Final = 32  # our deepest, an identity with a stamp, has 8; unknown fields need room


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON document with a digest. Build one with `of`, read one with `parse`.

    Equality, hash and pickling go by the bytes, so fields that this version does not know count
    and survive a rewrite: `Document.parse(data).encode() == data`.

    Attributes:
        data: the canonical bytes.
    """

    SCHEMA: ClassVar[str]

    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes, *, what: str = "") -> Self:
        """Read canonical bytes.

        Args:
            data: the document.
            what: the subject of error messages, such as a file name.

        Raises:
            FormatError: not canonical JSON; or not a valid document, with every problem in
                `.problems`; or written by a newer spec than this one.
        """
        what = what or f"{cls.SCHEMA} document"
        document = canonical.decode(data, what=what)
        if found := problems(document, cls.SCHEMA):
            raise FormatError.of(found, subject=what)
        return cls._read(data, document)

    @classmethod
    def from_json(cls, document: Any, *, what: str = "") -> Self:
        """Make a document of a JSON value. Raises FormatError as `parse` does."""
        return cls.parse(canonical.encode(document), what=what)

    @classmethod
    def _read(cls, data: bytes, document: Mapping[str, Any]) -> Self:
        raise NotImplementedError

    def encode(self) -> bytes:
        """The canonical bytes."""
        return self.data

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical bytes."""
        return Digest.of(self.data)

    @property
    def json(self) -> Any:
        """The JSON value, fresh at each call: changing it changes nothing here."""
        return canonical.decode_lenient(self.data)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).parse, (self.data,)


def problems(document: Any, name: str) -> list[Problem]:
    """Everything wrong in a document: by its schema, and if that is content, by its rules."""
    if _is_deeper(document, MAX_DEPTH):
        return [Problem("too-deep", "/", f"at most {MAX_DEPTH} levels of nesting", "more")]
    return schema.problems(document, name) or rules.problems(document, name)


def _is_deeper(document: Any, limit: int) -> bool:
    """Level by level, because recursion is what a hostile document would exhaust."""
    level = [document]
    for _ in range(limit):
        objects = [item.values() for item in level if isinstance(item, dict)]
        level = [*chain(*objects), *chain(*(item for item in level if isinstance(item, list)))]
        if not level:
            return False
    return True
