"""The README's tour runs as it stands, in a folder laid out as `make demo` leaves it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents_run import Block, Reader, blocks, commands
from tests.models import save_model

PAGE = Path(__file__).parents[1] / "README.md"
RUNNABLE = {"console", "python"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    save_model(folder / ".demo/teacher", seed=1)
    save_model(folder / ".demo/student-base", seed=3)
    prompts = [{"messages": [{"role": "user", "content": f"{n}+1="}]} for n in range(3)]
    lines = "\n".join(json.dumps(prompt) for prompt in prompts)
    (folder / ".demo/prompts.jsonl").write_text(lines)
    run(folder, "generate --model .demo/teacher --prompts .demo/prompts.jsonl --kind sft"
        " -o demo/sft --max-tokens 8 --dtype float32")  # fmt: skip
    run(folder, "sft --data demo/sft --model .demo/student-base --steps 1 --batch 2"
        " -o .demo/student", command="lopd-train")  # fmt: skip
    return folder


def run(folder: Path, arguments: str, *, command: str = "lopd-store") -> None:
    program = Path(sys.executable).with_name(command)
    store = ["--store", ".demo/store"]
    subprocess.run([program, *arguments.split(), *store], cwd=folder, check=True)


@pytest.mark.engine
def test_every_block_of_the_readme_runs_in_order(demo: Path) -> None:
    reader = Reader(demo)
    tour = [block for block in blocks(PAGE) if may_run(block)]
    assert len(tour) >= 8
    for block in tour:
        reader.read(block)


def test_a_block_says_what_it_is_or_why_it_is_not_run() -> None:
    for block in blocks(PAGE):
        trees = block.language == "" and "lopd_store/" in block.body
        assert trees or block.language in RUNNABLE, block.body
        if block.language == "console":
            assert commands(block), block.body


def may_run(block: Block) -> bool:
    return block.language in RUNNABLE and "no-run" not in block.attributes
