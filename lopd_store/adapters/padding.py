"""Chosen rows of flat columns, and the rectangles that trainers make of them."""

from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lopd_store.errors import UsageError
from lopd_store.loading.decode import MASK
from lopd_store.loading.decoded_rows import Chosen, DecodedRows
from lopd_store.rows import flat

Side = Literal["left", "right"]

_RESPONSE: Final = "response_ids"


def taken(rows: DecodedRows, name: str, chosen: Chosen) -> flat.Lists:
    """A column's lists of the chosen rows, copied. A `loss_mask` nobody stored is all true.

    Raises UsageError on a column that is not open, IndexError on rows that are not there.
    """
    numbers = rows.numbers(chosen)
    if name == MASK and not rows.masked:
        counts = rows.lists(_RESPONSE).lengths[numbers]
        return flat.Lists(np.ones(int(counts.sum()), np.bool_), flat.running(counts))
    lists = rows.lists(name)
    pieces = [lists.values[slice(*lists.offsets[row : row + 2])] for row in numbers]
    values = np.concatenate([lists.values[:0], *pieces])
    counts = np.array([len(piece) for piece in pieces], np.int64)
    return flat.Lists(values, flat.running(counts))


def places(lists: flat.Lists, width: int, side: Side) -> npt.NDArray[np.bool_]:
    """Bool [B, width]: where each row's items stand when the rest of the line is padding.

    Raises UsageError where a row is longer than `width`: nothing is cut off in silence.
    """
    lengths = lists.lengths[:, None]
    if (longest := int(lengths.max(initial=0))) > width:
        raise UsageError(f"expected rows of at most {width} ids, found one of {longest}")
    columns = np.arange(width)
    return columns < lengths if side == "right" else columns >= width - lengths


def padded(
    lists: flat.Lists, where: npt.NDArray[np.bool_], *, fill: float, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """[B, width] of `dtype`: the items at the `places` they have, `fill` elsewhere."""
    found = np.full(where.shape, fill, dtype)
    found[where] = lists.values
    return found


def pieces(lists: flat.Lists, dtype: npt.DTypeLike) -> list[npt.NDArray[Any]]:
    """The rows as arrays of their own."""
    values = lists.values.astype(dtype)
    return [values[first:last] for first, last in pairwise(lists.offsets.tolist())]
