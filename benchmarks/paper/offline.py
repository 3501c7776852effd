"""Lightning OPD: a run on stored rollouts with a stored signal."""

from typing import Any

from benchmarks.paper import state_centred
from benchmarks.paper.methods import LOSSES, STATE_CENTRED, options
from benchmarks.paper.places import Places, signal_ref
from benchmarks.paper.runs import Question, on_clock, open_curve
from benchmarks.paper.sizes import Size
from lopd_train.data import Material
from lopd_train.models import load_policy
from lopd_train.objective import Objective, OpdObjective
from lopd_train.opd import gate
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import ALONE


def answer(size: Size, seed: int, places: Places, question: Question) -> dict[str, Any]:
    """Train on the signal of the question's student and teacher; what came of it.

    The gate refuses every pair but the matched ones; here it is told to let them pass, and what
    it found is kept.
    """
    material = Material.open(
        signal_ref("train", question.student, question.teacher),
        str(places.student(question.student)),
        root=places.store,
        kind="signal",
    )
    chain = gate(material, allowed=True)
    chosen, loss = options(size, rate=question.rate, seed=seed), LOSSES[question.method]
    policy = load_policy(material.start, chosen, ALONE.device)
    objective: Objective = OpdObjective(loss)
    if question.method == STATE_CENTRED:
        pair = (question.student, question.teacher)
        objective = state_centred.objective(loss, places, *pair, policy.model)
    run = Run(policy, Rows.read(material.signal), objective, chosen, ALONE)
    curve = open_curve(size, seed, places, question)
    curve.follow(on_clock(iter(run), curve.clock), run.policy.model)
    return curve.answer(
        question, run.policy.model, gate=[problem.kind for problem in chain.problems]
    )
