"""Folders that a stranger made: a student, an output to go on with, a checkpoint in it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lopd_store.store.locks import exclusive
from lopd_train.checkpoints import Checkpoints, load_state, save_state
from lopd_train.listing import list_files
from tests.cli.runner import Said
from tests.train.chain import Chain, make_chain, opd

Edit = Callable[[Path], object]
FOUR = ("--steps", 4, "--checkpoint-every", 2)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def stopped(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, of step 2 of 4, as a kill leaves it."""
    folder = tmp_path_factory.mktemp("stopped") / "out"
    kept: list[Path] = []
    prune = Checkpoints._prune

    def keeping(self: Checkpoints) -> None:
        prune(self)
        if not kept:
            kept.append(Path(shutil.copytree(folder, folder.parent / "kept")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "_prune", keeping)
        assert opd(chain, folder, *FOUR).code == 0
    return kept[0]


def resumed(chain: Chain, stopped: Path, folder: Path, edit: Edit) -> Said:
    shutil.copytree(stopped, folder)
    edit(folder)
    return opd(chain, folder, *FOUR)


def test_what_is_stopped_goes_on(chain: Chain, stopped: Path, tmp_path: Path) -> None:
    said = resumed(chain, stopped, tmp_path / "out", lambda _: None)
    assert said.code == 0
    assert "resuming after step 2 of 4" in said.err


@pytest.mark.parametrize(
    "record",
    [b"[" * 100_000, b"[1]", b"null", b"{", b"\xff", b'{"a":' + b"1" * 6000 + b"}",
     b" " * (2 << 20), b'{"a":1,"a":2}'],
    ids=["deep", "list", "null", "cut", "bytes", "digits", "large", "twice"],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(
    chain: Chain, stopped: Path, tmp_path: Path, record: bytes
) -> None:
    said = resumed(
        chain, stopped, tmp_path / "out", lambda out: (out / "run/run.json").write_bytes(record)
    )
    assert said.code == 5, said.err
    assert "run.json" in said.err


def test_an_output_that_cannot_be_made_is_said(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file/out", "a" * 300):
        said = opd(chain, tmp_path / name)
        assert said.code == 1
        assert said.err.startswith("error: cannot")


@pytest.mark.parametrize("name", ["run", "run/checkpoints", "run/model"])
def test_a_link_in_the_output_is_not_followed(
    chain: Chain, stopped: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"

    def edit(out: Path) -> None:
        place = out / name
        if place.exists():
            place.rename(victim)
        else:
            victim.mkdir()
        place.symlink_to(victim)

    there = {"run/model": [], "run/checkpoints": ["step-00000002"]}
    said = resumed(chain, stopped, tmp_path / "out", edit)
    assert said.code == 3, said.err
    assert "a symbolic link" in said.err
    left = sorted(path.name for path in victim.iterdir())
    assert left == there.get(name, sorted(path.name for path in (stopped / "run").iterdir()))


def test_metrics_that_are_a_link_cost_nobody_a_file(
    chain: Chain, stopped: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("no end of line")

    def edit(out: Path) -> None:
        (out / "run/metrics.jsonl").unlink()
        (out / "run/metrics.jsonl").symlink_to(victim)

    assert resumed(chain, stopped, tmp_path / "out", edit).code == 3
    assert victim.read_text() == "no end of line"


def test_two_runs_do_not_share_an_output(chain: Chain, stopped: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    with exclusive(out / "run/lock"):
        said = opd(chain, out, *FOUR)
    assert said.code == 1
    assert f"is held by process {os.getpid()}" in said.err
    assert opd(chain, out, *FOUR).code == 0


def test_a_kill_before_the_record_is_written_costs_nothing(chain: Chain, tmp_path: Path) -> None:
    with exclusive(tmp_path / "out/run/lock"):
        pass
    assert opd(chain, tmp_path / "out", "--steps", 1).code == 0


def other(state: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**state, **parts}


def settings(state: dict[str, Any], **changed: Any) -> dict[str, Any]:
    groups = [{**group, **changed} for group in state["optimiser"]["param_groups"]]
    return other(state, optimiser={**state["optimiser"], "param_groups": groups})


def with_state(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(out: Path) -> None:
        checkpoint = out / "run/checkpoints/step-00000002"
        state = change(load_state(checkpoint / "state.pt"))
        (checkpoint / "checkpoint.json").unlink()
        save_state(checkpoint / "state.pt", state)
        list_files(checkpoint, 2)

    return edit


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [1],
        lambda _: {},
        lambda state: other(state, step="x"),
        lambda state: other(state, step=-3),
        lambda state: other(state, step=1),
        lambda state: other(state, step=10**9),
        lambda state: other(state, step=float("nan")),
        lambda state: other(state, model={}),
        lambda state: other(state, model=[1]),
        lambda state: other(state, model={"zzz": torch.zeros(1)}),
        lambda state: other(state, model={name: torch.zeros(1) for name in state["model"]}),
        lambda state: other(state, model=dict.fromkeys(state["model"], "x")),
        lambda state: other(state, optimiser={}),
        lambda state: other(state, optimiser={"state": {}, "param_groups": []}),
        lambda state: other(
            state,
            optimiser=state["optimiser"]
            | {"state": {n: {"exp_avg": torch.zeros(1)} for n in state["optimiser"]["state"]}},
        ),
    ],
)
def test_a_state_of_something_else_is_refused(
    chain: Chain, stopped: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    said = resumed(chain, stopped, tmp_path / "out", with_state(change))
    assert said.code == 5, said.err
    assert not (tmp_path / "out/lopd.json").exists()


def test_a_state_does_not_choose_how_the_run_trains(
    chain: Chain, stopped: Path, tmp_path: Path
) -> None:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        return settings(state, maximize=True, weight_decay="x", amsgrad=True, lr=9.0)

    for name, edit in (("own", lambda _: None), ("theirs", with_state(change))):
        assert resumed(chain, stopped, tmp_path / name, edit).code == 0
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("own", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_listing_that_is_a_pipe_does_not_hold_us(
    chain: Chain, stopped: Path, tmp_path: Path
) -> None:
    def edit(out: Path) -> None:
        listing = out / "run/checkpoints/step-00000002/checkpoint.json"
        listing.unlink()
        os.mkfifo(listing)

    assert resumed(chain, stopped, tmp_path / "out", edit).code == 3


def trained(chain: Chain, folder: Path, edit: Edit, *more: object) -> Said:
    """One step on a copy of the student that `edit` changed."""
    student = Path(
        shutil.copytree(chain.student, folder / "student", ignore=shutil.ignore_patterns("run"))
    )
    edit(student)
    return opd(replace(chain, student=student), folder / "out", "--steps", 1, *more)


def config(**fields: Any) -> Edit:
    def edit(student: Path) -> None:
        path = student / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


def beside(student: Path) -> None:
    weights = load_file(student / "model.safetensors")
    changed = {name: tensor * 0 for name, tensor in weights.items()}
    save_file(changed, student / "other.safetensors", metadata={"format": "pt"})
    config(transformers_weights="other.safetensors")(student)


def embedded(student: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(student)
    adapter = student.parent / "adapter"
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(adapter)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, student / name)


@pytest.mark.parametrize("edit", [beside, embedded], ids=["other file", "adapter"])
def test_weights_other_than_those_that_were_digested_are_not_loaded(
    chain: Chain, tmp_path: Path, edit: Edit
) -> None:
    said = trained(chain, tmp_path, edit, "--allow-inconsistent-teacher")
    assert said.code == 5, said.err
    assert not (tmp_path / "out").exists()


def test_a_weight_that_is_missing_is_not_drawn_at_random(chain: Chain, tmp_path: Path) -> None:
    def edit(student: Path) -> None:
        weights = load_file(student / "model.safetensors")
        del weights["lm_head.weight"]
        save_file(weights, student / "model.safetensors", metadata={"format": "pt"})

    said = trained(chain, tmp_path, edit, "--allow-inconsistent-teacher")
    assert said.code == 5
    assert "found no lm_head.weight" in said.err


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int8", "complex64", "nonsense"])
def test_a_model_is_not_saved_in_a_type_that_ruins_it(
    chain: Chain, tmp_path: Path, dtype: str
) -> None:
    said = trained(chain, tmp_path, config(dtype=dtype))  # no digest covers it: the gate is open
    assert said.code == 5
    assert "step 1" not in said.err


@pytest.mark.parametrize(
    "fields",
    [
        {"_attn_implementation": "org/kernel"},
        {"attn_implementation": "org/kernel"},
        {"vocab_size": "x"},
        {"num_attention_heads": 0},
        {"pad_token_id": 10**9},
        {"num_hidden_layers": 3},
        {"model_type": ["x"]},
        {"quantization_config": 5},
    ],
    ids=str,
)
def test_a_config_that_no_model_has_is_refused(
    chain: Chain, tmp_path: Path, fields: dict[str, Any]
) -> None:
    assert trained(chain, tmp_path, config(**fields), "--allow-inconsistent-teacher").code == 5


def test_code_beside_a_model_does_not_run(chain: Chain, tmp_path: Path) -> None:
    def edit(student: Path) -> None:
        config(auto_map={"AutoModelForCausalLM": "evil.Model"})(student)
        (student / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    trained(chain, tmp_path, edit)
    assert not (tmp_path / "ran").exists()


def test_a_bin_that_claims_more_numbers_than_it_holds_is_refused(
    chain: Chain, tmp_path: Path
) -> None:
    def edit(student: Path) -> None:
        (student / "model.safetensors").unlink()
        torch.save({"a": torch.zeros(1).expand(10**13)}, student / "pytorch_model.bin")

    said = trained(chain, tmp_path, edit)
    assert said.code == 5
    assert "expected it inside the file" in said.err


def test_rows_longer_than_learnt_positions_are_refused(chain: Chain, tmp_path: Path) -> None:
    def edit(student: Path) -> None:
        shape = GPT2Config(vocab_size=320, n_positions=20, n_embd=32, n_layer=1, n_head=1)
        GPT2LMHeadModel(shape).save_pretrained(student)

    said = trained(chain, tmp_path, edit, "--allow-inconsistent-teacher")
    assert said.code == 5, said.err
    assert "positions" in said.err


@pytest.mark.parametrize("option", ["--importance-cap", "--advantage-clip"])
def test_a_bound_that_no_float32_is_is_refused(chain: Chain, tmp_path: Path, option: str) -> None:
    assert opd(chain, tmp_path / "out", option, "1e308").code == 2


def test_a_model_with_a_name_too_long_for_a_folder_is_refused(chain: Chain, tmp_path: Path) -> None:
    assert opd(replace(chain, student=Path("a" * 10_000)), tmp_path / "out").code == 2
