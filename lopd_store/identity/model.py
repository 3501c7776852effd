"""fingerprint(model): everything that says who a model and its tokenizer are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import FormatError, NotFoundError
from lopd_store.identity import strangers
from lopd_store.identity.adapter import AdapterReading, base_name, is_adapter, read_adapter
from lopd_store.identity.cache import FileCache
from lopd_store.identity.checkpoint import WeightFiles, find_weights
from lopd_store.identity.config import config_digest, vocab_size
from lopd_store.identity.hashing import Progress
from lopd_store.identity.source import ModelFiles, locate
from lopd_store.identity.tokenizer import TokenizerReading, read_tokenizer
from lopd_store.identity.weights import read_weights

_SMALL_FILES: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A model and its tokenizer.

    Attributes:
        model: who the model is.
        tokenizer: who its tokenizer is; None where the folder has none.
        tokenizer_blob: the tokenizer itself; its digest is `tokenizer.blob`.
        folder: the files that were read.
    """

    model: ModelIdentity
    tokenizer: TokenizerIdentity | None
    tokenizer_blob: bytes | None
    folder: Path

    def require_tokenizer(self) -> TokenizerReading:
        """The tokenizer. Raises FormatError where the folder has none."""
        if self.tokenizer is None or self.tokenizer_blob is None:
            raise FormatError(f"{self.folder}: expected tokenizer files beside the weights")
        return TokenizerReading(identity=self.tokenizer, blob=self.tokenizer_blob)


def fingerprint(
    model: str,
    *,
    base: str | None = None,
    cache: Path | None = None,
    rehash: bool = False,
    progress: Progress | None = None,
) -> Fingerprint:
    """Say who a model is. Reads the weights once; a warm `cache` reads none.

    Args:
        model: a folder, or `org/name[@revision]` (see `source.locate`).
        base: for a LoRA adapter, its base model; default, the Hub name the adapter states.
        cache: folder of remembered digests, or None to read everything.
        rehash: read every byte, whatever the cache and the Hub's cache say.
        progress: called with the bytes of weights read, from any thread.

    Raises:
        NotFoundError: no such model, or no weights or config in it.
        FormatError: files that break their format.
        UsageError: an adapter whose base is not known.
    """
    files = locate(model)
    remembered = FileCache(cache) if cache else None
    if is_adapter(files.folder):
        reading = read_adapter(files.folder, cache=remembered, rehash=rehash, progress=progress)
        under = fingerprint(
            base or base_name(files.folder), cache=cache, rehash=rehash, progress=progress
        )
        return _on_top(under, reading, files)
    identity = _identify(files, cache=remembered, rehash=rehash, progress=progress)
    tokenizer = _tokenizer(files.folder)
    return Fingerprint(
        model=identity,
        tokenizer=tokenizer.identity if tokenizer else None,
        tokenizer_blob=tokenizer.blob if tokenizer else None,
        folder=files.folder,
    )


def _identify(
    files: ModelFiles, *, cache: FileCache | None, rehash: bool, progress: Progress | None
) -> ModelIdentity:
    config = strangers.read_object(files.folder / "config.json")
    chosen = find_weights(files.folder)
    refuse_other_weights(files.folder, config, chosen)
    reading = read_weights(chosen, cache=cache, rehash=rehash, progress=progress)
    weights = reading.weights
    rows = vocab_size(config) or weights.vocab_rows
    if rows is None:
        raise FormatError(f"{files.folder}: expected vocab_size in config.json, found none")
    return ModelIdentity(
        weights_digest=weights.digest,
        config_digest=config_digest(config, own_output_embedding=weights.own_output_embedding),
        vocab_size=rows,
        files={**reading.files, **_small_files(files)},
        source=files.hub,
    )


def refuse_other_weights(folder: Path, config: Mapping[str, Any], chosen: WeightFiles) -> None:
    """Raise FormatError for what makes transformers load other weights than are digested here."""
    if (folder / "adapter_config.json").exists():
        raise FormatError(
            f"{folder}: expected a model or a LoRA adapter, found both in one folder: loaders"
            " disagree on which counts; remove adapter_config.json, or merge the adapter"
        )
    named = config.get("transformers_weights")
    whole = chosen.index_path or chosen.paths[0]
    if named is not None and named != whole.name:
        raise FormatError(
            f"{folder}: expected config.json to name no weights, or {whole.name}, found"
            f" transformers_weights {named!r:.80}"
        )


def _small_files(files: ModelFiles) -> dict[str, Digest]:
    names = [name for name in files.files if name in _SMALL_FILES or name.endswith(".index.json")]
    return {name: Digest.of_file(files.folder / name) for name in names}


def _tokenizer(folder: Path) -> TokenizerReading | None:
    try:
        return read_tokenizer(folder)
    except NotFoundError:
        return None


def _on_top(under: Fingerprint, reading: AdapterReading, files: ModelFiles) -> Fingerprint:
    """The base with the adapter on it. A tokenizer saved with the adapter counts, as it loads."""
    tokenizer = _tokenizer(files.folder)
    base = under.model
    if base.adapter is not None:
        raise FormatError(f"{files.folder}: expected a base model under the adapter, found another")
    return Fingerprint(
        model=ModelIdentity(
            weights_digest=base.weights_digest,
            config_digest=base.config_digest,
            vocab_size=base.vocab_size,
            files={**base.files, **reading.files},
            source=base.source,
            adapter=reading.adapter,
        ),
        tokenizer=tokenizer.identity if tokenizer else under.tokenizer,
        tokenizer_blob=tokenizer.blob if tokenizer else under.tokenizer_blob,
        folder=files.folder,
    )
