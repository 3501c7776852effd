"""A signal's rows for torch's data loaders: by number or by name, or as a stream that resumes."""

import math
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset, get_worker_info

from lopd_store.errors import UsageError
from lopd_train.rows import Rows

Example: TypeAlias = dict[str, npt.NDArray[Any]]

IGNORED: Final = -100  # the label that losses of Hugging Face leave out
LOGPROBS: Final = ("teacher_logprobs", "rollout_logprobs")


class SignalDataset:
    """Rows one by one, as a map-style dataset; all columns have prompt and response in a line.

    `input_ids`; `labels`, the id where it is trained, else -100; and, where the rows have them,
    `teacher_logprobs` and `rollout_logprobs`, 0.0 in the prompt. All of them say something about
    the token they stand beside: what predicts it is one position before.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int | str) -> Example:
        """A row by its number, from the end if negative, or by its sample_id.

        Raises NotFoundError on an unknown name, IndexError on a number beyond the rows.
        """
        rows, count = self._rows, len(self._rows)
        number = rows.index(row) if isinstance(row, str) else row
        if not -count <= number < count:
            raise IndexError(f"expected a row from 0 to {count - 1}, found {number}")
        number %= count
        prompt = rows.prompt_ids[slice(*rows.prompt_offsets[number : number + 2])]
        said = slice(*rows.response_offsets[number : number + 2])
        ids = np.concatenate([prompt, rows.response_ids[said]]).astype(np.int64)
        trained = np.concatenate([np.zeros(len(prompt), np.bool_), rows.trained[said]])
        example = {"input_ids": ids, "labels": np.where(trained, ids, IGNORED)}
        for name in LOGPROBS:
            if (column := getattr(rows, name)) is not None:
                values = np.zeros(len(ids), np.float32)
                values[len(prompt) :] = column[said]
                example[name] = values
        return example


class SignalStream(IterableDataset[Example]):  # type: ignore[misc] # torch has no types here
    """The examples of `SignalDataset` in a shuffled order that ranks and workers share out.

    Epoch e is `default_rng([seed, e]).permutation(rows)`. Rank r of n takes every n-th row from
    the r-th on, its workers share those out in the same way, and the last ranks repeat the first
    rows so that all ranks get as many: collectives would wait for ever otherwise.

    `state_dict` says where the latest iterator stands; loaded into a stream of the same rows, seed,
    ranks and workers, the next iterator goes on from there, so it resumes in torchdata's
    StatefulDataLoader. Any other iterator begins the epoch; the next epoch, once one has ended.
    Workers that a loader starts anew each time cannot know, so call `set_epoch` before each.
    """

    def __init__(
        self, rows: Rows, *, seed: int = 0, shuffle: bool = True, rank: int = 0, world: int = 1
    ) -> None:
        """A stream at the beginning of epoch 0.

        Args:
            rows: what `Rows.read` read.
            seed: of every shuffle.
            shuffle: False for the order of the rows.
            rank: of this process.
            world: how many processes there are.

        Raises UsageError where there is no such rank, or a seed below 0.
        """
        if not 0 <= rank < world or seed < 0:
            raise UsageError(
                f"expected a rank below world and a seed of at least 0, found rank {rank} of"
                f" {world} and seed {seed}"
            )
        self._examples = SignalDataset(rows)
        self._seed, self._shuffle, self._rank, self._world = seed, shuffle, rank, world
        self.set_epoch(0)

    def __len__(self) -> int:
        """Examples of this rank in an epoch."""
        return math.ceil(len(self._examples) / self._world)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch from its first row."""
        self._epoch, self._taken, self._first = epoch, 0, 0

    def __iter__(self) -> Iterator[Example]:
        """This worker's share of the epoch, or what a loaded state leaves of it."""
        self._taken, self._first = self._first, 0
        return self._rest()

    def _rest(self) -> Iterator[Example]:
        mine = self._mine()
        while self._taken < len(mine):
            row = int(mine[self._taken])
            self._taken += 1  # before the row is handed over: it is the consumer's from then on
            yield self._examples[row]
        self.set_epoch(self._epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """Where this worker stands: whose state it is, the epoch, and the rows taken of it."""
        return {**self._whose(), "epoch": self._epoch, "taken": self._taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there. Raises UsageError on the state of another stream."""
        whose = {name: state.get(name) for name in self._whose()}
        if whose != self._whose():
            raise UsageError(f"expected the state of a stream of {self._whose()}, found {whose}")
        self._epoch, self._taken, self._first = state["epoch"], state["taken"], state["taken"]

    def _whose(self) -> dict[str, int]:
        worker = get_worker_info()
        return {
            "rows": len(self._examples),
            "seed": self._seed,
            "shuffle": int(self._shuffle),
            "rank": self._rank,
            "world": self._world,
            "worker": worker.id if worker else 0,
            "workers": worker.num_workers if worker else 1,
        }

    def _mine(self) -> npt.NDArray[np.int64]:
        count = len(self._examples)
        order = np.arange(count)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(count)
        mine = np.resize(order, len(self) * self._world)[self._rank :: self._world]
        whose = self._whose()
        return mine[whose["worker"] :: whose["workers"]]
