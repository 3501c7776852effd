"""Collects problems of many rows: the first of each kind by name, the rest as a count."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from lopd_store.errors import Problem
from lopd_store.rows import flat

SHOWN: Final = 20  # problems of a kind that name their row
_TEXT: Final = 80  # characters of a found text that are shown
Rows = npt.NDArray[np.bool_]


class Findings:
    """Problems found in a batch, in the order they were looked for.

    Attributes:
        where: what the rows are rows of, such as `shard 0`.
        first_row: the number of the batch's first row there.
    """

    def __init__(self, *, where: str, first_row: int) -> None:
        self.where = where
        self.first_row = first_row
        self._shown: dict[str, list[Problem]] = {}
        self._counts: dict[str, int] = {}

    def problems(self) -> list[Problem]:
        """At most `SHOWN` problems of each kind, and one more that counts the others."""
        found = []
        for kind, shown in self._shown.items():
            found += shown
            if more := self._counts[kind] - len(shown):
                found.append(Problem(kind, self.where, "no such row", f"{more} more such row(s)"))
        return found

    def rows(self, kind: str, bad: Rows, *, expected: str, found: str) -> None:
        """Rows marked in `bad`, all with the same words."""
        self._add(kind, np.flatnonzero(bad), lambda _: (expected, found))

    def lengths(
        self,
        name: str,
        bad: Rows,
        *,
        expected: npt.NDArray[np.int64],
        found: npt.NDArray[np.int64],
    ) -> None:
        """Rows whose column `name` has another length than response_ids."""
        self._add(
            "length-mismatch",
            np.flatnonzero(bad),
            lambda row: (f"{expected[row]} {name}", f"{found[row]}"),
        )

    def texts(self, kind: str, bad: Rows, *, expected: flat.Array, found: flat.Array) -> None:
        """Rows whose text is another than expected; both columns have one text a row."""
        self._add(
            kind,
            np.flatnonzero(bad),
            lambda row: (str(expected[row].as_py()), repr(found[row].as_py())[:_TEXT]),
        )

    def items(
        self, kind: str, name: str, lists: flat.Lists, bad: npt.NDArray[np.bool_], *, expected: str
    ) -> None:
        """Rows of column `name` with an item marked in `bad`; the first such item is shown."""
        marked = np.flatnonzero(bad)
        rows, first = np.unique(lists.rows_of(marked), return_index=True)
        firsts = dict(zip(rows[:SHOWN].tolist(), marked[first[:SHOWN]].tolist(), strict=True))

        def words(row: int) -> tuple[str, str]:
            position = firsts[row] - int(lists.offsets[row])
            return expected, f"{name}[{position}] = {lists.values[firsts[row]]}"

        self._add(kind, rows, words)

    def _add(
        self, kind: str, rows: npt.NDArray[np.int64], words: Callable[[int], tuple[str, str]]
    ) -> None:
        if len(rows) == 0:
            return
        shown = self._shown.setdefault(kind, [])
        self._counts[kind] = self._counts.get(kind, 0) + len(rows)
        for row in rows[: SHOWN - len(shown)].tolist():
            shown.append(Problem(kind, f"{self.where} row {self.first_row + row}", *words(row)))
