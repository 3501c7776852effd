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
MAX_YAML_BYTES: Final = 1 << 19  # some ten seconds of PyYAML at worst
_MAX_DEPTH: Final = 32
_FENCE: Final = re.compile(r"^---[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
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
_TRAILING: Final = re.compile(r"(?:^(?:#.*|[ \t\r]*)\n)+\Z", re.MULTILINE)
_ADVICE: Final = "correct it by hand on the Hub, or take the card away there, and push again"


def split(card: str) -> tuple[str, str]:
    """A card's YAML, without its fences, and its body; the YAML is empty where there is none.

    Raises:
        FormatError: the card is too large, or begins with YAML that does not end.
    """
    _bounded(card, MAX_CARD_BYTES, "a card")
    if card.startswith("\ufeff"):
        raise _refused("expected a card without a byte order mark, found one")
    opening = _FENCE.match(card)
    if opening is None:
        if _FENCE.match(card.lstrip()):
            raise _refused("expected --- on the first line, found it further down")
        return "", card
    closing = _FENCE.search(card, opening.end())
    if closing is None:
        raise _refused("expected a line of --- after the YAML, found none")
    return card[opening.end() : closing.start()], card[closing.end() :]


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
                or with anchors, aliases, tags, directives or merge keys.
        """
        _bounded(text, MAX_YAML_BYTES, "YAML in a card")
        try:
            _check_tokens(text)
            loader = yaml.SafeLoader(text)
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


def _check_tokens(text: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if type(token) in _REFUSED:
            line = token.start_mark.line + 2  # the fence is line 1
            raise _refused(f"expected plain YAML, found {_REFUSED[type(token)]} in line {line}")
        depth += isinstance(token, _DEEPER) - isinstance(token, _HIGHER)
        if depth > _MAX_DEPTH:
            raise _refused(f"expected YAML of at most {_MAX_DEPTH} levels, found more")


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
        after = _TRAILING.search(text, start, end)
        yield key.value, (start, after.start() if after else end)


def _bounded(text: str, limit: int, what: str) -> None:
    if (found := len(text.encode("utf-8", "surrogatepass"))) > limit:
        raise _refused(f"expected {what} of at most {limit} bytes, found {found}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _refused(what: str) -> FormatError:
    return FormatError(f"README.md on the Hub: {what}; {_ADVICE}")
