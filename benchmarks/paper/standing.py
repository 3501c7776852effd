"""Where everybody stands before OPD, and how far apart the teachers are on the same rollouts.

python -m benchmarks.paper.standing full 0 FOLDER
"""

from typing import Any

from transformers import AutoModelForCausalLM

from benchmarks.paper import evaluate
from benchmarks.paper.data import SCORERS, WRITERS
from benchmarks.paper.places import Places, signal_ref
from benchmarks.paper.probe import Probe
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from lopd_store import Store
from lopd_store.signal_difference import compare_signals
from lopd_train.world import ALONE

STUDENTS = ("A", "B", "A+")


def accuracies(size: Size, seed: int, places: Places) -> dict[str, Any]:
    """Right answers on the final problems, of teachers and of students after SFT."""
    folders = {f"teacher {name}": places.teacher(name) for name in SCORERS}
    folders |= {"base": places.base}
    folders |= {f"student {name}": places.student(name) for name in STUDENTS}
    found = {
        name: evaluate.checkpoint(folder, "final", count=size.final, seed=seed)
        for name, folder in folders.items()
    }
    return {name: {"correct": one.correct, "total": one.total} for name, one in found.items()}


def starts(places: Places) -> dict[str, Any]:
    """What the probe sees of each student at its start, against its own teacher."""
    found = {}
    for student in STUDENTS:
        model = AutoModelForCausalLM.from_pretrained(places.student(student)).to(ALONE.device)
        found[student] = Probe.open(places, student, student.rstrip("+")).look(model)
    return found


def distances(places: Places) -> dict[str, Any]:
    """Δ on each student's rollouts: its SFT teacher's log-prob less that of each teacher."""
    store = Store.open(places.store)
    found = {}
    for student in WRITERS:
        own = signal_ref("train", student, student)
        for teacher in SCORERS:
            other = signal_ref("train", student, teacher)
            found[f"{student} {teacher}"] = compare_signals(store, own, other).to_json()
    return found


if __name__ == "__main__":
    call = Call.read()
    found = {
        "accuracy": accuracies(call.size, call.seed, call.places),
        "starts": starts(call.places),
        "distances": distances(call.places),
    }
    call.report("standing", found)
