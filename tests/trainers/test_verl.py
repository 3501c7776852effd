"""verl's own code reads our file and our batch: its dataset, its agent loop, its loss.

Runs where verl is: `make test-trainers`.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lopd_store.adapters import verl as adapter
from lopd_store.adapters.exporting import export
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters.alike import Model
from tests.adapters.conventions import chosen as at

pytest.importorskip("verl", reason="verl is not installed here: `make test-trainers` has it")

from tensordict import TensorDict
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopOutput,
    AgentLoopWorker,
)
from verl.protocol import DataProto
from verl.trainer.distillation.losses import (
    compute_distillation_loss_reverse_kl_estimator,
)
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.workers.utils.padding import left_right_2_no_padding

CHOSEN = [4, 1, 7]
PROMPT, RESPONSE = 9, 32


@pytest.fixture(scope="module")
def rows(alike: tuple[Signal, Model]) -> DecodedRows:
    return DecodedRows.open(alike[0])


@pytest.fixture(scope="module")
def tokenizer(alike: tuple[Signal, Model]) -> Any:
    return AutoTokenizer.from_pretrained(alike[1].folder)


def collated(rows: DecodedRows, tokenizer: Any) -> dict[str, torch.Tensor]:
    batch = adapter.collate(
        rows,
        CHOSEN,
        pad_token_id=tokenizer.pad_token_id,
        prompt_length=PROMPT,
        response_length=RESPONSE,
    )
    return {name: torch.from_numpy(values) for name, values in batch.items()}


@pytest.mark.parametrize("filtering", [False, True])
def test_its_dataset_reads_the_file(
    filtering: bool,  # noqa: FBT001
    rows: DecodedRows,
    alike: tuple[Signal, Model],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    export(alike[0], tmp_path / "signal.parquet", format="verl")
    config = {
        "cache_dir": str(tmp_path / "cache"),
        "filter_overlong_prompts": filtering,
        "filter_overlong_prompts_workers": None,
    }
    dataset = RLHFDataset(str(tmp_path / "signal.parquet"), tokenizer, _Config(config))
    assert len(dataset) == len(rows)
    proto = DataProto.from_single_dict(collate_fn([dataset[row] for row in CHOSEN]))
    assert proto.non_tensor_batch["data_source"].tolist() == ["lopd"] * len(CHOSEN)
    assert proto.non_tensor_batch["index"].tolist() == CHOSEN
    for row, extra in zip(CHOSEN, proto.non_tensor_batch["extra_info"], strict=True):
        stored = rows[row]
        for ours, its in (("prompt_ids", "prompt_ids"), ("response_ids", "response_ids")):
            assert extra[its] == stored[ours].tolist()
        assert extra["response_mask"] == stored["loss_mask"].astype(int).tolist()
        assert extra["teacher_logprobs"] == stored["teacher_logprobs"].tolist()
        assert extra["rollout_log_probs"] == stored["rollout_logprobs"].tolist()


class _Config(dict[str, Any]):
    """What verl reads of a DictConfig: `get`."""


def test_its_agent_loop_pads_as_we_do(rows: DecodedRows, tokenizer: Any) -> None:
    """Rows handed over as an agent loop would, the teacher as its server manager gives it."""
    worker = object.__new__(AgentLoopWorker)
    worker.tokenizer, worker.processor = tokenizer, None
    worker.rollout_config = SimpleNamespace(prompt_length=PROMPT, response_length=RESPONSE)
    worker.distillation_enabled = False
    worker.reward_loop_worker_handles = None
    worker.mm_processor_kwargs = {}
    outputs = [_output(rows[row], tokenizer.pad_token_id) for row in CHOSEN]
    padded = [
        asyncio.run(worker._agent_loop_postprocess(one, False, raw_prompt=[])) for one in outputs
    ]
    theirs = worker._postprocess(padded).batch
    ours = collated(rows, tokenizer)
    assert set(ours) == set(theirs.keys())
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype, name
        assert torch.equal(values, theirs[name]), name


def _output(row: dict[str, Any], pad: int) -> AgentLoopOutput:
    """A row as an agent loop and a teacher's server say it: teacher row i is about token i + 1."""
    prompt, response = row["prompt_ids"].tolist(), row["response_ids"].tolist()
    before = len(prompt) - 1
    logprobs = [0.0] * before + row["teacher_logprobs"].tolist() + [0.0]
    ids = [pad] * before + response + [pad]
    return AgentLoopOutput(
        prompt_ids=prompt,
        response_ids=response,
        response_mask=row["loss_mask"].astype(int).tolist(),
        response_logprobs=row["rollout_logprobs"].tolist(),
        metrics={},
        extra_fields={
            "teacher_ids": torch.tensor(ids, dtype=torch.int32)[:, None],
            "teacher_logprobs": torch.tensor(logprobs)[:, None],
        },
    )


@pytest.mark.parametrize("mode", ["k1", "k2", "k3", "abs"])
@pytest.mark.parametrize("shift", [0, 1, -1], ids=["as-it-is", "late", "early"])
def test_its_loss_is_zero_for_a_student_that_is_its_teacher(
    mode: str, shift: int, rows: DecodedRows, alike: tuple[Signal, Model], tokenizer: Any
) -> None:
    batch = collated(rows, tokenizer)
    batch["teacher_logprobs"] = batch["teacher_logprobs"].roll(shift, dims=1)
    student = _student(batch, alike[1])
    data = left_right_2_no_padding(TensorDict(DataProto.from_dict(tensors=batch).batch))
    nested = torch.nested.as_nested_tensor(student, layout=torch.jagged)
    losses, metrics = compute_distillation_loss_reverse_kl_estimator(
        config=None,
        distillation_config=SimpleNamespace(distillation_loss=SimpleNamespace(loss_mode=mode)),
        model_output={"log_probs": nested},
        data=data,
    )
    counted = losses[batch["response_mask"].bool()].abs().max()
    assert (float(counted) < 1e-4) == (shift == 0)
    assert metrics["distillation/abs_loss"] is not None


def _student(batch: dict[str, torch.Tensor], model: Model) -> list[torch.Tensor]:
    """What verl's engine gives: the log-prob of the next token at every token, without padding."""
    ids, shown = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
    logprobs = model.logprobs(ids, shown, batch["position_ids"].numpy())
    following = at(logprobs, np.roll(ids, -1, axis=1)).astype(np.float32)
    return [
        torch.from_numpy(line[mask.astype(bool)])
        for line, mask in zip(following, shown, strict=True)
    ]
