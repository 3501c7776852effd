"""Options of `lopd-train`, each said once, and what they make."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lopd_store.errors import UsageError
from lopd_train.batches import LAYOUTS, BatchOptions
from lopd_train.losses import IMPORTANCES, REDUCTIONS, LossOptions
from lopd_train.options import (
    PRECISIONS,
    SCHEDULES,
    LoraOptions,
    OptimiserOptions,
    TrainOptions,
)

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

_AT_LEAST_1 = click.IntRange(1)
_AT_LEAST_0 = click.IntRange(0)
_LOSS = LossOptions()


def _option(name: str, help_text: str, **more: Any) -> Any:
    return click.option(name, help=help_text, show_default="default" in more, **more)


def _choice(name: str, help_text: str, values: Any, default: str) -> Any:
    return _option(name, help_text, type=click.Choice(values), default=default)


def _with(options: tuple[Any, ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def training_options(defaults: TrainOptions) -> Callable[[Command], Command]:
    """Everything but the loss, with a command's own defaults; read them with `training_of`."""
    optimiser, batches = defaults.optimiser, defaults.batches
    return _with(
        (
            _option("--steps", "Default: one pass over the rows.", type=_AT_LEAST_1),
            _option("--batch", "Rows a step.", type=_AT_LEAST_1, default=batches.batch),
            _option(
                "--micro-batch-tokens",
                "Tokens that go through the model at once; gradients add up over a step.",
                type=_AT_LEAST_1,
                default=batches.micro_batch_tokens,
            ),
            _choice(
                "--layout", "Of rows in a micro-batch; the loss is the same.", LAYOUTS,
                batches.layout,
            ),
            _option("--seed", "Of the order of rows.", type=_AT_LEAST_0, default=batches.seed),
            _option(
                "--learning-rate", "AdamW's, at its peak.", type=float,
                default=optimiser.learning_rate,
            ),
            _choice(
                "--schedule", "Cosine ends at a tenth of the peak.", SCHEDULES,
                optimiser.schedule,
            ),
            _option(
                "--warm-up", "Share of the steps over which the rate grows.", type=float,
                default=optimiser.warm_up,
            ),
            _option(
                "--weight-decay", "AdamW's.", type=float, default=optimiser.weight_decay
            ),
            _option(
                "--gradient-clip", "Largest norm of a step's gradient.", type=float,
                default=optimiser.gradient_clip,
            ),
            _choice(
                "--precision", "Of the arithmetic; weights and moments stay float32.",
                PRECISIONS, defaults.precision,
            ),
            _option(
                "--activation-checkpointing", "Less memory, about a third more time.",
                is_flag=True,
            ),
            _option(
                "--lora-rank", "Train LoRA adapters, merged when saved.", type=_AT_LEAST_1
            ),
            _option(
                "--lora-alpha", "Adapters count alpha / rank; default twice the rank.",
                type=_AT_LEAST_1,
            ),
            _option(
                "--checkpoint-every", "Steps; 0 for one at the end.", type=_AT_LEAST_0,
                default=defaults.checkpoint_every,
            ),
        )
    )  # fmt: skip


def training_of(given: dict[str, Any], *, drift_every: int = 0) -> TrainOptions:
    """The training options among a command's parameters, taken out of `given`."""
    rank, alpha = given.pop("lora_rank"), given.pop("lora_alpha")
    if alpha and not rank:
        raise UsageError(f"--lora-alpha: expected --lora-rank with it, found {alpha} alone")
    return TrainOptions(
        steps=given.pop("steps"),
        batches=BatchOptions(
            batch=given.pop("batch"),
            micro_batch_tokens=given.pop("micro_batch_tokens"),
            layout=given.pop("layout"),
            seed=given.pop("seed"),
        ),
        optimiser=OptimiserOptions(
            learning_rate=given.pop("learning_rate"),
            schedule=given.pop("schedule"),
            warm_up=given.pop("warm_up"),
            weight_decay=given.pop("weight_decay"),
            gradient_clip=given.pop("gradient_clip"),
        ),
        precision=given.pop("precision"),
        activation_checkpointing=given.pop("activation_checkpointing"),
        lora=LoraOptions(rank=rank, alpha=alpha or 2 * rank) if rank else None,
        drift_every=drift_every,
        checkpoint_every=given.pop("checkpoint_every"),
    )


def loss_options(command: Command) -> Command:
    """Which update of OPD; read them with `loss_of`."""
    return _with(
        (
            _choice(
                "--importance",
                "Weigh each token by policy/rollout policy; none is the paper's update.",
                IMPORTANCES,
                _LOSS.importance,
            ),
            _option(
                "--importance-cap", "The largest weight.", type=float,
                default=_LOSS.importance_cap,
            ),
            _option("--centre", "Subtract the step's mean advantage.", is_flag=True),
            _option(
                "--advantage-clip", "The largest advantage in nats.", type=float,
                default=_LOSS.advantage_clip,
            ),
            _option(
                "--ppo-clip", "No gradient where policy/rollout policy has left 1 ± this.",
                type=float,
            ),
            _choice(
                "--reduction", "sequence-mean as in the released code, token-sum as in the paper.",
                REDUCTIONS, _LOSS.reduction,
            ),
        )
    )(command)  # fmt: skip


def loss_of(given: dict[str, Any]) -> LossOptions:
    """The loss options among a command's parameters, taken out of `given`."""
    names = ("importance", "importance_cap", "centre", "advantage_clip", "ppo_clip", "reduction")
    return LossOptions(**{name: given.pop(name) for name in names})
