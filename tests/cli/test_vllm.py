"""The whole chain with the real vLLM: sft, stamp, rollouts, signal, verified to depth 3."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.cli.runner import run
from tests.cli.test_processes import build, finished, wait_for_chunks

pytestmark = pytest.mark.engine
SAMPLING = ("--n", 2, "--max-tokens", 24, "--seed", 7)


@dataclass(frozen=True)
class Chain:
    """Where it all is."""

    root: Path
    teacher: Path
    student: Path
    prompts: Path

    def generate(self, root: Path) -> Any:
        words = ("--kind", "rollouts", "-o", "rollouts", "--json", "--store", root)
        return run(
            *("generate", "--model", self.student, "--prompts", self.prompts), *SAMPLING, *words
        )

    def build(self, root: Path) -> Any:
        words = ("--chunk-tokens", 400, "--json", "--store", root)
        return run("build", "rollouts", "--teacher", self.teacher, "-o", "signal", *words)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    prompts = folder / "prompts.jsonl"
    lines: list[Any] = [{"prompt": f"the {i} thing in", "answer": i} for i in range(16)]
    lines[5] = {"prompt": "the " * 600, "answer": 5}
    lines[9] = {"prompt": "", "answer": 9}
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    student = Path(shutil.copytree(models["student"], folder / "student"))
    made = Chain(folder / "store", models["teacher"], student, prompts)
    words = ("--kind", "sft", "-o", "sft", "--max-tokens", 8, "--store", made.root)
    said = run("generate", "--model", made.teacher, "--prompts", prompts, *words)
    assert said.code == 0, said.err
    assert "1 too-long" in said.err
    assert run("stamp", student, "--sft", "sft", "--store", made.root).code == 0
    assert made.generate(made.root).code == 0
    assert made.build(made.root).code == 0
    return made


def shown(chain: Chain, ref: str) -> Any:
    return run("show", ref, "--json", "--store", chain.root).json


def test_every_link_of_the_chain_is_a_digest(chain: Chain) -> None:
    sft, rollouts, scored = (shown(chain, ref) for ref in ("sft", "rollouts", "signal"))
    assert rollouts["lineage"] == [{"kind": "sft", "digest": sft["id"]}]
    assert scored["lineage"][0] == {"kind": "rollouts", "digest": rollouts["id"]}
    assert scored["policy"]["weights_digest"] == rollouts["policy"]["weights_digest"]
    assert scored["teacher"]["weights_digest"] == sft["teacher"]["weights_digest"]
    stamp = scored["policy_stamp"]
    assert stamp["weights_digest"] == rollouts["policy"]["weights_digest"]
    assert stamp == rollouts["policy_stamp"]


def test_prompts_of_no_use_are_listed_and_the_others_sampled(chain: Chain) -> None:
    found = shown(chain, "rollouts")
    assert found["skipped"] == {"too-long": 1, "empty-prompt": 1}
    assert found["rows"] == 2 * 14
    assert {"name": "answer", "type": "int64"} in found["columns"]
    artifact = load(Store.open(chain.root), "rollouts")
    for shard in artifact.open_shards():
        for batch in shard.batches():
            pairs = zip(
                batch["response_ids"].to_pylist(), batch["finish_reason"].to_pylist(), strict=True
            )
            assert all((ids[-1] == 2) == (reason == "stop") for ids, reason in pairs)


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_signal_is_verified_to_depth_3_by_either_engine(chain: Chain, engine: str) -> None:
    words = ("--teacher", chain.teacher, "--rescore", 12, "--engine", engine)
    said = run("verify", "signal", *words, "--json", "--store", chain.root)
    assert (said.code, said.json["depth"], said.json["problems"]) == (0, 3, [])


def test_a_fresh_store_comes_to_the_same_rollouts_and_the_same_signal(
    chain: Chain, tmp_path: Path
) -> None:
    """In the same process; what vLLM is asked in each is the same."""
    root = tmp_path / "fresh"
    Store.open(root, create=True)
    assert chain.generate(root).json["id"] == shown(chain, "rollouts")["id"]
    assert chain.build(root).json["id"] == shown(chain, "signal")["id"]


def test_a_build_killed_and_run_again_comes_to_the_same_signal(
    chain: Chain, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(chain.root, tmp_path / "killed"))
    assert run("rm", "signal", "--store", root).code == 0
    shutil.rmtree(root / ".lopd" / "builds")
    words = ("--engine", "vllm", "--chunk-tokens", "400")
    process = build(root, chain.teacher, *words)
    wait_for_chunks(process, root, 1)
    process.send_signal(signal.SIGKILL)
    finished(process)
    assert run("fsck", "--store", root).code == 0
    said = run("build", "rollouts", "--teacher", chain.teacher, "-o", "signal", *words, "--json",
               "--store", root)  # fmt: skip
    assert said.json["id"] == shown(chain, "signal")["id"]


def test_a_stamp_of_other_weights_stops_sampling(chain: Chain, tmp_path: Path) -> None:
    imposter = Path(shutil.copytree(chain.teacher, tmp_path / "imposter"))
    shutil.copy(chain.student / "lopd.json", imposter)
    words = ("--kind", "rollouts", "-o", "x", "--store", chain.root)
    said = run("generate", "--model", imposter, "--prompts", chain.prompts, *words)
    assert said.code == 6
    assert "stamp-of-other-weights: expected weights" in said.err
