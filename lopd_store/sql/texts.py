"""Token ids as text, by the tokenizer that stands beside an artifact."""

import threading
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from lopd_store.identity.tokenizer import open_tokenizer, refusing

_MAX_ID: Final = 1 << 22  # the largest vocabularies hold some 300,000
_BROKEN: Final = "\ufffd"  # what decoders write for bytes that are no whole character


class TokenTexts:
    """The texts of ids. The tokenizer is opened when the first is asked for."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._lock = threading.Lock()
        self._texts: Any = None

    def __call__(self, ids: Any) -> Any:
        """An Arrow array of int32 ids → one of strings; null for an id without a token.

        Raises FormatError where the blob is no tokenizer.
        """
        with self._lock:  # DuckDB asks from several threads
            if self._texts is None:
                self._texts = pa.array(texts_of(open_tokenizer(self._blob)), pa.string())
        known = pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(self._texts)))
        return self._texts.take(pc.if_else(known, ids, None))


def texts_of(tokenizer: Tokenizer) -> list[str | None]:
    """The texts of the ids from 0 to the largest; None where an id has no token.

    A token's text is what it adds to the text before it, so a word's first token keeps its space.
    One that is no whole character has its piece in the vocabulary for text.

    Raises FormatError where the tokenizer fails on ids of its own.
    """
    with refusing("tokenizer blob"):
        pieces = {at: piece for piece, at in tokenizer.get_vocab(with_added_tokens=True).items()}
        ids = sorted(at for at in pieces if at <= _MAX_ID)
        first = next((at for at in ids if len(pieces[at]) == 1 and pieces[at].isalpha()), ids[0])
        before, *texts = tokenizer.decode_batch(
            [[first], *([first, at] for at in ids)], skip_special_tokens=False
        )
    found: list[str | None] = [None] * (ids[-1] + 1)
    for at, text in zip(ids, texts, strict=True):
        whole = text.startswith(before) and _BROKEN not in text
        found[at] = text.removeprefix(before) if whole else pieces[at]
    return found
