"""Stages that wait for each other; sizes that can be built."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from benchmarks.paper import schedule
from benchmarks.paper.methods import LOSSES, options
from benchmarks.paper.plan import Seed
from benchmarks.paper.schedule import Node, run_all
from benchmarks.paper.sizes import GPU, SIZES, Size
from benchmarks.paper.tokenizer import new_tokenizer
from examples.arithmetic.pretrain import new_model
from examples.arithmetic.stages import Runner, Stage, file_digest


def writing(name: str, needs: list[str], folder: Path, program: str = "") -> Node:
    """A node that writes the digests it was given into a file of its name."""

    def make(digests: Mapping[str, str]) -> Stage:
        file, text = folder / name, "-".join(sorted(digests))
        writes = f"import pathlib; pathlib.Path({str(file)!r}).write_text({text!r})"
        command = [sys.executable, "-c", program or writes]
        return Stage(name=name, title=name, command=command, result=lambda: file_digest(file))

    return Node(name=name, needs=needs, make=make)


def test_nodes_run_after_those_they_need_and_get_their_digests(tmp_path: Path) -> None:
    nodes = [writing("c", ["a", "b"], tmp_path), writing("a", [], tmp_path)]
    done = run_all([*nodes, writing("b", ["a"], tmp_path)], Runner(tmp_path / "s"), workers=2)
    assert list(done) == ["a", "b", "c"]
    assert (tmp_path / "c").read_text() == "a-b"
    assert done["c"] == file_digest(tmp_path / "c")


def test_a_failure_stops_what_waits_for_it(tmp_path: Path) -> None:
    nodes = [
        writing("a", [], tmp_path, program="raise SystemExit(3)"),
        writing("b", ["a"], tmp_path),
    ]
    with pytest.raises(SystemExit, match="exit code 3"):
        run_all(nodes, Runner(tmp_path / "s"), workers=2)
    assert not (tmp_path / "b").exists()


def test_a_circle_is_refused(tmp_path: Path) -> None:
    nodes = [writing("a", ["b"], tmp_path), writing("b", ["a"], tmp_path)]
    with pytest.raises(ValueError, match="circle"):
        run_all(nodes, Runner(tmp_path / "s"), workers=1)


def test_comments_and_docstrings_do_not_change_what_a_module_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SOURCES", tmp_path)
    file = tmp_path / "thing.py"
    file.write_text('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 1\n')
    before = schedule.meaning_digest("thing")
    file.write_text('"""1"""\ndef f(x):  # why\n    """2"""\n    return (x + 1)\n')
    assert schedule.meaning_digest("thing") == before
    file.write_text("def f(x):\n    return x + 2\n")
    assert schedule.meaning_digest("thing") != before


@pytest.mark.parametrize("size", SIZES.values(), ids=str)
def test_every_size_has_a_whole_plan(size: Size, tmp_path: Path) -> None:
    nodes = Seed(size=size, seed=0, folder=tmp_path).nodes()
    names = {node.name for node in nodes}
    assert len(names) == len(nodes)
    assert {need for node in nodes for need in node.needs} <= names
    assert (size.looks[0], size.looks[-1]) == (0, size.steps)
    assert options(size, rate=size.rates[0], seed=0).batches.batch == size.batch


def test_models_of_the_gpu_size_can_be_built() -> None:
    with torch.device("meta"):
        teacher, student = (
            new_model(shape, new_tokenizer(), seed=0) for shape in (GPU.teacher, GPU.student)
        )
    assert teacher.num_parameters() > 5 * student.num_parameters() > 10_000_000


def test_the_papers_update_and_the_online_one_differ_only_in_whose_rollouts_they_see() -> None:
    assert LOSSES["paper"] == LOSSES["online"]
    assert LOSSES["paper"].variant == "paper"
