"""Where everybody stands before OPD, and how far apart the teachers are on the same rollouts.

python -m benchmarks.paper.standing full 0 FOLDER
"""

from typing import Any

from transformers import AutoModelForCausalLM

from benchmarks.paper import evaluate
from benchmarks.paper.data import SCORERS
from benchmarks.paper.places import Places
from benchmarks.paper.probe import Probe
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
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


if __name__ == "__main__":
    call = Call.read()
    found = {
        "accuracy": accuracies(call.size, call.seed, call.places),
        "starts": starts(call.places),
    }
    call.report("standing", found)
