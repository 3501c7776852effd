"""Fine-tune the student's base on a teacher's data until it is right often enough.

python -m benchmarks.paper.students full 0 FOLDER A

Training to a threshold makes students of different seeds comparable; a fixed number of steps
leaves some of them far below.
"""

from pathlib import Path
from typing import Any

from benchmarks.paper import evaluate
from benchmarks.paper.learning import save
from benchmarks.paper.places import Places, sft_ref
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from benchmarks.paper.tokenizer import new_tokenizer
from lopd_store import Stamp, Store, fingerprint, load, write_stamp
from lopd_store.signals import open_signal
from lopd_train.batches import BatchOptions
from lopd_train.objective import SftObjective
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import ALONE


def sft_options(size: Size, *, seed: int) -> TrainOptions:
    """A constant rate: the run ends when the student is good enough."""
    return TrainOptions(
        steps=size.sft.steps,
        batches=BatchOptions(batch=size.sft.batch, seed=seed),
        optimiser=OptimiserOptions(learning_rate=size.sft.rate, weight_decay=0.01),
        drift_every=0,
        checkpoint_every=0,
    )


def train(size: Size, seed: int, places: Places, name: str) -> dict[str, Any]:
    """Fine-tune, save and stamp the student called `name`; what it took."""
    threshold = size.strong_threshold if name.endswith("+") else size.threshold
    ref = sft_ref(name.rstrip("+"))
    rows = Rows.read(open_signal(ref, root=places.store))
    run = Run.open(places.base, rows, SftObjective(), sft_options(size, seed=seed), ALONE)
    seen: list[tuple[int, float]] = []
    for report in run:
        if report.step % size.sft_look and report.step < run.steps:
            continue
        found = evaluate.accuracy(run.policy.model, "stopping", count=size.stopping, seed=seed)
        seen.append((report.step, found.share))
        print(f"{name}: step {report.step}  loss {report.loss:.3f}  {found}", flush=True)
        if found.share >= threshold:
            break
    folder = places.student(name)
    save(run.policy.model, new_tokenizer(), folder)
    return {
        "steps": seen[-1][0],
        "threshold": threshold,
        "stopping": seen,
        "weights_digest": str(_stamp(places, ref, folder).weights_digest),
    }


def _stamp(places: Places, ref: str, folder: Path) -> Stamp:
    """As `lopd-train sft` does, so that the gate knows the student's teacher."""
    store = Store.open(places.store)
    artifact = load(store, ref)
    return write_stamp(
        folder,
        how="made",
        base=fingerprint(str(places.base), cache=store.fingerprints).model,
        manifest=artifact.manifest,
        artifact=artifact.document,
        identities=artifact.identities,
        cache=store.fingerprints,
    )


if __name__ == "__main__":
    call = Call.read()
    (student,) = call.words
    call.report(f"student-{student}", train(call.size, call.seed, call.places, student))
