"""What documents are made of: frozen parts, each with a schema, each keeping unknown fields."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Self

from lopd_store.documents import schema


class Part:
    """A JSON object inside a document, as a frozen value.

    `Part.from_json(part.to_json()) == part`, and what `to_json` returns shares nothing with it.
    A subclass has a field `unknown` with the fields of its object that this version does not know.
    """

    __slots__ = ()
    SCHEMA: ClassVar[str]

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Check a JSON value and read it. Raises FormatError with every problem."""
        schema.check(document, cls.SCHEMA, what=cls.__name__)
        return cls.read(document)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a JSON object that has passed its schema."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The JSON object, unknown fields included."""
        raise NotImplementedError


def unknown_fields(document: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """A copy of the fields that are not `known`."""
    known = frozenset(known)
    return {key: deepcopy(value) for key, value in document.items() if key not in known}


def json_object(unknown: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The `fields` that are not None, over a copy of the `unknown` ones."""
    present = {key: value for key, value in fields.items() if value is not None}
    return {**deepcopy(dict(unknown)), **present}
