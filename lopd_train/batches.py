"""Which rows make a step, and which of them go through the model together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from lopd_store.errors import UsageError

Layout = Literal["padded", "packed"]
Ints: TypeAlias = npt.NDArray[np.int64]

LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How rows are put together.

    Attributes:
        batch: rows of a step.
        micro_batch_tokens: the most tokens, padding included, that go through the model at once;
            a single row that is longer goes alone.
        layout: `padded`, one row of the tensor for each row; or `packed`, one after another,
            which pays with flash attention only: others attend over the square of the whole.
        seed: of the order of rows.
    """

    batch: int = 256
    micro_batch_tokens: int = 16384
    layout: Layout = "padded"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("micro_batch_tokens", 1), ("seed", 0)):
            if (found := getattr(self, name)) < least:
                raise UsageError(f"expected {name} of at least {least}, found {found}")
        if self.layout not in LAYOUTS:
            raise UsageError(f"expected layout {' or '.join(LAYOUTS)}, found {self.layout!r}")


class Steps:
    """The rows of each step: a pure function of the seed and the step, so there is nothing to save.

    Epoch e is `default_rng([seed, e]).permutation(rows)`; steps cut the endless stream of epochs
    into batches. So every epoch has every row once, and a batch may span two epochs.

    Attributes:
        rows: how many rows there are.
        batch: how many make a step.
        seed: of every shuffle.
    """

    def __init__(self, rows: int, *, batch: int, seed: int) -> None:
        if rows < 1 or batch < 1 or seed < 0:
            raise UsageError(
                f"expected rows and batch of at least 1 and a seed of at least 0, found {rows},"
                f" {batch} and {seed}"
            )
        self.rows, self.batch, self.seed = rows, batch, seed
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    @property
    def per_epoch(self) -> int:
        """Steps until every row was seen once; the last may reach into the next epoch."""
        return -(-self.rows // self.batch)

    def rows_of(self, step: int) -> Ints:
        """The rows of step 0, 1, 2, …: int64 [batch]. A batch over `rows` repeats rows."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, within = np.divmod(places, self.rows)
        pieces = [self._epoch(int(epoch))[within[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(pieces)

    def _shuffled(self, epoch: int) -> Ints:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)


def micro_batches(rows: Ints, lengths: Ints, *, budget: int, layout: Layout) -> list[Ints]:
    """Put the rows of a step into micro-batches of similar lengths, the longest first.

    Args:
        rows: which rows.
        lengths: of every row there is, `lengths[row]`: `Rows.lengths`.
        budget: the most tokens of a micro-batch: rows times the longest if padded, their sum if
            packed. A row that is longer makes a micro-batch of its own.
        layout: see `BatchOptions`.
    """
    order = np.argsort(-lengths[rows], kind="stable")
    fill = _fill_padded if layout == "padded" else _fill_packed
    return [rows[order[places]] for places in fill(lengths[rows][order].tolist(), budget)]


def _fill_padded(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Neighbours together: the first of a group is its longest."""
    groups: list[list[int]] = []
    for place, _ in enumerate(lengths):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= budget:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _fill_packed(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Each row into the first group it fits in: first-fit decreasing."""
    groups: list[list[int]] = []
    totals: list[int] = []
    for place, length in enumerate(lengths):
        group = next((g for g, total in enumerate(totals) if total + length <= budget), None)
        if group is None:
            groups.append([place])
            totals.append(length)
        else:
            groups[group].append(place)
            totals[group] += length
    return groups


def share(micro: Sequence[Ints], *, rank: int, world: int) -> list[Ints]:
    """The micro-batches of one rank of `world`; ranks meet in each, so every rank gets as many.

    Where the number does not divide, the ones with most rows are cut in two; only when rows are
    too few for that does a rank get empty ones.
    """
    pieces = list(micro)
    wanted = -(-len(pieces) // world) * world
    while len(pieces) < wanted and max(map(len, pieces)) > 1:
        at = max(range(len(pieces)), key=lambda place: len(pieces[place]))
        half = len(pieces[at]) // 2
        pieces[at : at + 1] = [pieces[at][:half], pieces[at][half:]]
    pieces += [np.empty(0, np.int64)] * (wanted - len(pieces))
    return pieces[rank::world]
