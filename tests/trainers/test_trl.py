# ruff: noqa: N806 - shape letters end a tensor's name
"""TRL's own code: `SignalTrainer` on it, and its trainers on our file and our batch.

Runs where TRL is: `make test-trainers`.
"""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from lopd_store.adapters import trl as adapter
from lopd_store.adapters.exporting import export
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.model import fingerprint
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal, open_signal
from lopd_store.stamping import check_stamp, read_stamp
from lopd_train.losses import LossOptions
from lopd_train.rows import Rows
from tests.adapters.alike import Model, make_alike
from tests.building.chain import build_signal
from tests.train.chain import Chain, make_chain

pytest.importorskip("trl", reason="TRL is not installed here: `make test-trainers` has it")

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer
from trl.experimental.iw_opd import IWOPDTrainer
from trl.experimental.server_distillation import ServerDistillationTrainer

from examples import trl_trainer
from lopd_train.trl import SignalTrainer

ROWS = 12
CHOSEN = [4, 1, 7]
PAD = 0


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), rows=ROWS)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signal, Model]:
    return make_alike(tmp_path_factory.mktemp("alike"))


def config(folder: Path, **more: Any) -> SFTConfig:
    quiet = {"report_to": "none", "save_strategy": "no", "dataloader_pin_memory": False}
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "bf16": False}
    steps = {"max_length": None, "learning_rate": 1e-3, "logging_steps": 1, "num_train_epochs": 1}
    return SFTConfig(output_dir=str(folder), **(quiet | sizes | steps | more))


def trainer_of(chain: Chain, folder: Path, **more: Any) -> SignalTrainer:
    options = {name: more.pop(name) for name in ("loss", "peft_config") if name in more}
    return SignalTrainer(
        str(chain.student), "signal", store=chain.root, args=config(folder, **more), **options
    )


@pytest.fixture(scope="module")
def bare(chain: Chain) -> tuple[float, float]:
    """The weighted update on all rows by the formula: loss, and norm of its gradient.

    Loss = -1/R Σ_rows 1/T Σ_t min(π_θ/π_ref, 5) · clip(log π_T - log π_θ, ±10) · log π_θ.
    """
    model = AutoModelForCausalLM.from_pretrained(chain.student, dtype="float64")
    rows = DecodedRows.open(open_signal("signal", root=chain.root))
    total = torch.zeros((), dtype=torch.float64)
    for number in range(ROWS):
        row = {name: np.array(value) for name, value in rows[number].items()}
        ids = np.concatenate([row["prompt_ids"], row["response_ids"]]).astype(np.int64)
        logits_TV = model(input_ids=torch.from_numpy(ids)[None], use_cache=False).logits[0]
        said = torch.from_numpy(row["response_ids"].astype(np.int64))
        first = len(row["prompt_ids"]) - 1
        logprobs_N = logits_TV[first:-1].log_softmax(-1).gather(1, said[:, None])[:, 0]
        ratio_N = (logprobs_N.detach() - torch.from_numpy(row["rollout_logprobs"])).exp()
        gain_N = (torch.from_numpy(row["teacher_logprobs"]) - logprobs_N.detach()).clamp(-10, 10)
        total = total - (ratio_N.clamp(max=5.0) * gain_N * logprobs_N).mean() / ROWS
    total.backward()
    norm = math.sqrt(sum(float(one.grad.square().sum()) for one in model.parameters()))
    return float(total.detach()), norm


@pytest.mark.parametrize(("at_once", "steps"), [(4, 3), (12, 1), (5, 3)], ids=str)
def test_a_step_is_that_of_the_formula_however_it_is_cut(
    at_once: int, steps: int, chain: Chain, bare: tuple[float, float], tmp_path: Path
) -> None:
    """5 + 5 + 2 rows too: the mean is over the rows of the step."""
    cut = {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": steps}
    trainer = trainer_of(chain, tmp_path, **cut)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["loss"] == pytest.approx(bare[0], rel=1e-4)
    assert log["grad_norm"] == pytest.approx(bare[1], rel=1e-4)


def test_the_example_saves_a_stamped_checkpoint_that_moved(chain: Chain, tmp_path: Path) -> None:
    words = [str(chain.student), "signal", str(tmp_path / "out"), "--store", str(chain.root)]
    quick = ["--rows-at-once", "4", "--accumulate", "3", "--learning-rate", "1e-3"]
    log = trl_trainer.distil(trl_trainer.parse([*words, *quick])).state.log_history[0]
    assert {"advantage", "clipped", "log_ratio_std"} <= set(log)
    before, after = fingerprint(str(chain.student)), fingerprint(str(tmp_path / "out"))
    stamp, start = read_stamp(tmp_path / "out"), read_stamp(chain.student)
    assert after.model.weights_digest != before.model.weights_digest
    assert after.tokenizer == before.tokenizer
    assert stamp is not None
    assert start is not None
    assert check_stamp(stamp, after.model) == []
    assert stamp.sft_manifest == start.sft_manifest
    assert [run.start.weights_digest for run in stamp.opd] == [before.model.weights_digest]


@pytest.mark.soak  # gloo has been seen to abort a process that left before the other
def test_two_processes_take_the_same_step(
    chain: Chain, bare: tuple[float, float], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [str(chain.student), "signal", str(tmp_path / "out"), "--store", str(chain.root)]
    half = ["--rows-at-once", "2", "--accumulate", "3", "--learning-rate", "1e-3"]
    done = subprocess.run(
        [*command, str(trl_trainer.__file__), *words, *half],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = [float(norm) for norm in re.findall(r"'grad_norm': '([^']+)'", done.stdout)]
    assert found == [pytest.approx(bare[1], rel=1e-3)]  # four digits are shown
    assert read_stamp(tmp_path / "out") is not None


def test_an_adapter_is_trained_and_stamped(chain: Chain, tmp_path: Path) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = trainer_of(chain, tmp_path, peft_config=lora)
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "adapter_model.safetensors").is_file()
    stamp = read_stamp(tmp_path)
    assert stamp is not None
    assert check_stamp(stamp, fingerprint(str(tmp_path), base=str(chain.student)).model) == []


def test_the_wrong_teacher_ends_it_before_the_first_step(chain: Chain, tmp_path: Path) -> None:
    other = fingerprint(str(chain.base))
    root = Path(shutil.copytree(chain.root, tmp_path / "store"))
    wrong = Chain(root=root, teacher=other, base=chain.base, student=chain.student)
    build_signal(wrong.store, other)
    with pytest.raises(ConsistencyError):
        trainer_of(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    alike: tuple[Signal, Model], tmp_path: Path
) -> None:
    """The chain has no sft: going on all the same is said and recorded."""
    signal, model = alike
    with pytest.warns(UserWarning, match="INCONSISTENT"):
        trainer = SignalTrainer(
            str(model.folder),
            str(signal.id),
            store=signal.store.root if signal.store else None,
            args=config(tmp_path),
            allow_inconsistent_teacher=True,
        )
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["grad_norm"] < 1e-5
    assert abs(log["advantage"]) < 1e-5
    assert log["log_ratio_std"] < 1e-5
    trainer.save_model()
    stamp = read_stamp(tmp_path)
    assert stamp is not None
    assert stamp.opd[-1].inconsistent


def test_long_rows_are_left_out_and_said(chain: Chain, tmp_path: Path) -> None:
    longest = int(Rows.read(open_signal("signal", root=chain.root)).lengths.max())
    with pytest.warns(UserWarning, match=f"of 12 rows are longer than max_length {longest - 1}"):
        trainer = trainer_of(chain, tmp_path, max_length=longest - 1)
    assert len(trainer.train_dataset) < ROWS


def test_an_update_that_needs_the_whole_step_is_refused(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without centring"):
        trainer_of(chain, tmp_path, loss=LossOptions(centre=True))


def test_its_sft_trainer_reads_the_file(alike: tuple[Signal, Model], tmp_path: Path) -> None:
    """Nothing is cut, nothing is tokenised again, and the loss is that of the trained tokens."""
    signal, model = alike
    export(signal, tmp_path / "rows.parquet", format="trl")
    dataset = load_dataset(
        "parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache")
    )["train"]
    every = {"per_device_train_batch_size": len(dataset), "gradient_accumulation_steps": 1}
    trainer = SFTTrainer(
        str(model.folder), train_dataset=dataset, args=config(tmp_path / "out", **every)
    )
    stored = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    for name in ("input_ids", "labels"):
        assert list(trainer.train_dataset[name]) == [row[name] for row in stored]
    trainer.train()
    trained = [i != -100 for row in stored for i in row["labels"]]
    logprobs = [value for row in stored for value in row["rollout_logprobs"]]
    expected = -np.mean([value for value, on in zip(logprobs, trained, strict=True) if on])
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def batch_of(alike: tuple[Signal, Model]) -> dict[str, torch.Tensor]:
    rows = DecodedRows.open(alike[0])
    batch = adapter.collate(rows, CHOSEN, pad_token_id=PAD)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def test_its_server_trainer_lays_a_teachers_answer_out_as_we_do(
    alike: tuple[Signal, Model],
) -> None:
    """The answer of a teacher's server, through TRL's own alignment, where rows are trained."""
    batch = batch_of(alike)
    rows = DecodedRows.open(alike[0])
    answers = [rows[row]["teacher_logprobs"].tolist() for row in CHOSEN]
    columns = [[[value] for value in one] for one in answers]
    trainer = object.__new__(ServerDistillationTrainer)
    trainer.loss_top_k, trainer.temperature = 1, 1.0
    asked: dict[str, Any] = {}

    def answer(**request: Any) -> dict[str, Any]:
        asked.update(request)
        ids = [[[0]] * len(one) for one in answers]
        return {"actual_logprobs": columns, "logprobs": columns, "logprob_token_ids": ids}

    trainer.teacher_client = SimpleNamespace(get_sequence_logprobs=answer)
    shown = batch["completion_mask"].bool()
    labels = torch.where(shown, batch["completion_ids"], -100)
    prompt = torch.full_like(batch["prompt_ids"], -100)
    found = trainer._get_teacher_token_logprobs_from_server(
        {
            "input_ids": torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            "attention_mask": torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
            "prompt_attention_mask": batch["prompt_mask"],
            "labels": torch.cat([prompt, labels], 1),
        },
        batch["prompt_ids"].shape[1],
    )["actual_logprobs"]
    assert asked["sequences"] == [
        [*rows[row]["prompt_ids"].tolist(), *rows[row]["response_ids"].tolist()] for row in CHOSEN
    ]
    assert found.dtype == batch["actual_logprobs"].dtype
    trained = shown & batch["tool_mask"].bool()
    assert torch.equal(found[trained], batch["actual_logprobs"][trained])
    assert torch.equal(found[~shown], batch["actual_logprobs"][~shown])  # -inf in the padding
    assert (batch["actual_logprobs"][shown & ~trained] == -math.inf).all()


@pytest.mark.parametrize("shift", [0, 1, -1], ids=["as-it-is", "late", "early"])
def test_its_losses_are_zero_for_a_student_that_is_its_teacher(
    shift: int, alike: tuple[Signal, Model]
) -> None:
    batch = batch_of(alike)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    shown = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    places = (shown.cumsum(1) - 1).clamp(min=0)
    prompt = batch["prompt_ids"].shape[1]
    logprobs_BTV = alike[1].logprobs(ids.numpy(), shown.numpy(), places.numpy())[:, prompt - 1 : -1]
    student_BTV = torch.from_numpy(logprobs_BTV).float()
    trained = (batch["completion_mask"] * batch["tool_mask"]).bool()
    labels = torch.where(trained, batch["completion_ids"], -100)
    teacher = batch["actual_logprobs"].masked_fill(~trained, 0.0).roll(shift, 1)

    server = object.__new__(ServerDistillationTrainer)
    server.beta, server.loss_add_tail, server.reverse_kl_top_1_mode = 1, True, "sampled"
    reverse_kl = server._compute_server_sparse_top_1_divergence_loss(
        teacher_result={
            "actual_logprobs": teacher,
            "topk_logprobs": teacher[..., None],
            "topk_token_ids": batch["completion_ids"][..., None],
        },
        student_log_probs=student_BTV,
        completion_tokens=batch["completion_ids"],
        labels=labels,
    )
    weighted = object.__new__(IWOPDTrainer)
    weighted.temperature, weighted.iw_opd_epsilon, weighted.iw_opd_gamma = 1.0, 1e-8, 1.0
    weighted.model = SimpleNamespace(training=True)
    weighted._metrics = {"train": _Figures()}
    surrogate = weighted._compute_iw_opd_loss(
        student_logits=student_BTV,
        completion_tokens=batch["completion_ids"],
        labels=labels,
        teacher_actual_logprobs=teacher,
        rollout_logprobs=batch["sampling_per_token_logps"],
    )
    assert (abs(float(reverse_kl)) < 1e-6) == (shift == 0)
    assert (abs(float(surrogate)) < 1e-5) == (shift == 0)


class _Figures(dict[str, list[float]]):
    """Where TRL keeps what it logs: a list a figure."""

    def __missing__(self, name: str) -> list[float]:
        return self.setdefault(name, [])
