"""Lightning OPD in torch: a student learns from a teacher's signal, computed once and checked.

    from pathlib import Path
    from lopd_store import open_signal
    from lopd_train import LossOptions, OpdObjective, Rows, Run, TrainOptions

    rows = Rows.read(open_signal("demo/signal", root=Path(".demo/store")))
    run = Run.open(Path(".demo/student"), rows, OpdObjective(LossOptions()), TrainOptions(steps=8))
    for report in run:
        print(report.step, report.loss, report.values["mean_advantage"])

`train_opd` and `train_sft` are the whole commands: consistency gate, checkpoints, stamp.
Read `losses.py` first, then `run.py`; docs/training.md says what each choice does.
"""

from lopd_train.batches import BatchOptions
from lopd_train.collator import OpdLoss, collate_padded
from lopd_train.datasets import SignalDataset, SignalStream
from lopd_train.drift import Drift, DriftGauge
from lopd_train.errors import DivergedError
from lopd_train.logprobs import OutputLayer, output_layer, target_logprobs
from lopd_train.losses import LossOptions, SurrogateLoss, opd_loss, reduction_weights, sft_loss
from lopd_train.objective import OpdObjective, SftObjective
from lopd_train.opd import OpdOptions, train_opd
from lopd_train.options import LoraOptions, OptimiserOptions, TrainOptions
from lopd_train.output import Trained
from lopd_train.policy import Policy
from lopd_train.rows import Rows
from lopd_train.run import Run, StepReport
from lopd_train.sft import SftOptions, train_sft
from lopd_train.training import Listener

__all__ = [
    "BatchOptions",
    "DivergedError",
    "Drift",
    "DriftGauge",
    "Listener",
    "LoraOptions",
    "LossOptions",
    "OpdLoss",
    "OpdObjective",
    "OpdOptions",
    "OptimiserOptions",
    "OutputLayer",
    "Policy",
    "Rows",
    "Run",
    "SftObjective",
    "SftOptions",
    "SignalDataset",
    "SignalStream",
    "StepReport",
    "SurrogateLoss",
    "TrainOptions",
    "Trained",
    "collate_padded",
    "opd_loss",
    "output_layer",
    "reduction_weights",
    "sft_loss",
    "target_logprobs",
    "train_opd",
    "train_sft",
]
