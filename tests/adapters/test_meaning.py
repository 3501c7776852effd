"""A student that is its teacher has advantage 0 at every token it learns, in each trainer's eyes.

The readers know nothing of our adapters. An adapter that is off by one fails: so do these, with
the teacher's numbers moved by one position.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lopd_store.adapters import slime, trl, verl
from lopd_store.adapters.exporting import export
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters import conventions
from tests.adapters.alike import Array, Model

NATS = 1e-4  # float32 log-probs of a float64 model, with and without padding
CHOSEN = [7, 0, 3, 9, 3]
PAD = 0

SHIFTS = pytest.mark.parametrize("shift", [0, 1, -1], ids=["as-it-is", "late", "early"])


def check(advantages: Array, counted: Array, rows: DecodedRows, chosen: Any, shift: int) -> None:
    """Zero where it counts, unless shifted; and it counts where loss_mask is true."""
    largest = np.abs(advantages[counted]).max()
    assert (largest < NATS) == (shift == 0), largest
    masks = rows.lists("loss_mask")
    trained = [masks.values[slice(*masks.offsets[row : row + 2])] for row in chosen]
    assert counted.sum() == sum(mask.sum() for mask in trained)
    assert 0 < counted.sum() < sum(map(len, trained))


def moved(values: Array, shift: int) -> Array:
    return np.roll(values, shift, axis=min(1, values.ndim - 1))


@SHIFTS
@pytest.mark.parametrize("wide", [{}, {"prompt_length": 11, "response_length": 40}], ids=str)
def test_verl(
    rows: DecodedRows, alike: tuple[Signal, Model], shift: int, wide: dict[str, int]
) -> None:
    batch = verl.collate(rows, CHOSEN, pad_token_id=PAD, **wide)
    batch["teacher_logprobs"] = moved(batch["teacher_logprobs"], shift)
    check(*conventions.of_verl(batch, alike[1]), rows, CHOSEN, shift)


@SHIFTS
def test_slime(rows: DecodedRows, alike: tuple[Signal, Model], shift: int) -> None:
    data = slime.collate(rows, CHOSEN)
    data["teacher_log_probs"] = [moved(one, shift) for one in data["teacher_log_probs"]]
    check(*conventions.of_slime(data, alike[1]), rows, CHOSEN, shift)


@SHIFTS
def test_trl(rows: DecodedRows, alike: tuple[Signal, Model], shift: int) -> None:
    batch = trl.collate(rows, CHOSEN, pad_token_id=PAD)
    values = np.nan_to_num(batch["actual_logprobs"], neginf=0.0)
    batch["actual_logprobs"] = moved(values, shift) if shift else batch["actual_logprobs"]
    check(*conventions.of_trl(batch, alike[1]), rows, CHOSEN, shift)


def exported(signal: Signal, name: str, folder: Path) -> list[dict[str, Any]]:
    export(signal, folder / "rows.parquet", format=name)
    found: list[dict[str, Any]] = pq.read_table(folder / "rows.parquet").to_pylist()
    return found


@SHIFTS
def test_a_file_for_trl(
    rows: DecodedRows, alike: tuple[Signal, Model], shift: int, tmp_path: Path
) -> None:
    found = exported(alike[0], "trl", tmp_path)
    for row in found:
        row["teacher_logprobs"] = moved(np.array(row["teacher_logprobs"]), shift)
    check(*conventions.of_trl_file(found, alike[1]), rows, range(len(rows)), shift)


@SHIFTS
def test_a_file_for_slime(
    rows: DecodedRows, alike: tuple[Signal, Model], shift: int, tmp_path: Path
) -> None:
    found = [row["metadata"] for row in exported(alike[0], "slime", tmp_path)]
    data: Mapping[str, list[Any]] = {
        "tokens": [one["tokens"] for one in found],
        "response_lengths": [one["response_length"] for one in found],
        "loss_masks": [one["loss_mask"] for one in found],
        "teacher_log_probs": [moved(np.array(one["teacher_log_probs"]), shift) for one in found],
    }
    check(*conventions.of_slime(data, alike[1]), rows, range(len(rows)), shift)


@SHIFTS
def test_a_file_for_verl(
    rows: DecodedRows, alike: tuple[Signal, Model], shift: int, tmp_path: Path
) -> None:
    """In the file, verl's `extra_info`, log-probs are the response's own, as slime has them."""
    found = [row["extra_info"] for row in exported(alike[0], "verl", tmp_path)]
    data: Mapping[str, list[Any]] = {
        "tokens": [one["prompt_ids"] + one["response_ids"] for one in found],
        "response_lengths": [len(one["response_ids"]) for one in found],
        "loss_masks": [one["response_mask"] for one in found],
        "teacher_log_probs": [moved(np.array(one["teacher_logprobs"]), shift) for one in found],
    }
    check(*conventions.of_slime(data, alike[1]), rows, range(len(rows)), shift)


def test_rows_without_a_mask_count_throughout(unmasked: tuple[Signal, Model]) -> None:
    signal, model = unmasked
    rows = DecodedRows.open(signal)
    tokens = len(rows.lists("response_ids").values)
    every = range(len(rows))
    for advantages, counted in (
        conventions.of_verl(verl.collate(rows, every, pad_token_id=PAD), model),
        conventions.of_slime(slime.collate(rows, every), model),
        conventions.of_trl(trl.collate(rows, every, pad_token_id=PAD), model),
    ):
        assert counted.sum() == tokens
        assert np.abs(advantages[counted]).max() < NATS
