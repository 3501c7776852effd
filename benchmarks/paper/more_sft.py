"""The control: SFT goes on, at the rates and for the steps of OPD, on the data it already had.

python -m benchmarks.paper.more_sft full 0 FOLDER A

A student whose SFT was stopped at a high constant rate gains from any small steps. What OPD adds
is what it adds beyond these.
"""

from typing import Any

from benchmarks.paper.methods import options
from benchmarks.paper.places import Places, sft_ref
from benchmarks.paper.plan import MORE_SFT
from benchmarks.paper.runs import Question, on_clock, open_curve
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call
from lopd_store.signals import open_signal
from lopd_train.objective import SftObjective
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import ALONE


def answer(size: Size, seed: int, places: Places, question: Question) -> dict[str, Any]:
    """Fine-tune the question's student further on its own SFT data; what came of it."""
    rows = Rows.read(open_signal(sft_ref(question.teacher), root=places.store))
    chosen = options(size, rate=question.rate, seed=seed)
    run = Run.open(places.student(question.student), rows, SftObjective(), chosen, ALONE)
    curve = open_curve(size, seed, places, question)
    curve.follow(on_clock(iter(run), curve.clock), run.policy.model)
    return curve.answer(question, run.policy.model, gate=[])


if __name__ == "__main__":
    call = Call.read()
    (student,) = call.words
    asked = [
        Question(method=MORE_SFT, student=student, teacher=student.rstrip("+"), rate=rate)
        for rate in call.size.rates
    ]
    found = [answer(call.size, call.seed, call.places, question) for question in asked]
    call.report(f"rates-{MORE_SFT}-{student}", found)
