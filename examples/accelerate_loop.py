"""Lightning OPD in a loop of Accelerate, on a signal of a store, a shard or the Hub.

accelerate launch examples/accelerate_loop.py MODEL SIGNAL OUTPUT --store STORE
"""

import argparse
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from lopd_store.identity.model import fingerprint
from lopd_store.signals import open_signal
from lopd_store.stamping import read_stamp, write_opd_stamp
from lopd_store.verify.consistency import check_chain
from lopd_train.collator import OpdLoss, collate_padded
from lopd_train.datasets import SignalDataset
from lopd_train.models import TOKENIZER_FILES
from lopd_train.rows import Rows


def distil(options: argparse.Namespace) -> list[float]:
    """Train the student for an epoch and save it; returns the norm of each step's gradient."""
    signal = open_signal(options.signal, root=options.store)
    student = fingerprint(options.model)
    stamp = read_stamp(Path(student.folder))
    check_chain(signal.identities, student, stamp).refuse()  # a wrong teacher ends here

    accelerator = Accelerator(gradient_accumulation_steps=options.accumulate)
    model = AutoModelForCausalLM.from_pretrained(student.folder, dtype="float32").train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.1
    )
    loader = DataLoader(
        SignalDataset(Rows.read(signal)),
        batch_size=options.rows_at_once,
        shuffle=True,
        drop_last=True,
        collate_fn=collate_padded,
    )
    model, optimiser, loader = accelerator.prepare(model, optimiser, loader)
    loss_of = OpdLoss(rows=options.rows_at_once)  # `backward` divides by the accumulated batches

    norms = []
    for batch in loader:
        with accelerator.accumulate(model):
            labels = batch.pop("labels")
            accelerator.backward(loss_of(model(**batch, use_cache=False), labels))
            if accelerator.sync_gradients:
                norms.append(float(accelerator.clip_grad_norm_(model.parameters(), 1.0)))
                accelerator.print(f"step {len(norms)}: gradient norm {norms[-1]:.4g}")
            optimiser.step()
            optimiser.zero_grad()

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(options.output)
        for name in TOKENIZER_FILES:  # as they are: AutoTokenizer may make another of them
            if (path := student.folder / name).is_file():
                shutil.copy(path, options.output)
        write_opd_stamp(  # so that its own rollouts pass the gate again
            options.output,
            start=stamp,
            student=student,
            signal_id=signal.id,
            identities=signal.identities,
            inconsistent=(),
            cache=None,
        )
    return norms


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the student: a folder or org/name[@revision]")
    parser.add_argument("signal", help="a ref, a shard, a folder of shards or org/dataset")
    parser.add_argument("output", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rows-at-once", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-6)
    return parser.parse_args(words)


if __name__ == "__main__":
    distil(parse())
