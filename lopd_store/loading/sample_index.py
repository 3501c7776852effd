"""sample_id → row, in 16 bytes a row."""

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.errors import NotFoundError

_DIGITS: Final = 16  # hex characters of a sample_id that make its key; names are compared whole
_NO_DIGIT: Final = re.compile("[^0-9a-f]")


class SampleIndex:
    """Finds rows by name: keys in order, then the names of the rows that share a key."""

    def __init__(self, names: pa.ChunkedArray) -> None:
        """`names` are sample ids, row after row."""
        self._names = names
        keys = _keys(names)
        self._rows = np.argsort(keys, kind="stable")
        self._keys = keys[self._rows]

    def row(self, sample_id: str) -> int:
        """The first row of that name. Raises NotFoundError."""
        wanted = _key(sample_id)
        first = int(self._keys.searchsorted(wanted))
        for place in range(first, len(self._keys)):
            if self._keys[place] != wanted:
                break
            row = int(self._rows[place])
            if self._names[row].as_py() == sample_id:
                return row
        raise NotFoundError(f"expected a sample_id of these rows, found none named {sample_id!r}")


def _key(name: str) -> np.uint64:
    """The same as `_keys`, of one name."""
    fixed = name[:_DIGITS].ljust(_DIGITS, "0")
    return np.uint64(int(_NO_DIGIT.sub("0", fixed), 16))


def _keys(names: Any) -> npt.NDArray[np.uint64]:
    """The first characters of each name as a number; any number for names that are no hex."""
    fixed = pc.utf8_slice_codeunits(pc.utf8_rpad(names, _DIGITS, "0"), 0, _DIGITS)
    plain = pc.replace_substring_regex(fixed, _NO_DIGIT.pattern, "0").combine_chunks()
    text = plain.cast(pa.binary()).cast(pa.binary(_DIGITS))
    digits = np.frombuffer(text.buffers()[1] or b"", np.uint8)[: len(text) * _DIGITS]
    nibbles = np.where(digits >= ord("a"), digits - ord("a") + 10, digits - ord("0"))
    pairs = (nibbles[0::2] << 4 | nibbles[1::2]).astype(np.uint8)
    keys: npt.NDArray[np.uint64] = pairs.view(">u8").astype(np.uint64)
    return keys
