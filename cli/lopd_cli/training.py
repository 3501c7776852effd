"""The commands of `lopd-train`: sft and opd."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from lopd_cli.errors import Commands
from lopd_cli.journal import Journal
from lopd_cli.options import store_option
from lopd_cli.output import as_json, echo, print_json
from lopd_cli.training_options import loss_of, loss_options, training_of, training_options
from lopd_train.opd import OpdOptions, train_opd
from lopd_train.options import TrainOptions
from lopd_train.output import Trained
from lopd_train.sft import OPTIMISER, SftOptions, train_sft

model_output = click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The trained model's folder.",
)
wandb_option = click.option(
    "--wandb", "wandb_project", metavar="PROJECT", help="Log to Weights & Biases too."
)


@click.group(
    cls=Commands, name="lopd-train", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(version("lopd"), prog_name="lopd-train")
def commands() -> None:
    """Train a student: sft on what a teacher wrote, opd on a teacher's signal.

    Stopped or killed at any moment, the same command goes on from its last checkpoint. Under
    torchrun, weights, gradients and moments are cut over the processes (FSDP2); mind the two
    dashes before the command:

    torchrun --standalone --nproc-per-node 8 --no-python -- lopd-train opd …

    Exit codes: 0 ok, 1 unexpected or diverged, 2 usage, 3 integrity, 4 not found, 5 format,
    6 consistency.
    """


@commands.command()
@click.option("--data", required=True, metavar="REF", help="An artifact of kind sft.")
@click.option("--model", "base", required=True, help="The base: a folder, or org/name[@revision].")
@model_output
@training_options(TrainOptions(optimiser=OPTIMISER))
@wandb_option
@store_option
@as_json
def sft(
    data: str,
    base: str,
    folder: Path,
    wandb_project: str | None,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Fine-tune a base model on a teacher's responses; the result is stamped with its teacher."""
    options = SftOptions(train=training_of(given))
    with Journal(wandb_project=wandb_project) as journal:
        trained = train_sft(
            data, base, folder, root=root.expanduser(), options=options, listener=journal
        )
    _print(trained, json_wanted=json_wanted)


@commands.command()
@click.option(
    "--signal",
    required=True,
    help="A ref, a Parquet file, a folder of them, or org/dataset[@revision].",
)
@click.option("--model", required=True, help="The student: a folder, or org/name[@revision].")
@model_output
@loss_options
@training_options(TrainOptions())
@click.option(
    "--drift-every",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Steps between two looks at the drift from the rollout policy; 0 for none.",
)
@click.option(
    "--allow-inconsistent-teacher",
    "allowed",
    is_flag=True,
    help="Go on where teacher, tokenizer or policy do not fit; the result's stamp says so.",
)
@wandb_option
@store_option
@as_json
def opd(
    signal: str,
    model: str,
    folder: Path,
    drift_every: int,
    allowed: bool,  # noqa: FBT001 - a flag
    wandb_project: str | None,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Distil a teacher's signal into the student whose rollouts it scores (Lightning OPD).

    Before the first step the chain teacher → sft → student → rollouts → signal is verified from
    the digests that the artifact and the student's lopd.json hold; a broken one is refused.
    """
    options = OpdOptions(
        loss=loss_of(given),
        train=training_of(given, drift_every=drift_every),
        allow_inconsistent_teacher=allowed,
    )
    with Journal(wandb_project=wandb_project) as journal:
        trained = train_opd(
            signal, model, folder, root=root.expanduser(), options=options, listener=journal
        )
    _print(trained, json_wanted=json_wanted)


def _print(trained: Trained | None, *, json_wanted: bool) -> None:
    if trained is None:  # another process of this run speaks
        return
    if json_wanted:
        print_json(trained.to_json())
    else:
        echo(f"{trained.folder} {trained.weights_digest}")
