"""The questions of `sql_macros.py` in NumPy, behind pyarrow."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.sql_by_hand import Answer, Paths

Numbers: TypeAlias = npt.NDArray[Any]


def _per_prompt(a: Paths, b: Paths) -> Answer:
    del b
    table = _read(a, "prompt_id", "teacher_logprobs", "rollout_logprobs")
    codes = table["prompt_id"].combine_chunks().dictionary_encode()
    prompts, rows = codes.dictionary, np.asarray(codes.indices)
    (starts, x), (_, y) = (_flat(table, name) for name in table.column_names[1:])
    samples = np.bincount(rows)
    tokens = np.bincount(rows, np.diff(starts)).astype(np.int64)
    means = [
        np.bincount(rows, np.add.reduceat(v, starts[:-1], dtype=np.float64)) / tokens
        for v in (x, y)
    ]
    order = pc.sort_indices(prompts).to_numpy()
    t, r = (mean[order] for mean in means)
    return prompts.take(order), samples[order], tokens[order], t, np.exp(-t), r, np.exp(-r)


def _disagreements(a: Paths, b: Paths) -> Answer:
    del b
    table = _read(a, "sample_id", "response_ids", "teacher_logprobs", "rollout_logprobs")
    (starts, ids), (_, x), (_, y) = (_flat(table, name) for name in table.column_names[1:])
    advantage = np.subtract(x, y, dtype=np.float64)
    largest = np.argpartition(np.abs(advantage), -100)[-100:]
    largest = largest[np.argsort(-np.abs(advantage[largest]))]
    rows = np.searchsorted(starts, largest, "right") - 1
    return (
        table["sample_id"].take(rows),
        largest - starts[rows],
        ids[largest],
        advantage[largest],
    )


def _histogram(*names: str) -> Callable[[Paths, Paths], Answer]:
    def answer(a: Paths, b: Paths) -> Answer:
        del b
        table = _read(a, *names)
        (_, x), *others = (_flat(table, name) for name in names)
        values = x.astype(np.float64)
        for _, y in others:
            values -= y
        bins = np.floor(values / 0.25).astype(np.int64)
        first = bins.min()
        counts = np.bincount(bins - first)
        there = np.flatnonzero(counts)
        found, n = there + first, counts[there]
        return found * 0.25, (found + 1) * 0.25, n, n / n.sum()

    return answer


def _position_profile(a: Paths, b: Paths) -> Answer:
    del b
    table = _read(a, "teacher_logprobs", "rollout_logprobs")
    (starts, x), (_, y) = (_flat(table, name) for name in table.column_names)
    positions = np.arange(len(x)) - np.repeat(starts[:-1], np.diff(starts))
    n = np.bincount(positions)
    advantage = np.subtract(x, y, dtype=np.float64)
    columns = (x, y, advantage, np.abs(advantage))
    return np.arange(len(n)), n, *(np.bincount(positions, values) / n for values in columns)


def _lengths(a: Paths, b: Paths) -> Answer:
    del b
    table = _read(a, "finish_reason", "response_ids")
    n, reasons = np.diff(_flat(table, "response_ids")[0]), table["finish_reason"].to_numpy()
    groups = [(reason, n[reasons == reason]) for reason in np.unique(reasons)]
    groups = [*sorted(groups, key=lambda group: -len(group[1])), ("all", n)]
    return (
        [reason for reason, _ in groups],
        *(
            [measure(each) for _, each in groups]
            for measure in (
                *(len, lambda each: len(each) / len(n), np.sum, np.mean, np.min, np.median),
                *(lambda each: np.quantile(each, 0.9), np.max),
            )
        ),
    )


def _compare(a: Paths, b: Paths) -> Answer:
    one, other = (_read(paths, "sample_id", "teacher_logprobs") for paths in (a, b))
    where = pc.index_in(one["sample_id"], other["sample_id"].combine_chunks()).to_numpy()
    (starts, x), (others, y) = (_flat(table, "teacher_logprobs") for table in (one, other))
    if not np.array_equal(where, np.arange(len(where))):
        y = np.concatenate([y[others[row] : others[row + 1]] for row in where])
    delta = np.subtract(x, y, dtype=np.float64)
    size = np.abs(delta)
    totals = np.add.reduceat(size, starts[:-1])
    return (
        *([len(where)], [len(delta)], [np.count_nonzero(delta)], [delta.mean()], [delta.std()]),
        *([size.mean()], [size.max()], [np.mean(size > 1)], [np.mean(totals**2)]),
        [np.count_nonzero(~np.isfinite(totals))],
    )


def _read(paths: Paths, *names: str) -> Any:
    return pq.read_table(paths, columns=list(names))


def _flat(table: Any, name: str) -> tuple[Numbers, Numbers]:
    column = table[name].combine_chunks()
    return np.asarray(column.offsets).astype(np.int64), column.values.to_numpy()


NUMPY: Final[Mapping[str, Callable[[Paths, Paths], Answer]]] = {
    "per_prompt": _per_prompt,
    "disagreements": _disagreements,
    "histogram of log-probs": _histogram("teacher_logprobs"),
    "histogram of advantage": _histogram("teacher_logprobs", "rollout_logprobs"),
    "position_profile": _position_profile,
    "lengths": _lengths,
    "compare": _compare,
}
