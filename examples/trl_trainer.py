"""Lightning OPD in TRL, on a signal of a store, a shard or the Hub.

python examples/trl_trainer.py MODEL SIGNAL OUTPUT --store STORE      (pip install trl)
"""

import argparse
from pathlib import Path

import torch
from trl import SFTConfig

from lopd_train.losses import LossOptions
from lopd_train.trl import SignalTrainer


def distil(options: argparse.Namespace) -> SignalTrainer:
    """Train the student and save it; returns the trainer for a look at its log."""
    trainer = SignalTrainer(
        options.model,
        options.signal,
        store=options.store,
        loss=LossOptions(importance=options.importance),
        args=SFTConfig(
            output_dir=str(options.output),
            max_length=None,
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
            report_to="none",
            dataloader_pin_memory=torch.cuda.is_available(),
        ),
    )
    trainer.train()
    trainer.save_model()
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
