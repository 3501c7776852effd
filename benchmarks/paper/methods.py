"""The updates that are compared, by name; `online` is the one that needs a live teacher."""

from typing import Final

from benchmarks.paper.sizes import Size
from lopd_train.batches import BatchOptions
from lopd_train.losses import LossOptions
from lopd_train.options import OptimiserOptions, TrainOptions

ONLINE: Final = "online"
STATE_CENTRED: Final = "state-centred"
LOSSES: Final = {
    "paper": LossOptions(importance="none"),
    "weighted": LossOptions(importance="token"),
    "centred": LossOptions(importance="none", centre=True),
    "weighted+centred": LossOptions(importance="token", centre=True),
    STATE_CENTRED: LossOptions(importance="none"),
    ONLINE: LossOptions(importance="none"),  # on fresh rollouts every importance weight is 1
}
OFFLINE: Final = tuple(name for name in LOSSES if name != ONLINE)


def options(size: Size, *, rate: float, seed: int, steps: int | None = None) -> TrainOptions:
    """The trainer's defaults, which are the paper's, but for rate, batch and steps."""
    return TrainOptions(
        steps=steps or size.steps,
        batches=BatchOptions(batch=size.batch, seed=seed),
        optimiser=OptimiserOptions(learning_rate=rate),
        drift_every=1,
        checkpoint_every=0,
    )
