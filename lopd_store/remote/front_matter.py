"""The YAML at the top of a card that somebody else may have written: read, and changed in place.

What is not ours to change keeps its bytes, comments included. YAML that could mean something else
to another reader, or cost much to read, is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from lopd_store.errors import FormatError

MAX_CARD_BYTES: Final = 4 << 20
MAX_YAML_BYTES: Final = 1 << 17  # some two seconds of PyYAML at worst; a hundred configs fit
_MAX_DEPTH: Final = 32
_MAX_BITS: Final = 63
_OPENING: Final = re.compile(r"---\r?\n")
_NO_OPENING: Final = re.compile(r"\s*---[ \t]*(?:[\r\n]|\Z)")
_CLOSING: Final = re.compile(r"^---[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_OTHER_BREAK: Final = re.compile("\r(?!\n)|[\x85\u2028\u2029]")  # some readers break lines there
_REFUSED: Final = {
    yaml.AnchorToken: "an anchor (&)",
    yaml.AliasToken: "an alias (*)",
    yaml.TagToken: "a tag (!)",
    yaml.DirectiveToken: "a directive (%)",
    yaml.DocumentStartToken: "a second document",
    yaml.DocumentEndToken: "the end of a document (...)",
}
_DEEPER: Final = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_HIGHER: Final = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_ ./*<>-]*")
_ASIDE: Final = re.compile(r"#.*|[ \t\r]*")
_ADVICE: Final = "correct it by hand on the Hub, or take the card away there, and push again"


def split(card: str) -> tuple[str, str]:
    """A card's YAML, without its fences, and its body; the YAML is empty where there is none.

    Raises:
        FormatError: the card is too large, or begins with YAML that does not end.
    """
    _bounded(card, MAX_CARD_BYTES, "a card")
    if card.startswith("\ufeff"):
        raise _refused("expected a card without a byte order mark, found one")
    opening = _OPENING.match(card)
    if opening is None:
        if _NO_OPENING.match(card):
            raise _refused("expected --- alone on the first line, found it in other words")
        return "", card
    closing = _CLOSING.search(card, opening.end())
    if closing is None:
        raise _refused("expected a line of --- after the YAML, found none")
    return card[opening.end() : closing.start()], card[closing.end() :]


def joined(yaml_text: str, body: str) -> str:
    """A card of YAML, without fences, and a body.

    Raises:
        FormatError: larger than the cards that are read.
    """
    card = f"---\n{yaml_text}---\n{body}"
    for what, text, limit in (("YAML", yaml_text, MAX_YAML_BYTES), ("card", card, MAX_CARD_BYTES)):
        if (found := _size(text)) > limit:
            raise FormatError(
                f"README.md: expected its {what} to have at most {limit:,} bytes with what is"
                f" pushed, found {found:,}: shorten it by hand on the Hub, or push to a repository"
                " of its own"
            )
    return card


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """YAML as text and as values.

    Attributes:
        text: as it stands in the card, without the fences.
        fields: its top-level keys and their values.
    """

    text: str
    fields: Mapping[str, Any]
    _spans: Mapping[str, tuple[int, int]]

    @classmethod
    def parse(cls, text: str) -> "FrontMatter":
        """Read it.

        Raises:
            FormatError: not a block mapping of unique keys at its top, nested too deep, too large,
                or with anchors, aliases, tags, directives, merge keys, numbers beyond 64 bits, or
                line breaks that are none to other readers.
        """
        _bounded(text, MAX_YAML_BYTES, "YAML in a card")
        if other := _OTHER_BREAK.search(text):
            raise _refused(f"expected lines that end in \\n, found {other[0]!r} in one")
        try:
            loader = _Loader(text)
            root = loader.get_single_node()
            _check_keys(root)
            fields = {} if root is None else loader.construct_document(root)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
            raise _refused(f"expected YAML: {_one_line(error)}") from error
        if root is None:
            return cls(text, {}, {})
        return cls(text, fields, dict(_spans(root, text)))

    def having(self, fields: Mapping[str, Any]) -> str:
        """The text with these fields: changed ones where they stood, new ones at the end.

        A field that has its value already keeps its bytes.
        """
        text = self.text
        changed = {
            name: value
            for name, value in fields.items()
            if name not in self.fields or self.fields[name] != value
        }
        placed = [name for name in changed if name in self._spans]
        for name in sorted(placed, key=lambda name: self._spans[name], reverse=True):
            start, end = self._spans[name]
            text = text[:start] + _dump({name: changed[name]}) + text[end:]
        added = {name: value for name, value in changed.items() if name not in self._spans}
        if added and text and not text.endswith("\n"):
            text += "\n"
        return text + (_dump(added) if added else "")


class _Loader(yaml.SafeLoader):
    """Refuses what could mean something else to another reader as soon as it comes to it."""

    _depth = 0

    def get_token(self) -> Any:
        token = super().get_token()  # type: ignore[no-untyped-call]
        if type(token) in _REFUSED:
            line = token.start_mark.line + 2  # the fence is line 1
            raise _refused(f"expected plain YAML, found {_REFUSED[type(token)]} in line {line}")
        self._depth += isinstance(token, _DEEPER) - isinstance(token, _HIGHER)
        if self._depth > _MAX_DEPTH:
            raise _refused(f"expected YAML of at most {_MAX_DEPTH} levels, found more")
        return token

    def construct_yaml_int(self, node: Any) -> int:
        found: int = super().construct_yaml_int(node)
        if found.bit_length() > _MAX_BITS:
            line = node.start_mark.line + 2
            raise _refused(f"expected numbers of at most 64 bits, found more in line {line}")
        return found


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some YAML of another version could take for a number or a date."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - PyYAML's
        del indentless
        super().increase_indent(flow, indentless=False)


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _dump(fields: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        dict(fields), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20
    )
    return text


def _check_keys(root: yaml.Node | None) -> None:
    """Every key a scalar that stands once in its mapping, and none a merge."""
    if root is not None and not (isinstance(root, yaml.MappingNode) and not root.flow_style):
        raise _refused("expected `key: value` lines, found another kind of YAML")
    for mapping in _mappings(root):
        seen = set()
        for key, _ in mapping.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen or key.tag == "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 2
                raise _refused(f"expected each key to be a word and there once, line {line}")
            seen.add(name)


def _mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)


def _spans(root: yaml.Node, text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Where each top-level key and its value stand, without comments that follow them."""
    keys = [key for key, _ in root.value]
    starts = [key.start_mark.index for key in keys]
    for key, start, end in zip(keys, starts, [*starts[1:], len(text)], strict=True):
        if key.start_mark.column:
            raise _refused(f"expected keys at the beginning of a line, found {key.value[:40]!r}")
        yield key.value, (start, _without_asides(text, start, end))


def _without_asides(text: str, start: int, end: int) -> int:
    """Where the lines of comments and blanks begin that stand before `end`."""
    while text.endswith("\n", start, end):
        line = text.rfind("\n", start, end - 1) + 1
        if line <= start or not _ASIDE.fullmatch(text, line, end - 1):
            break
        end = line
    return end


def _bounded(text: str, limit: int, what: str) -> None:
    if (found := _size(text)) > limit:
        raise _refused(f"expected {what} of at most {limit:,} bytes, found {found:,}")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _refused(what: str) -> FormatError:
    return FormatError(f"README.md on the Hub: {what}; {_ADVICE}")
