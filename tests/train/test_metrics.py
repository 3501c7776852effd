import json
import math
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_train.metrics import JsonLines, Metrics

SECOND = 1.01  # TensorBoard orders the files of a run by theirs, then by a count in text: 10 < 9


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(folder: Path, steps: range, **options: Any) -> None:
    with Metrics.open(folder, done=steps.start - 1, **options) as metrics:
        for step in steps:
            metrics.write(step, {"loss": step / 10, "drift/chi2": math.inf})


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_each_step_is_one_json_object_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "metrics.jsonl", done=0)
    sink.write(1, {"loss": 0.5, "tokens": 12, "a": math.nan, "b": -math.inf, "c": None})
    text = '{"step": 1, "loss": 0.5, "tokens": 12, "a": null, "b": null, "c": null}\n'
    assert (tmp_path / "metrics.jsonl").read_text() == text
    sink.close()


def test_a_step_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    metrics = Metrics.open(tmp_path, tensorboard=False)
    for step in (1, 2, 3):
        metrics.write(step, {"loss": 1.0})
        assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")][-1] == step
    metrics.close()


def test_a_resumed_run_forgets_the_steps_after_its_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, range(1, 8))
    time.sleep(SECOND)
    train(tmp_path, range(5, 7))
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in scalars(tmp_path, "loss")] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_starts_anew_forgets_everything(tmp_path: Path) -> None:
    train(tmp_path, range(1, 4))
    time.sleep(SECOND)
    train(tmp_path, range(1, 3))
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2]
    assert [step for step, _ in scalars(tmp_path, "loss")] == [1, 2]


@pytest.mark.parametrize(
    "torn",
    ["{", '{"step": 3, "lo', '{"step": 3, "loss": 1.0}', "\x00" * 40],
    ids=["brace", "half", "no-newline", "zeros"],
)
def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{{"step": 2}}\n{torn}')
    train(tmp_path, range(4, 5), tensorboard=False)
    assert [line["step"] for line in lines(path)] == [1, 2, 4]


@pytest.mark.parametrize(
    "strange",
    ["hello", "[]", "{}", '{"step": "x"}', "[" * 100_000],
    ids=["text", "list", "no-step", "step-of-text", "deep"],
)
def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(
    tmp_path: Path, strange: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{strange}\n')
    with pytest.raises(FormatError, match=r"metrics\.jsonl line 2: expected a JSON object"):
        Metrics.open(tmp_path, done=5, tensorboard=False)
    assert path.read_text() == f'{{"step": 1}}\n{strange}\n'


def test_every_line_of_an_inconsistent_run_begins_with_a_warning(tmp_path: Path) -> None:
    train(tmp_path, range(1, 3), inconsistent=True, tensorboard=False)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert line.startswith('{"warning": "inconsistent teacher", "step": ')


def test_tensorboard_gets_every_number_under_its_name(tmp_path: Path) -> None:
    with Metrics.open(tmp_path) as metrics:
        metrics.write(
            3, {"loss": 0.25, "drift/chi2": math.inf, "tokens": 7, "note": "x", "n": None}
        )
    assert scalars(tmp_path, "loss") == [(3, 0.25)]
    assert scalars(tmp_path, "tokens") == [(3, 7.0)]
    assert scalars(tmp_path, "drift/chi2") == [(3, math.inf)]
    with pytest.raises(KeyError):
        scalars(tmp_path, "note")


def test_without_tensorboard_none_is_imported_or_written(tmp_path: Path) -> None:
    train(tmp_path, range(1, 2), tensorboard=False)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        Metrics.open(tmp_path / "file" / "run")


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "metrics.jsonl", done=0)
    sink._file.close()
    sink._file = Path("/dev/full").open("ab")  # noqa: SIM115 - the sink closes it
    with pytest.raises(StoreError, match="No space left on device"):
        sink.write(1, {"loss": 1.0})
    with pytest.raises(StoreError, match="No space left on device"):
        sink.close()


class Recorded(ModuleType):
    """A package in place of wandb, which keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.runs: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, Any], int]] = []
        self.finished = 0

    def init(self, **options: Any) -> "Recorded":
        self.runs.append(options)
        return self

    def log(self, values: dict[str, Any], *, step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_is_asked_only_when_wanted_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Recorded()
    monkeypatch.setitem(sys.modules, "wandb", package)
    train(tmp_path, range(1, 2), tensorboard=False)
    assert package.runs == []
    train(tmp_path, range(1, 3), tensorboard=False, wandb="distil")
    train(tmp_path, range(3, 4), tensorboard=False, wandb="distil")
    assert [run["project"] for run in package.runs] == ["distil", "distil"]
    assert len({run["id"] for run in package.runs}) == 1
    assert {run["resume"] for run in package.runs} == {"allow"}
    assert [step for _, step in package.logged] == [1, 2, 3]
    assert package.logged[0][0] == {"loss": 0.1, "drift/chi2": math.inf}
    assert package.finished == 2


def test_wandb_asked_for_and_not_installed_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="expected the package wandb, found none: pip install"):
        Metrics.open(tmp_path, wandb="distil")
