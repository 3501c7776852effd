"""A run that can be killed: from its last checkpoint, step by step, to its model."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, Protocol

from lopd_store.errors import FormatError, StoreError
from lopd_train.checkpoints import Checkpoints, load_state, save_state, step_of
from lopd_train.errors import DivergedError
from lopd_train.interrupts import Patience
from lopd_train.output import CHECKPOINTS, Output, Trained
from lopd_train.progress import INCONSISTENT
from lopd_train.run import Run, StepReport
from lopd_train.world import World

STATE: Final = "state.pt"


class Listener(Protocol):
    """Whoever wants to know how training goes; called on rank 0 only."""

    def say(self, message: str) -> None:
        """One line for people."""

    def begin(self, output: Output, *, step: int, steps: int) -> None:
        """Steps `step` + 1 to `steps` come now; what was told of later ones is to be forgotten."""

    def report(self, report: StepReport) -> None:
        """A step was taken."""


def train(
    open_run: Callable[[], Run], output: Output, world: World, listener: Listener
) -> Trained | None:
    """Go through with a training run: from its last whole checkpoint to its model.

    Args:
        open_run: opens it at its start; not called when the model is there already.
        output: where everything goes.
        world: the processes that all call this.
        listener: is told what happens, on rank 0.

    Returns:
        What is there now, on rank 0; None elsewhere.

    Raises:
        DivergedError: a loss or gradient that is not finite; the last checkpoint stands.
        StoreError: a checkpoint could not be written; the one before stands.
        UsageError: the folder holds something else.
        FormatError: a checkpoint there is not one of this run.
    """
    with ExitStack() as held:
        world.once(lambda: held.enter_context(output.claimed()))
        if world.once(lambda: output.finished):
            if world.writes:
                output.tidy()
                head = f"{INCONSISTENT}  " if output.inconsistent else ""
                listener.say(f"{head}{output.folder} is finished: nothing to do")
        else:
            run = open_run()
            _to_the_end(run, output, listener)
            weights = run.weights()
            world.once(lambda: output.publish(weights, run.options))
        return output.trained() if world.writes else None


def _to_the_end(run: Run, output: Output, listener: Listener) -> None:
    checkpoints = Checkpoints(output.run / CHECKPOINTS)
    latest = run.world.once(checkpoints.latest)
    if latest:
        run.restore(load_state(latest / STATE))
        if run.step != step_of(latest) or run.step > run.steps:
            raise FormatError(
                f"{latest}: expected a checkpoint of step {step_of(latest)} of {run.steps},"
                f" found step {run.step}"
            )
    run.world.once(lambda: listener.begin(output, step=run.step, steps=run.steps))
    try:
        with Patience() as patience:
            _take_steps(run, checkpoints, patience, listener)
    except (DivergedError, StoreError) as error:
        raise type(error)(f"{error}; {_kept(checkpoints)}", problems=error.problems) from error


def _take_steps(run: Run, checkpoints: Checkpoints, patience: Patience, listener: Listener) -> None:
    every = run.options.checkpoint_every
    for report in run:
        _tell(run, listener, report)
        stopping = run.world.any(patience.asked)
        due = bool(every) and report.step % every == 0
        if stopping or due or report.step == run.steps:
            _save(run, checkpoints)
        if stopping and report.step < run.steps:
            if run.world.writes:
                listener.say(f"stopped after step {report.step} of {run.steps}, which is kept")
            patience.stop()


def _tell(run: Run, listener: Listener, report: StepReport) -> None:
    run.world.once(lambda: listener.report(report))  # where it fails, it fails everywhere


def _save(run: Run, checkpoints: Checkpoints) -> None:
    state: dict[str, Any] = run.state()
    run.world.once(
        lambda: checkpoints.save(run.step, lambda folder: save_state(folder / STATE, state))
    )


def _kept(checkpoints: Checkpoints) -> str:
    latest = checkpoints.latest()
    return f"the last good checkpoint is kept: {latest}" if latest else "there is no checkpoint yet"
