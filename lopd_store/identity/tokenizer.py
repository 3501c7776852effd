"""Who a tokenizer is, read from the live backend that makes the ids.

Two tokenizers are the same when the same text gives the same ids and the same id the same piece.
File bytes do not decide that: loaders rewrite them. `core_digest` covers what does: normalizer,
pre-tokenizer, model (merges as pairs) and added tokens by id. Truncation, padding, decoder,
post-processor and dropout are outside it.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from tokenizers import Tokenizer

from lopd_store import canonical
from lopd_store.digest import Digest, tagged
from lopd_store.documents.tokenizer import SpecialIds, TokenizerIdentity
from lopd_store.errors import FormatError, NotFoundError, Problem
from lopd_store.identity import slow_tokenizer, strangers
from lopd_store.identity.probes import PROBES
from lopd_store.identity.tokenizer_files import chat_template, special_ids

MAX_TOKENIZER_BYTES: Final = 256 << 20  # the largest published tokenizer.json is 35 MB
_BLOB_FORMAT: Final = "lopd.tokenizer.v1"
_ZSTD_LEVEL: Final = 9  # part of the blob's bytes: never change it for one format
_RUNTIME_STATE: Final = ("truncation", "padding")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerReading:
    """A tokenizer's identity and the blob that holds the tokenizer itself."""

    identity: TokenizerIdentity
    blob: bytes


def read_tokenizer(folder: Path) -> TokenizerReading:
    """The tokenizer of a model folder.

    A folder without tokenizer.json is converted through transformers, where that is installed.

    Raises:
        NotFoundError: the folder has no tokenizer.
        FormatError: it does not load.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        data = strangers.read_bytes(path, limit=MAX_TOKENIZER_BYTES)
        tokenizer = _load(_utf8(data, where=path), where=str(path))
    else:
        tokenizer = slow_tokenizer.convert(folder)
    return identify(tokenizer, folder=folder)


def identify(tokenizer: Tokenizer, *, folder: Path) -> TokenizerReading:
    """Identity of a live backend, which stays as it is.

    Args:
        tokenizer: the `tokenizers` backend that makes the ids.
        folder: where the chat template and the special ids are read from.
    """
    text = _without_runtime_state(tokenizer.to_str())
    live = _load(text, where=str(folder))
    pieces: dict[str, int] = live.get_vocab(with_added_tokens=True)
    if not pieces:
        raise NotFoundError(f"{folder}: expected a tokenizer with a vocabulary, found none")
    template = chat_template(folder)
    specials = special_ids(folder, pieces)
    blob = _pack(text, template=template, specials=specials)
    identity = TokenizerIdentity(
        core_digest=_core_digest(json.loads(text)),
        vocab_digest=_vocab_digest(pieces),
        probe_digest=_probe_digest(live, where=str(folder)),
        chat_template_digest=_template_digest(template),
        vocab_size=max(pieces.values()) + 1,
        special_ids=specials,
        versions={"tokenizers": importlib.metadata.version("tokenizers")},
        blob=Digest.of(blob),
    )
    return TokenizerReading(identity=identity, blob=blob)


def open_tokenizer(blob: bytes) -> Tokenizer:
    """The tokenizer in a blob nobody vouches for; decompression is bounded.

    Raises:
        FormatError: not a tokenizer blob, or larger than any tokenizer.
    """
    return _load(_unpack(blob)["tokenizer"], where="tokenizer blob")


def open_chat_template(blob: bytes) -> str | None:
    """The chat template in a tokenizer blob. Raises FormatError as `open_tokenizer` does."""
    template = _unpack(blob).get("chat_template")
    return template if isinstance(template, str) else None


def _utf8(data: bytes, *, where: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: expected UTF-8 text: {error}") from error


def blob_problems(blob: bytes, described: Iterable[TokenizerIdentity]) -> list[Problem]:
    """Where a blob nobody vouches for is not the tokenizer that identities describe.

    Raises FormatError as `open_tokenizer` does.
    """
    wrapper = _unpack(blob)
    live = _load(wrapper["tokenizer"], where="tokenizer blob")
    template = wrapper.get("chat_template")
    # As it stands and as this version of the library would write it: either may be older.
    cores = {_core_digest(json.loads(text)) for text in (live.to_str(), wrapper["tokenizer"])}
    found: dict[str, set[Any]] = {
        "core_digest": cores,
        "vocab_digest": {_vocab_digest(live.get_vocab(with_added_tokens=True))},
        "chat_template_digest": {_template_digest(template if isinstance(template, str) else None)},
    }
    return [
        Problem(
            "tokenizer-differs",
            f"tokenizer {identity.blob.short}",
            f"{name} {getattr(identity, name)}",
            " or ".join(sorted(map(str, digests))),
        )
        for identity in described
        for name, digests in found.items()
        if getattr(identity, name) not in digests
    ]


def _template_digest(template: str | None) -> Digest | None:
    return None if template is None else Digest.of(template.encode())


def _load(text: str, *, where: str) -> Tokenizer:
    with refusing(where):
        return Tokenizer.from_str(text)


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """The library's errors as ours: it raises bare Exception, and panics on some tokenizers.

    A panic is a BaseException of a class that cannot be imported.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise FormatError(f"{where}: expected a tokenizer: {error}") from error


def _without_runtime_state(text: str) -> str:
    """The backend's JSON without what a caller may have switched on: a copy, not the original."""
    document = json.loads(text)
    for key in _RUNTIME_STATE:
        document[key] = None
    if document["model"].get("dropout") is not None:
        document["model"]["dropout"] = None
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _core_digest(document: dict[str, Any]) -> Digest:
    model = {key: value for key, value in document["model"].items() if key != "dropout"}
    core = {
        "normalizer": document.get("normalizer"),
        "pre_tokenizer": document.get("pre_tokenizer"),
        "model": model,
        "added_tokens": sorted(document.get("added_tokens", []), key=_token_id),
    }
    return tagged("lopd.tokenizer-core.v1", canonical.encode(strangers.without_floats(core)))


def _token_id(token: dict[str, Any]) -> int:
    return int(token["id"])


def _vocab_digest(pieces: dict[str, int]) -> Digest:
    by_id = sorted((number, piece) for piece, number in pieces.items())
    pairs = [[piece, number] for number, piece in by_id]
    return tagged("lopd.tokenizer-vocab.v1", canonical.encode(pairs))


def _probe_digest(tokenizer: Tokenizer, *, where: str) -> Digest:
    with refusing(where):
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in PROBES]
    return tagged("lopd.tokenizer-probe.v1", canonical.encode(ids))


def _pack(text: str, *, template: str | None, specials: SpecialIds) -> bytes:
    wrapper: dict[str, Any] = {
        "format": _BLOB_FORMAT,
        "tokenizer": text,
        "special_ids": specials.to_json(),
    }
    if template is not None:
        wrapper["chat_template"] = template
    data = canonical.encode(wrapper)
    compressed = pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
    return bytes(compressed)


def _unpack(blob: bytes) -> dict[str, Any]:
    try:
        with pa.CompressedInputStream(pa.BufferReader(blob), "zstd") as stream:
            data = stream.read(MAX_TOKENIZER_BYTES + 1)
    except (OSError, pa.ArrowInvalid) as error:
        raise FormatError(f"tokenizer blob: expected zstd: {error}") from error
    if len(data) > MAX_TOKENIZER_BYTES:
        raise FormatError(
            f"tokenizer blob: expected at most {MAX_TOKENIZER_BYTES} bytes, found more"
        )
    wrapper = strangers.parse_object(data, what="tokenizer blob")
    if wrapper.get("format") != _BLOB_FORMAT or not isinstance(wrapper.get("tokenizer"), str):
        raise FormatError(f"tokenizer blob: expected format {_BLOB_FORMAT} with a tokenizer")
    return wrapper
