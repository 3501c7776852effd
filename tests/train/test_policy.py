# ruff: noqa: N806 - shape letters end a tensor's name
"""Which models can be a policy, and what is made of them."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from lopd_store.errors import UsageError
from lopd_store.identity.model import fingerprint
from lopd_train.batches import BatchOptions, Layout
from lopd_train.data import Material
from lopd_train.models import load_policy
from lopd_train.options import TrainOptions
from lopd_train.policy import Policy
from tests.models import ARCHITECTURES, save_model
from tests.train.signals_made import make_signals

CPU = torch.device("cpu")


def laid_out(layout: Layout) -> TrainOptions:
    return TrainOptions(batches=BatchOptions(layout=layout))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_that_know_positions_can_be_packed(architecture: str, tmp_path: Path) -> None:
    load_policy(save_model(tmp_path, architecture, tokenizer=False), laid_out("packed"), CPU)


def test_a_model_that_reads_on_across_packed_rows_is_refused(tmp_path: Path) -> None:
    config = BloomConfig(
        vocab_size=320, hidden_size=64, n_layer=2, n_head=2, initializer_range=0.15
    )
    BloomForCausalLM(config).save_pretrained(tmp_path)  # its positions are those of the line
    load_policy(tmp_path, laid_out("padded"), CPU)
    with pytest.raises(UsageError, match=r"do not read each other.*--layout padded"):
        load_policy(tmp_path, laid_out("packed"), CPU)


def test_a_dropout_that_is_no_layer_is_off_too(tmp_path: Path) -> None:
    plain = save_model(tmp_path / "plain", tokenizer=False)
    dropping = save_model(tmp_path / "dropping", tokenizer=False, attention_dropout=0.5)
    assert json.loads((dropping / "config.json").read_text())["attention_dropout"] == 0.5
    one, other = (load_policy(each, TrainOptions(), CPU).model for each in (plain, dropping))
    ids_BT = torch.arange(12)[None]
    assert other.training
    assert torch.equal(one(ids_BT).logits, other(ids_BT).logits)


def test_layers_that_are_dropped_whole_stay() -> None:
    torch.manual_seed(0)
    config: Any = OPTConfig(
        vocab_size=320, hidden_size=64, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
        dropout=0.5, layerdrop=0.5, word_embed_proj_dim=64,
    )  # fmt: skip
    model = Policy(OPTForCausalLM(config).train()).model
    ids_BT = torch.arange(12)[None]
    assert torch.equal(model(ids_BT).logits, model.eval()(ids_BT).logits)


def test_an_adapter_is_refused_before_its_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    made = make_signals(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(made.student.folder)
    adapter = tmp_path / "adapter"
    peft.get_peft_model(model, peft.LoraConfig(r=2)).save_pretrained(adapter)
    # The base that an adapter states is one on the Hub; this one is named here.
    known = partial(fingerprint, base=str(made.student.folder))
    monkeypatch.setattr("lopd_train.data.fingerprint", known)
    with pytest.raises(UsageError, match="found a LoRA adapter: merge it"):
        Material.open("signal", str(adapter), root=made.store.root, kind="signal")
