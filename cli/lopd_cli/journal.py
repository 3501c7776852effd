"""What `lopd-train` tells while it runs: a line on stderr, and the metrics beside the model."""

from typing import Self

from lopd_cli.output import echo_lines
from lopd_train.metrics import Metrics
from lopd_train.output import Output
from lopd_train.progress import Progress
from lopd_train.run import StepReport


class Journal:
    """A `lopd_train.training.Listener` for people and for those who plot."""

    def __init__(self, *, wandb_project: str | None = None) -> None:
        """Nothing is opened before `begin`."""
        self._wandb = wandb_project
        self._metrics: Metrics | None = None
        self._progress: Progress | None = None
        self._warned = False

    def say(self, message: str) -> None:
        """See Listener."""
        if self._progress:
            self._progress.say(message)
        else:
            echo_lines(message)

    def begin(self, output: Output, *, step: int, steps: int) -> None:
        """See Listener."""
        odd = output.inconsistent
        self._metrics = Metrics.open(output.run, done=step, wandb=self._wandb, inconsistent=odd)
        self._progress = Progress(steps=steps, done=step, inconsistent=odd)
        if step:
            self.say(f"resuming after step {step:,} of {steps:,}")

    def report(self, report: StepReport) -> None:
        """See Listener. A drift that has become too large is answered with a warning, once."""
        values = report.to_json()
        if self._metrics:
            self._metrics.write(values.pop("step"), values)
        if self._progress:
            self._progress.update(
                report.step,
                tokens=report.tokens,
                loss=report.loss,
                advantage=report.values.get("mean_advantage"),
                kl=report.values.get("kl"),
            )
        if report.warning and not self._warned:
            self.say(f"WARNING: step {report.step}: {report.warning}")
        self._warned = report.warning is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self._progress, self._metrics):
            if part:
                part.close()
