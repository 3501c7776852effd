"""The text of token ids, by a tokenizer that nobody vouches for: bounded before it is made."""

import json
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from lopd_store.errors import FormatError
from lopd_store.identity.tokenizer import refusing
from lopd_store.rows import flat

MAX_ROW_BYTES: Final = 16 << 20  # of the text of one row, as tokens and decoder might make it
MAX_GROUP_BYTES: Final = 256 << 20  # of a row group's; the Hub's viewer reads 300 MB
_SLICE_BYTES: Final = 32 << 20  # made at a time
_MOST_GROWTH: Final = 1 << 62
_CHARACTERS: Final = 3  # UTF-8 of U+FFFD, for a byte that is no character
_SPACED: Final = 2  # a space beside each token or character
_GROWTH: Final = {
    "ByteLevel": _CHARACTERS,
    "ByteFallback": _CHARACTERS,
    "Fuse": 1,
    "Strip": 1,
}
_ADVICE: Final = "push it without text (--no-text)"


class Texts:
    """What a tokenizer shows for ids, special tokens included; ids without a token show nothing."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        pieces = sorted((number, _bytes(piece) + 1) for piece, number in vocabulary.items())
        self._ids = np.array([number for number, _ in pieces], np.int64)
        self._sizes = np.array([size for _, size in pieces], np.int64)  # one more, for a space
        decoder = tokenizer.decoder
        state = json.loads(decoder.__getstate__()) if decoder is not None else {"type": "Fuse"}
        self._growth = float(min(_growth(state), _MOST_GROWTH))

    def decoded(self, ids: flat.ListArray) -> pa.StringArray:
        """The text of each row of ids.

        Raises:
            FormatError: a negative id, text without measure, or the tokenizer fails.
        """
        found = flat.lists(ids)
        if len(found.values) and (least := int(np.min(found.values))) < 0:
            raise FormatError(
                f"expected token ids of at least 0, found {least}: see lopd-store verify"
            )
        bounds = self._bounds(found)
        if (bounds > MAX_ROW_BYTES).any():
            raise FormatError(
                f"expected text of at most {MAX_ROW_BYTES:,} bytes in a row, found"
                f" {int(np.max(found.lengths[bounds > MAX_ROW_BYTES])):,} ids whose tokens may make"
                f" {np.max(bounds):,.0f}: {_ADVICE}"
            )
        made: list[pa.StringArray] = []
        for start, stop in _slices(bounds):
            made.append(self._slice(ids, start, stop))
            if sum(texts.nbytes for texts in made) > MAX_GROUP_BYTES:
                raise FormatError(
                    f"expected text of at most {MAX_GROUP_BYTES:,} bytes in a row group, found"
                    f" more: {_ADVICE}"
                )
        return pa.concat_arrays(made) if made else pa.array([], pa.string())

    def _slice(self, ids: flat.ListArray, start: int, stop: int) -> pa.StringArray:
        rows = ids.slice(start, stop - start).to_pylist()
        with refusing("tokenizer blob"):
            shown = self._tokenizer.decode_batch(rows, skip_special_tokens=False)
        return pa.array(shown, pa.string())

    def _bounds(self, ids: flat.Lists) -> npt.NDArray[np.float64]:
        """The bytes that each row's text has at most."""
        if not len(self._ids):
            return np.full(len(ids.lengths), self._growth)
        at = np.minimum(np.searchsorted(self._ids, ids.values), len(self._ids) - 1)
        sizes = np.where(self._ids[at] == ids.values, self._sizes[at], 0)
        totals = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return (np.diff(totals[ids.offsets]) + 1) * self._growth


def _slices(bounds: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Rows to show together, from and to."""
    totals = np.concatenate([[0.0], np.cumsum(bounds)])
    start = 0
    while start < len(bounds):
        fitting = int(np.searchsorted(totals, totals[start] + _SLICE_BYTES, side="right")) - 1
        stop = max(fitting, start + 1)
        yield start, stop
        start = stop


def _growth(decoder: Any) -> int:
    """How many times more bytes a decoder makes of tokens at most, as it is written down."""
    match decoder:
        case {"type": "Sequence", "decoders": list(parts)}:
            return math.prod(map(_growth, parts))
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if old:
            return max(1, math.ceil(_bytes(new) / _bytes(old)))
        case {"type": "Replace", "content": str(new)}:  # may stand between any two characters
            return 2 * (_bytes(new) + 1)
        case {"type": str(kind)}:
            return _GROWTH.get(kind, _SPACED)
    return _SPACED


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
