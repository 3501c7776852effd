"""Lightning OPD on a signal (arXiv 2604.13010): the chain is checked, then the student trained."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lopd_store.stamping import read_stamp, write_opd_stamp
from lopd_store.verify.consistency import Chain, check_chain
from lopd_train.data import Material
from lopd_train.losses import LossOptions
from lopd_train.objective import OpdObjective
from lopd_train.options import TrainOptions
from lopd_train.output import Output, Trained
from lopd_train.progress import INCONSISTENT
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.training import Listener, train
from lopd_train.world import joined


@dataclass(frozen=True, slots=True, kw_only=True)
class OpdOptions:
    """How to distil.

    Attributes:
        loss: which update; the default weighs each token by a capped π_θ/π_rollout.
        train: everything that is not the loss.
        allow_inconsistent_teacher: go on where the chain is broken; it is recorded in the stamp.
    """

    loss: LossOptions = field(default_factory=LossOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    allow_inconsistent_teacher: bool = False


def train_opd(
    signal: str,
    model: str,
    folder: Path,
    *,
    root: Path | None,
    options: OpdOptions,
    listener: Listener,
) -> Trained | None:
    """Train the student `model` on `signal` and save it, stamped, in `folder`.

    Killed at any moment, the same call goes on where it was. Under `torchrun` all processes call
    it together.

    Args:
        signal: a ref or id of the store at `root`, a Parquet file or a folder of them, or
            org/dataset[@rev] on the Hub.
        model: the student: a folder or org/name[@rev].
        folder: the output.
        root: the store, if there is one.
        options: see `OpdOptions`.
        listener: is told what happens.

    Raises:
        ConsistencyError: the teacher, tokenizer or policy of the signal is not this student's.
        NotFoundError, IntegrityError, FormatError: the signal or the model is not there or not
            what it should be.
        UsageError: options that contradict each other or what is in `folder`.
        DivergedError: a loss or gradient that is not finite.
        StoreError: what was computed cannot be written.
    """
    with joined() as world:
        material = Material.open(signal, model, root=root, kind="signal")
        chain = gate(material, allowed=options.allow_inconsistent_teacher)
        if world.writes:
            announce(chain, listener)
        rows = Rows.read(material.signal)
        objective = OpdObjective(options.loss)
        output = Output(
            folder=folder,
            start=material.start,
            record=_record(material, rows, options, chain),
            stamp=lambda saved: write_opd_stamp(
                saved,
                start=chain.stamp,
                student=material.student,
                signal_id=material.signal.id,
                identities=material.signal.identities,
                inconsistent=chain.problems,
                content_digest=material.signal.content_digest,
                cache=material.cache,
            ),
            inconsistent=bool(chain.problems),
        )
        return train(
            lambda: Run.open(material.start, rows, objective, options.train, world),
            output,
            world,
            listener,
        )


def gate(material: Material, *, allowed: bool) -> Chain:
    """The chain from teacher to rollouts, verified from embedded digests (design: depth 4).

    Raises ConsistencyError where it is broken and that is not allowed.
    """
    stamp = read_stamp(material.start)
    chain = check_chain(material.signal.identities, material.student, stamp)
    if not allowed:
        chain.refuse()
    return chain


def announce(chain: Chain, listener: Listener) -> None:
    """Say what the gate found, broken links first."""
    for mismatch in chain.mismatches:
        listener.say("\n".join(f"{INCONSISTENT}  {line}" for line in mismatch.lines()))
    head = "" if chain.ok else f"{INCONSISTENT}  "
    for note in chain.notes:
        listener.say(f"{head}note: {note}")


def _record(material: Material, rows: Rows, options: OpdOptions, chain: Chain) -> dict[str, Any]:
    return material.record(rows) | {
        "command": "opd",
        "loss": {"variant": options.loss.variant} | asdict(options.loss),
        "train": options.train.to_json(),
        "inconsistent": [asdict(problem) for problem in chain.problems],
    }
