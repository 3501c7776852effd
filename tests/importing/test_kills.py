"""kill -9 at any moment: the same artifact in the end, and nothing broken in between."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.importing.files import line_rows, write_lines

WORKERS = Path(__file__).with_name("workers.py")


def test_killed_at_steps_all_over_an_import_it_comes_to_the_same_artifact(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", line_rows(60))
    command = [sys.executable, str(WORKERS), str(path), str(tmp_path), "5", "29"]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["ids"] == [report["expected"]]
    assert report["kills"] >= 4
