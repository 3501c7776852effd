"""docs/serving.md: its program runs as it stands, against a server of the ids it names."""

import subprocess
import sys
from pathlib import Path

from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import build_signal, publish_rollouts, rows_of
from tests.documents_run import blocks
from tests.serving.running import serving
from tests.train.signals_made import Made

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def test_the_program_on_the_page_prints_nulls_and_then_log_probs(
    made: Made, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store", create=True, sync=no_sync)
    rollouts = rows_of([[218, 180, 5]], [[213, 189]], rollout_logprobs=[[-1.0, -1.0]])
    publish_rollouts(store, made.student, [rollouts])
    build_signal(store, made.teacher)
    (program,) = (block.body for block in blocks(PAGE) if block.language == "python")
    with serving(store.root, "signal") as url:
        program = program.replace("http://127.0.0.1:8000", url)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["None"] * 3
    assert "{'213': {'logprob': -" in lines[3]
    assert len(lines) == 5
