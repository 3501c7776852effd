"""Several runs in one process: a sweep of rates, or the other pairs of teachers at the best rate.

python -m benchmarks.paper.sweep full 0 FOLDER rates METHOD A
python -m benchmarks.paper.sweep full 0 FOLDER pairs METHOD
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.paper import offline, online
from benchmarks.paper.methods import ONLINE
from benchmarks.paper.places import Places
from benchmarks.paper.runs import Question
from benchmarks.paper.sizes import Size
from benchmarks.paper.stage import Call

PAIRS: Final = (("A", "B"), ("A", "M"), ("B", "B"), ("B", "A"), ("B", "M"))
"""SFT teacher and OPD teacher; A with A is in the sweep of rates."""


def rates(size: Size, method: str, student: str) -> list[Question]:
    """The matched pair at every rate."""
    teacher = student.rstrip("+")
    return [
        Question(method=method, student=student, teacher=teacher, rate=rate) for rate in size.rates
    ]


def pairs(method: str, rate: float) -> list[Question]:
    """Every other pair at one rate."""
    return [
        Question(method=method, student=student, teacher=teacher, rate=rate)
        for student, teacher in PAIRS
    ]


def best(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run that was right most often on the tuning problems at its end; of equals, the first."""
    return max(answers, key=lambda answer: answer["looks"][-1]["accuracy"])


def run(size: Size, seed: int, places: Places, questions: Sequence[Question]) -> list[Any]:
    """The answers to all questions."""
    return [
        (online if question.method == ONLINE else offline).answer(size, seed, places, question)
        for question in questions
    ]


if __name__ == "__main__":
    call = Call.read()
    what, method, *students = call.words
    if what == "rates":
        asked, name = rates(call.size, method, students[0]), f"rates-{method}-{students[0]}"
    else:
        swept = json.loads(call.places.report(f"rates-{method}-A").read_text())
        asked, name = pairs(method, best(swept)["rate"]), f"pairs-{method}"
    call.report(name, run(call.size, call.seed, call.places, asked))
