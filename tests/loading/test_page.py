"""docs/loading.md: its program runs as it stands, on a signal of the name it uses."""

import subprocess
import sys
from pathlib import Path

from lopd_store.artifacts import point
from tests.documents_run import blocks
from tests.train.signals_made import Made

PAGE = Path(__file__).parents[2] / "docs" / "loading.md"


def test_the_program_on_the_page_runs(small: Made, tmp_path: Path) -> None:
    point(small.store, "tour/signal", small.signal, expected=None)
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "store").symlink_to(small.store.root)
    program = "".join(block.body for block in blocks(PAGE) if block.language == "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("signal 20 rows, scored by sha256:")
