"""List columns of made-up numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.rows import flat

Numbers = npt.NDArray[Any]


def list_column(values: Numbers, lengths: Numbers | int) -> flat.ListArray:
    """A list column of `values` in their order, whatever their shape.

    Args:
        values: the items of all rows, in the column's dtype.
        lengths: items of each row; one number where all rows are as long.
    """
    items: Any = pa.array(np.ascontiguousarray(values).reshape(-1))
    if isinstance(lengths, int):
        lengths = np.full(values.size // lengths, lengths)
    ends: Any = pa.array(flat.running(lengths).astype(np.int32))
    return pa.ListArray.from_arrays(ends, items)
