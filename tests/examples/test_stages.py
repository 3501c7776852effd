import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.arithmetic.stages import Runner, Stage, folder_digest


def _write(folder: Path, text: str, *, input_digest: str = "sha256:1") -> Stage:
    """A stage that appends to a log, and writes `text` to a file in `folder`."""
    code = (
        "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True);"
        "(folder / 'made').write_text(sys.argv[2]); open(sys.argv[3], 'a').write('ran\\n')"
    )
    log = folder.parent / "log"
    return Stage(
        name="made",
        title="Make it",
        command=[sys.executable, "-c", code, str(folder), text, str(log)],
        inputs={"input": input_digest},
        result=lambda: folder_digest(folder),
        report=folder / "made",
    )


def _runs(root: Path) -> int:
    return (root / "log").read_text().count("ran")


def test_a_stage_whose_result_is_there_is_skipped_and_its_report_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = _write(tmp_path / "out", "what was made")
    first = Runner(tmp_path / "records").run(stage)
    assert Runner(tmp_path / "records").run(stage) == first
    assert _runs(tmp_path) == 1
    assert capfd.readouterr().out.endswith("found, nothing to do\nwhat was made")


@pytest.mark.parametrize("change", ["command", "input", "result", "missing"])
def test_a_stage_runs_again_after_a_change(tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    Runner(tmp_path / "records").run(_write(out, "a"))
    stage = _write(out, "a")
    if change == "command":
        stage = _write(out, "b")
    elif change == "input":
        stage = _write(out, "a", input_digest="sha256:2")
    elif change == "result":
        (out / "made").write_text("edited")
    else:
        (out / "made").unlink()
        out.rmdir()
    Runner(tmp_path / "records").run(stage)
    assert _runs(tmp_path) == 2


def test_a_failing_command_stops_the_demo_and_leaves_no_record(tmp_path: Path) -> None:
    stage = Stage(name="bad", title="Fail", command=[sys.executable, "-c", "raise SystemExit(6)"])
    with pytest.raises(SystemExit, match="exit code 6"):
        Runner(tmp_path / "records").run(stage)
    assert not (tmp_path / "records").exists()


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "records")
    runner.run(_write(tmp_path / "out", "a"))
    with pytest.raises(ValueError, match="expected a new stage name, found 'made' again"):
        runner.run(_write(tmp_path / "out", "b"))


@pytest.mark.parametrize(("input_digest", "kept"), [("sha256:1", True), ("sha256:2", False)])
def test_a_folder_is_gone_on_with_only_while_its_inputs_are_the_same(
    tmp_path: Path, input_digest: str, *, kept: bool
) -> None:
    out = tmp_path / "out"
    Runner(tmp_path / "records").run(replace(_write(out, "a"), folder=out))
    (out / "half-done").write_text("steps")
    again = replace(_write(out, "a", input_digest=input_digest), folder=out)
    Runner(tmp_path / "records").run(again)
    assert (out / "half-done").exists() is kept
