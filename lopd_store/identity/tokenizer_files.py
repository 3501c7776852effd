"""What stands beside tokenizer.json: the chat template and the ids with a meaning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.documents.tokenizer import SpecialIds
from lopd_store.errors import FormatError
from lopd_store.identity import strangers

MAX_TEMPLATE_BYTES: Final = 4 << 20


def chat_template(folder: Path) -> str | None:
    """The chat template's text, with LF line ends, as Jinja reads it; None where there is none.

    `chat_template.jinja` comes before tokenizer_config.json. Of several named templates the text
    is the canonical JSON of all of them by name.

    Raises:
        FormatError: a template that is not text.
    """
    path = folder / "chat_template.jinja"
    template: Any = None
    if path.is_file():
        data = strangers.read_bytes(path, limit=MAX_TEMPLATE_BYTES)
        try:
            template = data.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: expected UTF-8 text: {error}") from error
    else:
        template = strangers.read_optional(folder / "tokenizer_config.json").get("chat_template")
    if template is None:
        return None
    text = template if isinstance(template, str) else _named(template, where=folder)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _named(templates: Any, *, where: Path) -> str:
    try:
        by_name = {item["name"]: item["template"] for item in templates}
    except (TypeError, KeyError) as error:
        raise FormatError(f"{where}: expected a chat template, or a list of named ones") from error
    if not all(isinstance(text, str) for text in (*by_name, *by_name.values())):
        raise FormatError(f"{where}: expected chat templates of text")
    if by_name.keys() == {"default"}:
        return str(by_name["default"])
    return canonical.encode(by_name).decode()


def special_ids(folder: Path, pieces: Mapping[str, int]) -> SpecialIds:
    """Ids that begin, end and pad a text.

    From the first of generation_config.json, config.json and tokenizer_config.json (whose pieces
    `pieces` turns into ids) that says.

    Args:
        folder: of the model.
        pieces: the vocabulary, piece to id.

    Raises:
        FormatError: an id that is not a number of 0 or more.
    """
    sources = [
        strangers.read_optional(folder / name) for name in ("generation_config.json", "config.json")
    ]
    names = strangers.read_optional(folder / "tokenizer_config.json")
    found: dict[str, list[int]] = {}
    for role in ("eos", "bos", "pad"):
        said = (source.get(f"{role}_token_id") for source in sources)
        first = next((value for value in said if value is not None), None)
        if first is None:
            first = pieces.get(_piece(names.get(f"{role}_token")))
        found[role] = _ids(first, where=f"{folder}: {role}_token_id")
    return SpecialIds(
        eos=tuple(found["eos"]),
        bos=found["bos"][0] if found["bos"] else None,
        pad=found["pad"][0] if found["pad"] else None,
    )


def _piece(token: Any) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _ids(value: Any, *, where: str) -> list[int]:
    ids: Sequence[Any] = [] if value is None else value if isinstance(value, list) else [value]
    # -1 is how some configs say "none".
    ids = [item for item in ids if item != -1]
    if not all(type(item) is int and item >= 0 for item in ids):
        raise FormatError(f"{where}: expected token ids, found {value!r}")
    return list(dict.fromkeys(ids))
