"""`lopd-train` as people run it: from a store to a stamped model, stopped, resumed and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lopd_store.identity.model import fingerprint
from lopd_store.stamping import check_stamp, read_stamp
from tests.building.chain import build_signal
from tests.train.chain import QUICK, Chain, lopd_train, make_chain, metrics, opd, sft

LOPD_TRAIN = Path(sys.executable).with_name("lopd-train")
TORCHRUN = Path(sys.executable).with_name("torchrun")
# The two dashes keep torchrun from reading --signal as the beginning of an option of its own.
LAUNCHER = [str(TORCHRUN), "--standalone", "--nproc-per-node", "2", "--no-python", "--"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def test_sft_stamps_the_checkpoint_with_its_base_and_its_teacher(chain: Chain) -> None:
    stamp = read_stamp(chain.student)
    assert stamp is not None
    assert stamp.how == "made"
    assert stamp.base is not None
    assert stamp.base.weights_digest == fingerprint(str(chain.base)).model.weights_digest
    assert stamp.sft_teacher.weights_digest == chain.teacher.model.weights_digest
    assert check_stamp(stamp, fingerprint(str(chain.student)).model) == []


def test_opd_trains_saves_and_inherits_the_lineage(chain: Chain, tmp_path: Path) -> None:
    said = opd(chain, tmp_path / "out", "--json")
    assert said.code == 0, said.err
    stamp, before = read_stamp(tmp_path / "out"), read_stamp(chain.student)
    assert stamp is not None
    assert before is not None
    assert stamp.sft_manifest == before.sft_manifest
    assert [len(stamp.opd), len(before.opd)] == [1, 0]
    assert not stamp.opd[0].inconsistent
    assert said.json["weights_digest"] == str(stamp.weights_digest)
    assert check_stamp(stamp, fingerprint(str(tmp_path / "out")).model) == []
    lines = metrics(tmp_path / "out")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"loss", "mean_advantage", "kl", "drift/log_ratio_std", "tokens"} <= lines[0].keys()
    assert list((tmp_path / "out" / "run" / "tensorboard").iterdir())
    assert not (tmp_path / "out" / "run" / "checkpoints").exists()


def test_a_finished_run_is_found(chain: Chain, tmp_path: Path) -> None:
    first = opd(chain, tmp_path / "out")
    again = opd(chain, tmp_path / "out")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert again.out == first.out


def test_a_folder_with_another_run_is_refused(chain: Chain, tmp_path: Path) -> None:
    opd(chain, tmp_path / "out")
    said = opd(chain, tmp_path / "out", "--importance", "none")
    assert said.code == 2
    assert "another run" in said.err
    assert '"importance": "none"' in said.err


def test_a_folder_with_something_else_is_refused(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert opd(chain, tmp_path).code == 2
    assert opd(chain, chain.student).code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_another_teacher_is_refused_with_exit_6(chain: Chain, tmp_path: Path) -> None:
    words = ("--signal", "signal", "--model", chain.base, "-o", tmp_path / "out")
    said = lopd_train("opd", *words, "--store", chain.root, *QUICK)
    assert said.code == 6
    assert not (tmp_path / "out").exists()


def test_an_allowed_inconsistency_stands_in_every_line_and_in_the_stamp(
    chain: Chain, tmp_path: Path
) -> None:
    words = ("--signal", "signal", "--model", chain.base, "-o", tmp_path / "out")
    said = lopd_train("opd", *words, "--store", chain.root, *QUICK, "--allow-inconsistent-teacher")
    assert said.code == 0, said.err
    told = said.err.splitlines()
    assert any("step" in line for line in told)
    assert all(line.startswith("INCONSISTENT") for line in told)
    assert all("warning" in line for line in metrics(tmp_path / "out"))
    stamp = read_stamp(tmp_path / "out")
    assert stamp is not None
    assert stamp.opd[0].inconsistent


def test_a_run_stopped_by_ctrl_c_then_killed_goes_on_bit_for_bit(
    chain: Chain, tmp_path: Path
) -> None:
    many = ("--steps", 150, "--checkpoint-every", 4)
    command = command_of(chain, tmp_path / "out", *many)
    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    wait_for_steps(tmp_path / "out", 2)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert b"which is kept" in said
    done = len(metrics(tmp_path / "out"))
    assert 2 <= done < 150
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    wait_for_steps(tmp_path / "out", done + 6)
    killed.kill()
    _, said = killed.communicate()
    assert f"resuming after step {done} of 150".encode() in said
    subprocess.run(command, check=True, capture_output=True, env=environment())
    assert opd(chain, tmp_path / "whole", *many).code == 0
    ours, whole = (tmp_path / name / "model.safetensors" for name in ("out", "whole"))
    assert ours.read_bytes() == whole.read_bytes()
    lines = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in metrics(tmp_path / name)]
        for name in ("out", "whole")
    ]
    assert lines[0] == lines[1]


@pytest.mark.soak
def test_two_processes_are_one(chain: Chain, tmp_path: Path) -> None:
    assert opd(chain, tmp_path / "alone", "--steps", 4).code == 0
    together = [*LAUNCHER, *command_of(chain, tmp_path / "two", "--steps", 4)]
    done = subprocess.run(together, check=False, capture_output=True, env=environment())
    assert done.returncode == 0, done.stderr.decode()
    one, two = metrics(tmp_path / "alone"), metrics(tmp_path / "two")
    for name in ("loss", "mean_advantage", "kl", "gradient_norm", "drift/log_ratio_std"):
        expected = [line[name] for line in one]
        assert [line[name] for line in two] == pytest.approx(expected, rel=1e-4, abs=1e-6), name
    ours, theirs = weights_of(tmp_path / "alone"), weights_of(tmp_path / "two")
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-5)


def test_two_processes_refuse_a_broken_chain_with_exit_6(chain: Chain, tmp_path: Path) -> None:
    command = command_of(chain, tmp_path / "two")
    command[command.index(str(chain.student))] = str(chain.base)
    done = subprocess.run(
        [*LAUNCHER, *command], check=False, capture_output=True, env=environment()
    )
    assert b"exitcode  : 6" in done.stderr


def command_of(chain: Chain, output: Path, *more: object) -> list[str]:
    words = ("opd", "--signal", "signal", "--model", chain.student, "-o", output)
    return [str(word) for word in (LOPD_TRAIN, *words, "--store", chain.root, *QUICK, *more)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def wait_for_steps(output: Path, count: int) -> None:
    path = output / "run" / "metrics.jsonl"
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path}: expected {count} steps within a minute")


def test_lora_is_merged_into_a_whole_model(chain: Chain, tmp_path: Path) -> None:
    said = opd(chain, tmp_path / "out", "--lora-rank", 2)
    assert said.code == 0, said.err
    start, merged = weights_of(chain.student), weights_of(tmp_path / "out")
    assert start.keys() == merged.keys()
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert changed
    assert all("proj" in name for name in changed)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]


def test_the_output_keeps_the_dtype_of_its_start(chain: Chain, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(chain.base, base)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    assert sft(chain.root, base, tmp_path / "out", "--steps", 1).code == 0
    assert {one.dtype for one in weights_of(tmp_path / "out").values()} == {torch.bfloat16}


def test_a_run_may_go_on_with_smaller_micro_batches_and_not_with_other_rows(
    chain: Chain, tmp_path: Path
) -> None:
    many = ("--steps", 150, "--checkpoint-every", 2)
    killed = subprocess.Popen(
        command_of(chain, tmp_path / "out", *many), stderr=subprocess.DEVNULL, env=environment()
    )
    wait_for_steps(tmp_path / "out", 3)
    killed.kill()
    killed.wait()
    build_signal(chain.store, chain.teacher, ref="other", precision="2^-4")
    words = ("--signal", "other", "--model", chain.student, "-o", tmp_path / "out")
    said = lopd_train("opd", *words, "--store", chain.root, *QUICK, *many)
    assert said.code == 2
    assert "rows" in said.err
    assert opd(chain, tmp_path / "out", *many, "--micro-batch-tokens", 32).code == 0


def test_sft_of_a_distilled_student_keeps_its_history(chain: Chain, tmp_path: Path) -> None:
    words = ("--signal", "signal", "--model", chain.base, "-o", tmp_path / "opd")
    odd = ("--allow-inconsistent-teacher",)
    assert lopd_train("opd", *words, "--store", chain.root, *QUICK, *odd).code == 0
    said = sft(chain.root, tmp_path / "opd", tmp_path / "sft", "--steps", 1)
    assert said.code == 0, said.err
    assert "inconsistent teacher" in said.err
    stamp = read_stamp(tmp_path / "sft")
    assert stamp is not None
    assert [bool(run.inconsistent) for run in stamp.opd] == [True]
