"""Lightning OPD in transformers.Trainer, on a signal of a store, a shard or the Hub.

python examples/transformers_trainer.py MODEL SIGNAL OUTPUT --store STORE
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from lopd_store.identity.model import fingerprint
from lopd_store.signals import open_signal
from lopd_store.stamping import read_stamp, write_opd_stamp
from lopd_store.verify.consistency import check_chain
from lopd_train.collator import OpdLoss, collate_padded
from lopd_train.datasets import SignalDataset
from lopd_train.losses import LossOptions
from lopd_train.models import TOKENIZER_FILES
from lopd_train.rows import Rows


def distil(options: argparse.Namespace) -> Trainer:
    """Train the student and save it; returns the trainer for a look at its log."""
    signal = open_signal(options.signal, root=options.store)
    student = fingerprint(options.model)
    stamp = read_stamp(Path(student.folder))
    check_chain(signal.identities, student, stamp).refuse()  # a wrong teacher ends here

    rows = options.rows_at_once * options.accumulate
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(student.folder, dtype="float32"),
        args=TrainingArguments(
            output_dir=str(options.output),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.rows_at_once,
            gradient_accumulation_steps=options.accumulate,
            learning_rate=options.learning_rate,
            lr_scheduler_type="constant",
            adam_beta2=0.98,
            weight_decay=0.1,
            max_grad_norm=1.0,
            bf16=options.bf16,
            logging_steps=1,
            save_strategy="no",
            remove_unused_columns=False,  # the log-probs are no argument of the model
            dataloader_drop_last=True,  # the loss counts on full batches
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
        train_dataset=SignalDataset(Rows.read(signal)),
        data_collator=collate_padded,
        compute_loss_func=OpdLoss(rows=rows, options=LossOptions(importance=options.importance)),
    )
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
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
    return trainer


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the student: a folder or org/name[@revision]")
    parser.add_argument("signal", help="a ref, a shard, a folder of shards or org/dataset")
    parser.add_argument("output", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--rows-at-once", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-6)
    parser.add_argument("--importance", choices=["none", "token"], default="token")
    parser.add_argument("--bf16", action="store_true")
    return parser.parse_args(words)


if __name__ == "__main__":
    distil(parse())
