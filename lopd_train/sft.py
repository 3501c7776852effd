"""Supervised fine-tuning on what a teacher wrote; the checkpoint is stamped with its teacher."""

from dataclasses import dataclass, field
from pathlib import Path

from lopd_store.artifacts import Artifact, load
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import ConsistencyError, NotFoundError, UsageError
from lopd_store.identity.compare import same_tokenizer
from lopd_store.stamping import read_stamp, write_stamp
from lopd_store.store import Store
from lopd_train.data import Material
from lopd_train.losses import Reduction
from lopd_train.objective import SftObjective
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.output import Output, Trained
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.training import Listener, train
from lopd_train.world import joined

OPTIMISER = OptimiserOptions(learning_rate=8e-5, schedule="cosine", warm_up=0.1)
"""The paper's SFT stage (section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftOptions:
    """How to fine-tune.

    Attributes:
        reduction: `token-mean` weighs every token of a step alike.
        train: everything that is not the loss. Without drift: the teacher wrote the rows, and to
            leave its base is what the student is here for.
    """

    reduction: Reduction = "token-mean"
    train: TrainOptions = field(
        default_factory=lambda: TrainOptions(optimiser=OPTIMISER, drift_every=0)
    )


def train_sft(
    data: str,
    base: str,
    folder: Path,
    *,
    root: Path,
    options: SftOptions,
    listener: Listener,
) -> Trained | None:
    """Train `base` on the sft artifact `data` and save it, stamped as made by it, in `folder`.

    Killed at any moment, the same call goes on where it was.

    Args:
        data: a ref or id of the store at `root`: the stamp holds the artifact's documents.
        base: the model to start from: a folder or org/name[@rev].
        folder: the output.
        root: the store.
        options: see `SftOptions`.
        listener: is told what happens.

    Raises:
        ConsistencyError: the ids of `data` are not those of the base's tokenizer.
        Others: as `lopd_train.opd.train_opd`.
    """
    with joined() as world:
        material = Material.open(data, base, root=root, kind="sft")
        artifact = _whole(material, root)
        check_tokenizer(material)
        before = read_stamp(material.start)
        if before and world.writes:
            tell_history(before, listener)
        rows = Rows.read(material.signal)
        objective = SftObjective(options.reduction)
        output = Output(
            folder=folder,
            start=material.start,
            record=material.record(rows)
            | {
                "command": "sft",
                "loss": {"reduction": options.reduction},
                "train": options.train.to_json(),
            },
            stamp=lambda saved: write_stamp(
                saved,
                how="made",
                base=material.student.model,
                manifest=artifact.manifest,
                artifact=artifact.document,
                identities=artifact.identities,
                cache=material.cache,
                opd=before.opd if before else (),
            ),
        )
        return train(
            lambda: Run.open(material.start, rows, objective, options.train, world),
            output,
            world,
            listener,
        )


def tell_history(before: Stamp, listener: Listener) -> None:
    """Say what the base was taught before: one stamp names one sft artifact, the last."""
    manifest = before.sft_manifest
    if manifest is not None:
        listener.say(
            f"note: the base was fine-tuned before, on sft artifact {manifest.digest.short}; the"
            " result's stamp names the new one"
        )
    if any(run.inconsistent for run in before.opd):
        listener.say("note: the base was distilled from an inconsistent teacher; the stamp says so")


def check_tokenizer(material: Material) -> None:
    """Raise ConsistencyError unless the rows' ids are those of the base's tokenizer."""
    tokenizer = material.student.require_tokenizer().identity
    problems = [
        problem
        for identity in material.signal.identities
        if identity.tokenizer is not None  # sft rows always have one
        for problem in same_tokenizer(identity.tokenizer, tokenizer)
    ]
    if problems:
        raise ConsistencyError.of(problems, subject="the sft rows and the base model")


def _whole(material: Material, root: Path) -> Artifact:
    if material.signal.id is None:
        raise UsageError(
            f"{material.signal.name}: expected an sft artifact of a store, whose documents become"
            " the stamp, found loose files"
        )
    try:
        return load(Store.open(root), str(material.signal.id))
    except NotFoundError as error:
        raise NotFoundError(
            f"{material.signal.name}: expected an sft artifact of a store, whose documents become"
            " the stamp, found one on the Hub: bring it here first (lopd-store pull)"
        ) from error
